//! One attempt at one server: a request, and what its answer means. It knows nothing of retries.

use std::time::Duration;

use headwater_wire::Environment;
use hyper::StatusCode;
use hyper::header::{ACCEPT, AUTHORIZATION, ETAG, HeaderValue, RETRY_AFTER};

use crate::error::{Error, Failure};
use crate::http::{Http, Request, Response};
use crate::server::{Query, Server};

/// No environment is larger than this.
pub(crate) const BODY_LENGTH_MAX: usize = 16 * 1024 * 1024;
/// With a 503, the newest revision that the server has, which is not the one that was asked for.
const REVISION_HEADER: &str = "headwater-revision";
/// SHA-256 in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// Why an attempt gave no environment.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Asking again would give the same.
    Final(Error),
    /// Another server, or the same one later, may do better.
    Again { failure: Failure, retry_after: Option<Duration> },
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Attempt {
        Attempt::Again { failure, retry_after: None }
    }
}

/// What a server answered, and the digest that it gave it.
pub(crate) struct Fetched {
    pub(crate) environment: Environment,
    pub(crate) digest: Option<String>,
}

/// Asks one server once. The caller bounds the time.
pub(crate) async fn fetch(
    http: &Http,
    server: &Server,
    query: &Query,
    credentials: Option<&HeaderValue>,
) -> Result<Fetched, Attempt> {
    let request = addressed(http.get(server.url(query)), server, credentials, "application/json");
    let response = request.send().await?;
    read(response, server, query).await
}

/// A request to a server, with what it is to answer in and what opens it: the server's own credentials before the others.
pub(crate) fn addressed(
    request: Request,
    server: &Server,
    credentials: Option<&HeaderValue>,
    form: &'static str,
) -> Request {
    let request = request.header(ACCEPT, HeaderValue::from_static(form));
    match server.credentials().or(credentials) {
        Some(header) => request.header(AUTHORIZATION, header.clone()),
        None => request,
    }
}

/// The environment in a response, if there is one.
pub(crate) async fn read(
    response: Response,
    server: &Server,
    query: &Query,
) -> Result<Fetched, Attempt> {
    check_status(&response, server, query)?;
    let digest = digest_in(response.headers().get(ETAG));
    let body = bounded_body(response).await?;
    Ok(Fetched { environment: environment_in(&body, query)?, digest })
}

/// The digest in an entity tag of ours, `W/"<digest>.v1"`; other servers make theirs of other things.
fn digest_in(etag: Option<&HeaderValue>) -> Option<String> {
    let (digest, _) = etag?.to_str().ok()?.strip_prefix("W/\"")?.split_once('.')?;
    is_digest(digest).then(|| digest.to_owned())
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == DIGEST_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the status promises what was asked for, and if not, whether to ask again.
pub(crate) fn check_status(
    response: &Response,
    server: &Server,
    query: &Query,
) -> Result<(), Attempt> {
    let (status, server) = (response.status(), server.name().to_owned());
    let failure = Failure::Status(status.as_u16());
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
        StatusCode::SERVICE_UNAVAILABLE if response.headers().contains_key(REVISION_HEADER) => {
            Attempt::Again { failure: Failure::Behind, retry_after: retry_after(response) }
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Attempt::Again { failure, retry_after: retry_after(response) }
        }
        refused if refused.is_client_error() => {
            Attempt::Final(Error::Refused { server, status: refused.as_u16() })
        }
        _ => failure.into(),
    })
}

/// Seconds only: a date would trust two clocks.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// All of a body, if it is not too long.
pub(crate) async fn bounded_body(mut response: Response) -> Result<Vec<u8>, Attempt> {
    let too_large = || Failure::TooLarge(BODY_LENGTH_MAX);
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

/// The environment in a body, if it is the one that was asked for.
pub(crate) fn environment_in(body: &[u8], query: &Query) -> Result<Environment, Failure> {
    // What the parser says may quote the answer, so it is not passed on.
    let environment: Environment = serde_json::from_slice(body)
        .map_err(|_| Failure::BadAnswer("it is no environment in JSON"))?;
    if environment.name != query.application {
        return Err(Failure::BadAnswer("it is for another application"));
    }
    Ok(environment)
}
