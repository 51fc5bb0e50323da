//! `POST /monitor`: the webhook by which a git host reports a push (docs/protocol.md#15-webhooks).
//!
//! The server answers as Spring does but does not trust the content of the webhook. Its only effect is that all sources
//! look for changes now. Where secrets are configured, the sender must prove that it knows one of them.

mod authentication;
mod body;
mod body_slots;
mod deliveries;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use futures_util::StreamExt;

use self::authentication::{Proof, Secrets};
use self::body_slots::BodySlots;
use self::deliveries::Deliveries;
use super::error::HttpError;
use super::route::RouteError;
use super::{Http, V1_TYPE};

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The time in which a body must arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// The secrets of the webhook and the deliveries of the last time.
pub struct Monitor {
    secrets: ArcSwap<Secrets>,
    deliveries: Mutex<Deliveries>,
    body_slots: BodySlots,
}

impl Monitor {
    /// Creates a webhook that any of the secrets authenticates. Without secrets, any client may call it.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            secrets: ArcSwap::from_pointee(Secrets::new(secrets)),
            deliveries: Mutex::default(),
            body_slots: BodySlots::default(),
        }
    }

    /// Replaces the secrets. Later webhooks must prove one of the new ones.
    pub fn replace_secrets<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        self.secrets.store(Arc::new(Secrets::new(secrets)));
    }
}

pub(super) async fn post(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
) -> Result<HttpResponse, HttpError> {
    let (monitor, headers) = (&http.monitor, request.headers());
    // Requests without any proof are rejected before they take a slot from others.
    let secrets = monitor.secrets.load_full();
    let proof = secrets.proof(headers).ok_or(HttpError::Unauthorized)?;
    let body = read_in_slot(request, payload, http).await?;
    if proof == Proof::Signature && !secrets.is_signed(headers, &body) {
        return Err(HttpError::Unauthorized);
    }
    let is_new = crate::sync::lock(&monitor.deliveries).admit(delivery_id(headers))?;
    let first = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let paths = match body_format(headers, &body)? {
        BodyFormat::Json => body::paths(&first, &body),
        BodyFormat::Form => body::form(request.query_string(), &body),
    };
    let paths = paths.ok_or(HttpError::Route(RouteError::Invalid))?;
    if is_new {
        http.store.hint_refresh();
    }
    let names = serde_json::Value::from(body::applications(&paths));
    Ok(HttpResponse::Ok().content_type(V1_TYPE).body(names.to_string()))
}

/// Reads a body of a webhook's size. Fails if the slot is taken away before the body has arrived.
pub(super) async fn read_in_slot(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
) -> Result<Vec<u8>, HttpError> {
    read_up_to(request, payload, http, BODY_BYTES_MAX).await
}

/// Reads a body of a limited size. Fails if the slot is taken away before the body has arrived.
pub(super) async fn read_up_to(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
    bytes_max: usize,
) -> Result<Vec<u8>, HttpError> {
    let slot = http.monitor.body_slots.take(http.watchers.client(request));
    tokio::select! {
        biased;
        read = read(request, payload, bytes_max) => read,
        () = slot.evicted() => Err(HttpError::BodyTooSlow(BODY_TIME_MAX)),
    }
}

async fn read(
    request: &HttpRequest,
    mut payload: web::Payload,
    bytes_max: usize,
) -> Result<Vec<u8>, HttpError> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(HttpError::BodyTooLarge(bytes_max));
    }
    let reading = async {
        let mut body = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| HttpError::Route(RouteError::Invalid))?;
            if body.len() + chunk.len() > bytes_max {
                return Err(HttpError::BodyTooLarge(bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    let read = actix_web::rt::time::timeout(BODY_TIME_MAX, reading).await;
    read.unwrap_or(Err(HttpError::BodyTooSlow(BODY_TIME_MAX)))
}

/// The format of a body.
enum BodyFormat {
    Json,
    Form,
}

fn body_format(headers: &HeaderMap, body: &[u8]) -> Result<BodyFormat, HttpError> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(|text| text.split(';').next().unwrap_or(text).trim());
    match media_type.map(str::to_ascii_lowercase).as_deref() {
        Some("application/x-www-form-urlencoded") => Ok(BodyFormat::Form),
        Some(json) if json == "application/json" || json.ends_with("+json") => Ok(BodyFormat::Json),
        None if body.is_empty() => Err(HttpError::Route(RouteError::Invalid)),
        _ => Err(HttpError::UnsupportedMediaType),
    }
}

/// The identifier of a delivery. A git host repeats it when it tries again.
fn delivery_id(headers: &HeaderMap) -> Option<&[u8]> {
    const ALWAYS: [&str; 6] = [
        "x-github-delivery",
        "x-gitea-delivery",
        "x-gogs-delivery",
        "idempotency-key",
        "x-gitlab-event-uuid",
        "x-request-uuid",
    ];
    // Bitbucket Server sends this header. In other requests a proxy may have added it.
    let of_bitbucket = headers.contains_key("x-event-key").then_some("x-request-id");
    ALWAYS.into_iter().chain(of_bitbucket).find_map(|name| Some(headers.get(name)?.as_bytes()))
}
