//! TLS connections with rustls, and the certificate authorities that the client trusts.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Error;

/// The protocol that is negotiated with ALPN.
const PROTOCOL: &[u8] = b"http/1.1";

/// The TLS configuration for all servers.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

/// The trust in the certificate authorities of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemRoots {
    Trusted,
    Ignored,
}

impl Tls {
    /// Trusts the authorities `own`, and those of the operating system according to `system`.
    pub(crate) fn new(
        own: Vec<CertificateDer<'static>>,
        system: SystemRoots,
    ) -> Result<Tls, Error> {
        let unusable = |_| {
            Error::Settings(
                "https is configured, but no usable certificate authority was found".into(),
            )
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let mut config = match system {
            SystemRoots::Trusted => {
                let verifier = Verifier::new_with_extra_roots(own, provider).map_err(unusable)?;
                let builder = builder.dangerous();
                builder.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            }
            SystemRoots::Ignored => {
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

/// Parses the certificates of a PEM text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::Settings("a root certificate is not a PEM certificate".into())),
    }
}
