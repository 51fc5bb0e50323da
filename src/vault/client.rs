//! HTTP requests to one Vault. Each request has its own connection. Redirects are not followed, because they could carry the
//! token to another host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_secrets::SecretText;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::VaultAddress;

/// The largest response, in bytes.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// The longest request, from connecting to the end of the response.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// A request to Vault failed. The text contains no token and no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("{0}")]
    Address(&'static str),
    #[error("the connection failed: {0}")]
    Connection(String),
    #[error("there was no complete response within 10 s")]
    Slow,
    #[error("Vault returned status {0}")]
    Status(u16),
    #[error("the response is a redirect, which is not followed. Name the address that it leads to")]
    Redirect,
    #[error("the response is larger than 1 MiB")]
    TooLarge,
    #[error("the response is not what Vault returns")]
    Malformed,
    #[error("{what} cannot be read: {reason}")]
    File { what: &'static str, reason: String },
}

/// The client of one Vault.
pub(crate) struct VaultClient {
    host: String,
    port: u16,
    authority: HeaderValue,
    /// The path before `/v1`.
    base: String,
    namespace: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl VaultClient {
    /// Checks the address and prepares TLS.
    ///
    /// # Errors
    /// When the address or the certificate authorities cannot be used.
    pub(crate) fn new(address: &VaultAddress) -> Result<Self, VaultError> {
        let invalid =
            || VaultError::Address("expected an address such as https://vault.example.org:8200");
        let uri: Uri = address.uri.parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(invalid());
        };
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(invalid());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match (scheme, &address.ca) {
            ("http", _) => None,
            ("https", Some(ca)) => Some((connector(ca)?, server_name(&host)?)),
            ("https", None) => return Err(VaultError::Address("https needs a ca_file")),
            _ => return Err(invalid()),
        };
        let namespace = address.namespace.as_deref().map(HeaderValue::from_str).transpose();
        Ok(Self {
            port: authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 }),
            host,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())?,
            base: uri.path().trim_end_matches('/').to_owned(),
            namespace: namespace.map_err(|_| VaultError::Address("the namespace is not valid"))?,
            tls,
        })
    }

    /// Reads a path below `/v1/`.
    pub(super) async fn get(&self, path: &str, token: &SecretText) -> Result<Json, VaultError> {
        self.request(Method::GET, path, Some(token), Bytes::new()).await
    }

    /// Sends a JSON document to a path below `/v1/`.
    pub(super) async fn post(
        &self,
        path: &str,
        token: Option<&SecretText>,
        body: &Json,
    ) -> Result<Json, VaultError> {
        self.request(Method::POST, path, token, body.to_string().into()).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretText>,
        body: Bytes,
    ) -> Result<Json, VaultError> {
        let request = self.prepared(method, path, token, body)?;
        let answered = timeout(REQUEST_MAX, self.send(request)).await;
        let (status, body) = answered.map_err(|_| VaultError::Slow)??;
        match status {
            status if status.is_redirection() => Err(VaultError::Redirect),
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| VaultError::Malformed),
            status => Err(VaultError::Status(status.as_u16())),
        }
    }

    fn prepared(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretText>,
        body: Bytes,
    ) -> Result<hyper::Request<Full<Bytes>>, VaultError> {
        let mut request = hyper::Request::new(Full::new(body));
        let target = format!("{}/v1/{path}", self.base);
        *request.uri_mut() =
            target.parse().map_err(|_| VaultError::Address("a path is not valid in a URL"))?;
        *request.method_mut() = method;
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert("x-vault-namespace", namespace.clone());
        }
        if let Some(token) = token {
            let value = HeaderValue::from_str(token.expose());
            let mut value = value.map_err(|_| VaultError::Address("the token is not valid"))?;
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        Ok(request)
    }

    async fn send(
        &self,
        request: hyper::Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), VaultError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| broken(&error))?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                exchange(stream.map_err(|error| broken(&error))?, request).await
            }
            None => exchange(stream, request).await,
        }
    }
}

/// Sends a request over a new connection, and reads the response to its end.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: hyper::Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), VaultError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // Dropping the set ends the task. The sender of the request receives every error of the connection.
    let mut driving = JoinSet::new();
    driving.spawn(async { drop(connection.await) });
    let (head, body) =
        sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => Ok((head.status, body.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(VaultError::TooLarge),
        Err(error) => Err(VaultError::Connection(error.to_string())),
    }
}

fn connector(ca: &[u8]) -> Result<TlsConnector, VaultError> {
    let unusable = || VaultError::Address("the ca_file contains no certificate that can be used");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() {
        return Err(unusable());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| unusable())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn server_name(host: &str) -> Result<ServerName<'static>, VaultError> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|_| VaultError::Address("the host of the address is not valid"))
}

/// The innermost cause of an error. The outer ones only say that a request failed.
fn broken(error: &(dyn std::error::Error + 'static)) -> VaultError {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    VaultError::Connection(cause.to_string())
}
