//! TLS to one server, by rustls: which certificates are believed.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Error;

/// What is spoken; servers that offer more are told so.
const PROTOCOL: &[u8] = b"http/1.1";

/// How servers prove who they are.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

/// The authorities of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Trusted,
    Ignored,
}

impl Tls {
    /// Believes these authorities, and those of the system where they are trusted.
    pub(crate) fn new(own: Vec<CertificateDer<'static>>, system: System) -> Result<Tls, Error> {
        let unusable = |_| Error::Settings("https has no usable certificate authorities".into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let mut config = match system {
            System::Trusted => {
                let verifier = Verifier::new_with_extra_roots(own, provider).map_err(unusable)?;
                let builder = builder.dangerous();
                builder.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            }
            System::Ignored => {
                let mut roots = RootCertStore::empty();
                for certificate in own {
                    roots.add(certificate).map_err(unusable)?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

/// The certificates in a text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::Settings("a root certificate is not pem".into())),
    }
}
