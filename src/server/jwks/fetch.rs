//! One request for a JWKS document.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, HeaderValue};
use hyper::{Request, StatusCode, Uri};

use crate::access::JWKS_BYTES_MAX;
use crate::outgoing::{Authorities, Endpoint, EndpointError, OutgoingError};

/// The media types of a JWKS document.
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/json, application/jwk-set+json");

/// Reads a document. Without `authorities` (PEM), those of the system are trusted.
///
/// # Errors
/// The reason, without the URL and without any part of the answer.
pub(super) async fn fetch(url: &str, authorities: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let uri: Uri = url.parse().map_err(|_| "jwks_url is not a URL".to_owned())?;
    let authority = uri.authority().ok_or("jwks_url has no host")?;
    if uri.scheme_str() != Some("https") {
        return Err("jwks_url: expected https:// and a host without a user name".to_owned());
    }
    let trusted = authorities.as_deref().map_or(Authorities::System, Authorities::Pem);
    let endpoint = Endpoint::new(authority, Some(trusted)).map_err(|error| match error {
        EndpointError::Authorities => format!("ca_file: {error}"),
        EndpointError::Host => format!("jwks_url: {error}"),
        EndpointError::System(_) => error.to_string(),
    })?;
    let mut request = Request::new(Full::new(Bytes::new()));
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().map_err(|_| "jwks_url is not a URL")?;
    request.headers_mut().insert(ACCEPT, ACCEPTED);
    let answered = endpoint.send(request, JWKS_BYTES_MAX).await;
    let (status, document) = answered.map_err(|error| match error {
        OutgoingError::TooLarge(bytes_max) => format!("the JWKS has more than {bytes_max} bytes"),
        error => error.to_string(),
    })?;
    // The media type does not matter, because the keys are parsed strictly.
    match status {
        StatusCode::OK => Ok(document.into()),
        status if status.is_redirection() => {
            Err(format!("the issuer answers with a redirect ({status}), which is not followed"))
        }
        status => Err(format!("the issuer answers with {status}")),
    }
}
