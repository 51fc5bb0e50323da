//! HTTP requests to one Vault.

use bytes::Bytes;
use headwater_secrets::SecretText;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use serde_json::Value as Json;

use super::VaultAddress;
use crate::outgoing::{Authorities, Endpoint, EndpointError, OutgoingError};

/// The largest response, in bytes.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

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

impl From<OutgoingError> for VaultError {
    fn from(error: OutgoingError) -> Self {
        match error {
            OutgoingError::Connection(reason) => Self::Connection(reason),
            OutgoingError::Slow => Self::Slow,
            OutgoingError::TooLarge(_) => Self::TooLarge,
        }
    }
}

/// The client of one Vault.
pub(crate) struct VaultClient {
    endpoint: Endpoint,
    /// The path before `/v1`.
    base: String,
    namespace: Option<HeaderValue>,
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
        if uri.query().is_some() {
            return Err(invalid());
        }
        let authorities = match (scheme, &address.ca) {
            ("http", _) => None,
            ("https", Some(ca)) => Some(Authorities::Pem(ca)),
            ("https", None) => return Err(VaultError::Address("https needs a ca_file")),
            _ => return Err(invalid()),
        };
        let endpoint = Endpoint::new(authority, authorities).map_err(|error| match error {
            EndpointError::Host => invalid(),
            EndpointError::Authorities | EndpointError::System(_) => {
                VaultError::Address("the ca_file contains no certificate that can be used")
            }
        })?;
        let namespace = address.namespace.as_deref().map(HeaderValue::from_str).transpose();
        Ok(Self {
            endpoint,
            base: uri.path().trim_end_matches('/').to_owned(),
            namespace: namespace.map_err(|_| VaultError::Address("the namespace is not valid"))?,
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
        let (status, body) = self.endpoint.send(request, RESPONSE_BYTES_MAX).await?;
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
}
