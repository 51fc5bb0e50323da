//! `POST /monitor`: a git host, or anyone, says that something was pushed (specification, 17.1).
//!
//! What it says is answered as Spring answers it and believed in nothing: the only effect is that the sources look now.
//! Where secrets are configured, only who proves to know one of them has that effect.

mod body;
mod deliveries;
mod proof;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;

use self::deliveries::Deliveries;
use self::proof::Secrets;
use super::error::Fault;
use super::route::Refusal;
use super::{Http, V1_TYPE};

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// The most bodies that are read at a time.
const READING_COUNT_MAX: usize = 32;

/// Who may say that something was pushed, and who did lately.
pub struct Monitor {
    secrets: Secrets,
    deliveries: Mutex<Deliveries>,
    reading_count: AtomicUsize,
}

impl Monitor {
    /// From the secrets that a hook is proven with, any of them; from none, so that anyone may call it.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            secrets: Secrets::new(secrets),
            deliveries: Mutex::default(),
            reading_count: AtomicUsize::new(0),
        }
    }
}

pub(super) async fn post(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
) -> Result<HttpResponse, Fault> {
    let monitor = &http.monitor;
    let body = {
        let _reading = Reading::enter(&monitor.reading_count).ok_or(Fault::TooManyRequests)?;
        read(request, payload).await?
    };
    let headers = request.headers();
    if !monitor.secrets.are_proven(headers, &body) {
        return Err(Fault::Unauthorized);
    }
    let is_new = crate::sync::lock(&monitor.deliveries).take(delivery(headers))?;
    let first = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let paths = match kind(headers, &body)? {
        Kind::Json => body::paths(&first, &body),
        Kind::Form => body::form(request.query_string(), &body),
    };
    let paths = paths.ok_or(Fault::Refused(Refusal::Invalid))?;
    if is_new {
        http.store.look_again();
    }
    let names = serde_json::Value::from(body::applications(&paths));
    Ok(HttpResponse::Ok().content_type(V1_TYPE).body(names.to_string()))
}

async fn read(request: &HttpRequest, mut payload: web::Payload) -> Result<Vec<u8>, Fault> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Fault::BodyTooLarge);
    }
    let reading = async {
        let mut body = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Fault::Refused(Refusal::Invalid))?;
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(Fault::BodyTooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    let read = actix_web::rt::time::timeout(BODY_TIME_MAX, reading).await;
    read.unwrap_or(Err(Fault::BodyTooSlow))
}

/// How a body is written.
enum Kind {
    Json,
    Form,
}

fn kind(headers: &HeaderMap, body: &[u8]) -> Result<Kind, Fault> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(|text| text.split(';').next().unwrap_or(text).trim());
    match media_type.map(str::to_ascii_lowercase).as_deref() {
        Some("application/x-www-form-urlencoded") => Ok(Kind::Form),
        Some(json) if json == "application/json" || json.ends_with("+json") => Ok(Kind::Json),
        None if body.is_empty() => Err(Fault::Refused(Refusal::Invalid)),
        _ => Err(Fault::UnsupportedMediaType),
    }
}

/// What a git host calls one delivery, the same each time that it tries again.
fn delivery(headers: &HeaderMap) -> Option<&[u8]> {
    const ALWAYS: [&str; 6] = [
        "x-github-delivery",
        "x-gitea-delivery",
        "x-gogs-delivery",
        "idempotency-key",
        "x-gitlab-event-uuid",
        "x-request-uuid",
    ];
    // Bitbucket Server's; of others, proxies make one up.
    let of_bitbucket = headers.contains_key("x-event-key").then_some("x-request-id");
    ALWAYS.into_iter().chain(of_bitbucket).find_map(|name| Some(headers.get(name)?.as_bytes()))
}

/// One body that is being read, counted while it is.
struct Reading<'a>(&'a AtomicUsize);

impl<'a> Reading<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let reading = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < READING_COUNT_MAX).then_some(reading)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
