//! One attempt at one server: the request, and the interpretation of its response. This module does not retry.

use std::time::Duration;

use headwater_wire::{Environment, headers};
use hyper::StatusCode;
use hyper::header::{ACCEPT, AUTHORIZATION, ETAG, HeaderValue, RETRY_AFTER};

use crate::error::{AttemptError, Error};
use crate::http::{Http, Request, Response};
use crate::instance::Identity;
use crate::server::{Query, Server};

/// The largest accepted body, in bytes.
pub(crate) const BODY_LENGTH_MAX: usize = 16 * 1024 * 1024;
/// The length of a SHA-256 digest in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// A failed attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Every further attempt would fail in the same way.
    Final(Error),
    /// An attempt at another server, or a later one, may succeed.
    Again { failure: AttemptError, retry_after: Option<Duration> },
}

impl From<AttemptError> for Attempt {
    fn from(failure: AttemptError) -> Attempt {
        Attempt::Again { failure, retry_after: None }
    }
}

/// The longest epochs that are sent. Longer ones are ignored.
const EPOCHS_LENGTH_MAX: usize = 2 * 1024;

/// The answer of a server.
pub(crate) struct Fetched {
    pub(crate) environment: Environment,
    pub(crate) digest: Option<String>,
    /// The epochs of the publication. `None` for a label that was never rewound and an application without a rollout.
    pub(crate) epochs: Option<String>,
    /// Set for the candidate of a rollout, which can still be rolled back.
    pub(crate) is_candidate: bool,
}

/// Requests the environment from one server. A named instance can be the canary of a rollout. The caller limits the time.
pub(crate) async fn fetch(
    http: &Http,
    server: &Server,
    query: &Query,
    credentials: Option<&HeaderValue>,
    instance: Option<&Identity>,
) -> Result<Fetched, Attempt> {
    let mut request =
        authorized(http.get(server.url(query)), server, credentials, "application/json");
    if let Some(instance) = instance {
        request = instance.add_headers(request);
    }
    let response = request.send().await?;
    read(response, server, query).await
}

/// Adds the accepted media type and the credentials to a request. Credentials from the URL of the server take precedence
/// over `credentials`.
pub(crate) fn authorized(
    request: Request,
    server: &Server,
    credentials: Option<&HeaderValue>,
    media_type: &'static str,
) -> Request {
    let request = request.header(ACCEPT, HeaderValue::from_static(media_type));
    match server.credentials().or(credentials) {
        Some(header) => request.header(AUTHORIZATION, header.clone()),
        None => request,
    }
}

/// Reads the environment from a response.
pub(crate) async fn read(
    response: Response,
    server: &Server,
    query: &Query,
) -> Result<Fetched, Attempt> {
    check_status(&response, server, query)?;
    let digest = digest_in(response.headers().get(ETAG));
    let epochs = response.headers().get(headers::EPOCH).and_then(|header| header.to_str().ok());
    let epochs = epochs.filter(|epochs| are_epochs(epochs)).map(str::to_owned);
    let is_candidate = is_candidate(&response);
    let body = bounded_body(response).await?;
    Ok(Fetched { environment: environment_in(&body, query)?, digest, epochs, is_candidate })
}

/// Returns whether a response is of the candidate of a rollout. On the other side, a rollout holds the answer back.
pub(crate) fn is_candidate(response: &Response) -> bool {
    let has = |name: &str| response.headers().contains_key(name);
    has(headers::ROLLOUT) && !has(headers::HELD_AT)
}

/// Returns the digest from an entity tag of Headwater, `W/"<digest>.v1"`. The tags of other servers contain none.
fn digest_in(etag: Option<&HeaderValue>) -> Option<String> {
    let (digest, _) = etag?.to_str().ok()?.strip_prefix("W/\"")?.split_once('.')?;
    is_digest(digest).then(|| digest.to_owned())
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == DIGEST_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a text has the form of epochs.
pub(crate) fn are_epochs(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b',');
    (1..=EPOCHS_LENGTH_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Returns an error unless the status is 200. The error tells whether another attempt may succeed.
pub(crate) fn check_status(
    response: &Response,
    server: &Server,
    query: &Query,
) -> Result<(), Attempt> {
    let (status, server) = (response.status(), server.name().to_owned());
    let failure = AttemptError::Status(status.as_u16());
    Err(match status {
        StatusCode::OK => return Ok(()),
        StatusCode::NOT_FOUND => {
            let Query { application, profiles, label } = query.clone();
            Attempt::Final(Error::NotFound { server, application, profiles, label })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Attempt::Final(Error::Unauthorized { server, status: status.as_u16() })
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => failure.into(),
        StatusCode::SERVICE_UNAVAILABLE if response.headers().contains_key(headers::REVISION) => {
            Attempt::Again { failure: AttemptError::Behind, retry_after: retry_after(response) }
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Attempt::Again { failure, retry_after: retry_after(response) }
        }
        status if status.is_client_error() => {
            Attempt::Final(Error::Rejected { server, status: status.as_u16() })
        }
        _ => failure.into(),
    })
}

/// Reads `Retry-After` in seconds. A date is ignored, because it would depend on two clocks.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads a body up to the size limit.
pub(crate) async fn bounded_body(mut response: Response) -> Result<Vec<u8>, Attempt> {
    let too_large = || AttemptError::TooLarge(BODY_LENGTH_MAX);
    if response.content_length().is_some_and(|length| length > BODY_LENGTH_MAX as u64) {
        return Err(too_large().into());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > BODY_LENGTH_MAX {
            return Err(too_large().into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Parses an environment and checks that it is for the requested application.
pub(crate) fn environment_in(body: &[u8], query: &Query) -> Result<Environment, AttemptError> {
    // The message of the parser may quote a value, so it is dropped.
    let environment: Environment = serde_json::from_slice(body)
        .map_err(|_| AttemptError::BadAnswer("it is not an environment in JSON"))?;
    if environment.name != query.application {
        return Err(AttemptError::BadAnswer("it is for another application"));
    }
    Ok(environment)
}
