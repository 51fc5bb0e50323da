//! Outgoing HTTP requests to the hosts that the settings or the policy name.
//!
//! Each request has its own connection, a time limit and a limit for its response. Redirects are not followed, because
//! they could carry a credential to another host, and no proxy is used.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The longest request, from connecting to the end of the response.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(10);
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The certificate authorities that a host's certificate is verified against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Authorities<'a> {
    /// Those of the system.
    System,
    /// Those in a text of PEM.
    Pem(&'a [u8]),
}

/// A host, with or without TLS.
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// The certificate authorities or the name of the host cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("the host has a user name or an invalid name")]
    Host,
    #[error("it holds no certificate that can be used")]
    Authorities,
    #[error("the certificate authorities of the system cannot be used: {0}")]
    System(String),
}

/// A request without a complete response. The text contains no part of either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutgoingError {
    #[error("the connection failed: {0}")]
    Connection(String),
    #[error("no complete answer within {} s", REQUEST_MAX.as_secs())]
    Slow,
    #[error("the response has more than {0} bytes")]
    TooLarge(usize),
}

impl Endpoint {
    /// Names a host. `authorities` is absent for a host without TLS.
    ///
    /// # Errors
    /// When the name or the certificate authorities cannot be used.
    pub(crate) fn new(
        authority: &Authority,
        authorities: Option<Authorities<'_>>,
    ) -> Result<Self, EndpointError> {
        if authority.as_str().contains('@') {
            return Err(EndpointError::Host);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = authorities.map(|authorities| {
            let name = ServerName::try_from(host.clone()).map_err(|_| EndpointError::Host)?;
            Ok((connector(authorities)?, name))
        });
        let tls = tls.transpose()?;
        let default_port = if tls.is_some() { HTTPS_PORT } else { HTTP_PORT };
        Ok(Self {
            port: authority.port_u16().unwrap_or(default_port),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| EndpointError::Host)?,
            host,
            tls,
        })
    }

    /// Sends a request whose URI is a path, and reads the response to its end.
    ///
    /// # Errors
    /// When there is no complete response in time.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        response_bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), OutgoingError> {
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let agent = HeaderValue::from_static(concat!("headwater/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        let answered = timeout(REQUEST_MAX, self.connect_and_send(request, response_bytes_max));
        answered.await.unwrap_or(Err(OutgoingError::Slow))
    }

    async fn connect_and_send(
        &self,
        request: Request<Full<Bytes>>,
        response_bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), OutgoingError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| broken(&error))?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                exchange(stream.map_err(|error| broken(&error))?, request, response_bytes_max).await
            }
            None => exchange(stream, request, response_bytes_max).await,
        }
    }
}

/// Sends a request over a new connection, and reads the response to its end.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    response_bytes_max: usize,
) -> Result<(StatusCode, Bytes), OutgoingError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // Dropping the set ends the task. The sender of the request receives every error of the connection.
    let mut driving = JoinSet::new();
    driving.spawn(async { drop(connection.await) });
    let (head, body) =
        sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
    match Limited::new(body, response_bytes_max).collect().await {
        Ok(body) => Ok((head.status, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(OutgoingError::TooLarge(response_bytes_max))
        }
        Err(error) => Err(OutgoingError::Connection(error.to_string())),
    }
}

fn connector(authorities: Authorities<'_>) -> Result<TlsConnector, EndpointError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let system = |error: rustls::Error| EndpointError::System(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(system)?;
    let mut config = match authorities {
        Authorities::Pem(pem) => builder.with_root_certificates(roots(pem)?).with_no_client_auth(),
        Authorities::System => {
            let verifier = Verifier::new_with_extra_roots(Vec::new(), provider).map_err(system)?;
            let builder = builder.dangerous();
            builder.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, EndpointError> {
    let unusable = || EndpointError::Authorities;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() { Err(unusable()) } else { Ok(roots) }
}

/// The innermost cause of an error. The outer ones only say that a request failed.
fn broken(error: &(dyn std::error::Error + 'static)) -> OutgoingError {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    OutgoingError::Connection(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_a_user_name_is_rejected() {
        let endpoint = |text: &str| {
            let authority: Authority = text.parse().unwrap();
            Endpoint::new(&authority, None)
        };
        assert_eq!(endpoint("a:b@host").err(), Some(EndpointError::Host));
        let plain = endpoint("[::1]").unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("::1", HTTP_PORT));
        assert_eq!(endpoint("host:8200").unwrap().port, 8200);
    }

    #[test]
    fn authorities_need_a_certificate() {
        let authority: Authority = "host".parse().unwrap();
        for pem in
            [&b""[..], b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let made = Endpoint::new(&authority, Some(Authorities::Pem(pem)));
            assert_eq!(made.err(), Some(EndpointError::Authorities));
        }
    }
}
