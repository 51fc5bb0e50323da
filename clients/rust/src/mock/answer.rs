//! The answers of the mock server.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use headwater_wire::{CONTRACT_BYTES_MAX, Contract, headers};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};

use crate::mock::{MockState, Served, lock};

/// The longest wait of a long poll.
const WAIT_MAX: Duration = Duration::from_secs(45);
/// The interval of heartbeats on a stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The name of the only representation in entity tags.
const REPRESENTATION: &str = "v1";

type EnvironmentReceiver = watch::Receiver<Option<Arc<Served>>>;

/// The body of a response: complete, or a stream of events.
pub(super) enum Content {
    Whole(Option<Bytes>),
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Content::Whole(bytes) => Poll::Ready(bytes.take()),
            Content::Events(events) => events.poll_recv(context),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Answers one request and records the acknowledgement that it carries.
pub(super) async fn answer(
    request: Request<Incoming>,
    state: Arc<MockState>,
) -> Result<Response<Content>, Infallible> {
    state.request_count.fetch_add(1, Ordering::Relaxed);
    if let Some(instance) = header(&request, headers::INSTANCE) {
        lock(&state.requests).insert(instance.to_owned(), request.headers().clone());
        if let Some(acknowledgement) = header(&request, headers::APPLIED) {
            lock(&state.acknowledged).insert(instance.to_owned(), acknowledgement.to_owned());
        }
    }
    if request.method() == Method::PUT {
        return Ok(register(request, &state).await);
    }
    let environment = environment(&request, &state);
    let wanted = header(&request, headers::CONTRACT).map(str::to_owned);
    let wanted = wanted.filter(|digest| !lock(&state.contracts).contains_key(digest));
    let is_get = request.method() == Method::GET;
    if !is_get && request.method() != Method::HEAD {
        return Ok(without_body(StatusCode::METHOD_NOT_ALLOWED));
    }
    let mut response = match environment {
        Some(environment) if is_get && wants_events(&request) => stream(&request, environment),
        Some(environment) => plain(&request, environment).await,
        None => without_body(StatusCode::NOT_FOUND),
    };
    if let Some(digest) = wanted.and_then(|digest| HeaderValue::try_from(digest).ok()) {
        response.headers_mut().insert(headers::CONTRACT_WANTED, digest);
    }
    Ok(response)
}

/// Registers a contract.
async fn register(request: Request<Incoming>, state: &MockState) -> Response<Content> {
    let path = request.uri().path().to_owned();
    let Ok(body) = Limited::new(request.into_body(), CONTRACT_BYTES_MAX).collect().await else {
        return without_body(StatusCode::PAYLOAD_TOO_LARGE);
    };
    match Contract::parse(&body.to_bytes()) {
        Ok(contract)
            if path.ends_with(&format!(
                "/-/contracts/{}/{}",
                contract.application, contract.digest
            )) =>
        {
            lock(&state.contracts).insert(contract.digest.clone(), contract);
            without_body(StatusCode::CREATED)
        }
        _ => without_body(StatusCode::BAD_REQUEST),
    }
}

fn environment(request: &Request<Incoming>, state: &MockState) -> Option<EnvironmentReceiver> {
    let mut segments = request.uri().path().trim_matches('/').split('/');
    let (application, profiles) = (segments.next()?, segments.next()?);
    let key = (application.replace("(_)", "/"), profiles.replace("%2C", ","));
    let environment = lock(&state.environments).get(&key)?.subscribe();
    let is_there = environment.borrow().is_some();
    is_there.then_some(environment)
}

async fn plain(
    request: &Request<Incoming>,
    mut environment: EnvironmentReceiver,
) -> Response<Content> {
    let tag = |served: &Served| format!("W/\"{}.{REPRESENTATION}\"", served.digest);
    let known = header(request, IF_NONE_MATCH.as_str());
    let wait = known.and_then(|_| header(request, "prefer")?.strip_prefix("wait=")?.parse().ok());
    let wait = wait.map(Duration::from_secs).unwrap_or_default().min(WAIT_MAX);
    if request.method() == Method::GET && !wait.is_zero() {
        let differs = |served: &Option<Arc<Served>>| {
            served.as_ref().is_none_or(|served| known != Some(tag(served).as_str()))
        };
        // After a timeout the environment is unchanged, and the answer is 304.
        let _ = timeout(wait, environment.wait_for(differs)).await;
    }
    let served = environment.borrow().clone();
    let Some(served) = served else {
        return without_body(StatusCode::NOT_FOUND);
    };
    let tag = tag(&served);
    let is_known = known == Some(tag.as_str());
    let content = Content::Whole((!is_known).then(|| served.body.clone()));
    let mut response = Response::builder()
        .status(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK })
        .header(CONTENT_TYPE, "application/json")
        .header(ETAG, tag)
        .header(headers::REVISION, &served.revision);
    if !wait.is_zero() {
        response = response.header("Preference-Applied", format!("wait={}", wait.as_secs()));
    }
    if let Some(revision) = header(request, headers::MIN_REVISION) {
        response = response.header(headers::MIN_REVISION, revision);
    }
    response.body(content).expect("headers of letters and digits")
}

fn stream(request: &Request<Incoming>, environment: EnvironmentReceiver) -> Response<Content> {
    let known = header(request, "last-event-id").and_then(|id| Some(id.rsplit_once('.')?.1));
    let (sender, events) = mpsc::channel(1);
    tokio::spawn(send_events(environment, known.map(str::to_owned), sender));
    let response = Response::builder().header(CONTENT_TYPE, "text/event-stream");
    response.body(Content::Events(events)).expect("headers of letters")
}

/// Sends an event for each change until the client disconnects or the environment is removed.
async fn send_events(
    mut environment: EnvironmentReceiver,
    mut known_digest: Option<String>,
    events: mpsc::Sender<Bytes>,
) {
    let mut heartbeat = interval(HEARTBEAT);
    loop {
        let served = environment.borrow_and_update().clone();
        let event = match served {
            None => Some(Bytes::from_static(b"event: gone\ndata: {}\n\n")),
            Some(served) if known_digest.as_ref() != Some(&served.digest) => {
                known_digest = Some(served.digest.clone());
                Some(event(&served))
            }
            Some(_) => None,
        };
        let is_gone = environment.borrow().is_none();
        if let Some(event) = event
            && (events.send(event).await.is_err() || is_gone)
        {
            return;
        }
        tokio::select! {
            changed = environment.changed() => if changed.is_err() { return },
            () = events.closed() => return,
            _ = heartbeat.tick() => {
                if events.send(Bytes::from_static(b":\n\n")).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn event(served: &Served) -> Bytes {
    let Served { revision, digest, body } = served;
    let id = format!("event: environment\nid: {revision}.{digest}\ndata: ");
    Bytes::from([id.as_bytes(), body, b"\n\n"].concat())
}

fn wants_events(request: &Request<Incoming>) -> bool {
    header(request, ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream"))
}

fn header<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn without_body(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Content::Whole(None));
    *response.status_mut() = status;
    response
}
