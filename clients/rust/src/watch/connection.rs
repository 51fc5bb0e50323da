//! One connection to one server: an event stream or a long poll. [`follow`](super::follow) interprets the results.

use std::time::Duration;

use headwater_wire::{Environment, headers};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, IF_NONE_MATCH};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::Client;
use crate::error::AttemptError;
use crate::fetch::{self, Attempt, BODY_LENGTH_MAX, Fetched};
use crate::http::{Request, Response};
use crate::limits::StreamLimits;
use crate::sse::{Decoder, Event, Item};
use crate::watch::acknowledge::{self, Acknowledgements, Report};
use crate::watch::known::Known;
use crate::watch::trial::TrialQueue;

/// The wait of a long poll. It is shorter than the idle timeout of most proxies.
const POLL_WAIT: Duration = Duration::from_secs(25);
/// The largest event: an environment of the largest size and the other fields of the event.
const EVENT_LENGTH_MAX: usize = BODY_LENGTH_MAX + 64 * 1024;

const MIN_REVISION: HeaderName = HeaderName::from_static(headers::MIN_REVISION);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Stream,
    Poll,
}

/// The wait that a poll requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PollWait {
    /// The server answers when the environment changes, or after [`POLL_WAIT`].
    Long,
    /// The server answers at once.
    None,
}

/// The failure of a connection.
#[derive(Debug)]
pub(super) enum ConnectionError {
    /// A failure that every attempt can have.
    Attempt(Attempt),
    /// The server or a proxy does not support event streams.
    NoStream,
    /// The watched environment no longer exists.
    Gone,
}

impl From<AttemptError> for ConnectionError {
    fn from(failure: AttemptError) -> ConnectionError {
        ConnectionError::Attempt(failure.into())
    }
}

impl From<Attempt> for ConnectionError {
    fn from(attempt: Attempt) -> ConnectionError {
        ConnectionError::Attempt(attempt)
    }
}

/// Everything that a request to one server needs.
pub(super) struct Connector<'a> {
    pub(super) client: &'a Client,
    pub(super) server: usize,
    pub(super) credentials: Option<HeaderValue>,
    pub(super) known: &'a Known,
    pub(super) acknowledgements: &'a Acknowledgements,
    pub(super) trials: &'a TrialQueue,
}

impl Connector<'_> {
    fn request(&self, media_type: &'static str, report: &Report) -> Request {
        let Client { http, servers, query, .. } = self.client;
        let server = &servers[self.server];
        let request = http.get(server.url(query));
        let request = fetch::authorized(request, server, self.credentials.as_ref(), media_type);
        acknowledge::add_headers(request, self.client, report)
    }

    async fn send(request: Request, limit: Duration) -> Result<Response, ConnectionError> {
        match timeout(limit, request.send()).await {
            Ok(response) => Ok(response?),
            Err(_) => Err(AttemptError::Timeout(limit).into()),
        }
    }

    /// Opens an event stream that resumes after the known configuration.
    pub(super) async fn open(&self) -> Result<EventStream, ConnectionError> {
        let report = self.acknowledgements.latest();
        let request = self.request("text/event-stream", &report);
        let mut request = self.trials.add_offer(request, self.client);
        if let Some(id) = &self.known.id {
            request = request.text(LAST_EVENT_ID, id);
        } else if let Some(position) = &self.known.least {
            request = request.text(MIN_REVISION, position);
        }
        let stream = EventStream::open(request, self.client, self.server).await?;
        self.acknowledgements.record_streamed(self.server, report);
        Ok(EventStream { waits_for_event: self.known.id.is_none(), ..stream })
    }

    /// Requests a configuration other than the known one.
    pub(super) async fn poll(&self, wait: PollWait) -> Result<Polled, ConnectionError> {
        let report = self.acknowledgements.latest();
        let mut request = self.request("application/json", &report);
        let mut limit = self.client.limits.request_timeout;
        if let Some(etag) = self.known.etag() {
            request = request.text(IF_NONE_MATCH, &etag);
        }
        if wait == PollWait::Long {
            request = request.text(PREFER, &format!("wait={}", POLL_WAIT.as_secs()));
            limit += POLL_WAIT;
        }
        if let Some(position) = self.known.position() {
            request = request.text(MIN_REVISION, position);
        }
        let end = Instant::now() + limit;
        // The server reads the report before it waits. If the request fails, the next one carries it again.
        self.acknowledgements.record_delivered(report.clone());
        let response = Self::send(request, limit).await?;
        self.acknowledgements.record_answer(self.server, &report, response.headers());
        let has_waited = response.headers().contains_key("preference-applied");
        let is_candidate = fetch::is_candidate(&response);
        let confirmed = response.headers().get(MIN_REVISION).cloned();
        if response.status() == StatusCode::NOT_MODIFIED && self.known.id.is_some() {
            return Ok(Polled { fetched: None, has_waited, is_candidate });
        }
        let server = &self.client.servers[self.server];
        match timeout_at(end, fetch::read(response, server, &self.client.query)).await {
            Ok(fetched) => {
                let fetched = fetched?;
                let is_headwater = fetched.digest.is_some();
                match self.known.position() {
                    Some(wanted) if is_headwater && confirmed.is_none_or(|it| it != wanted) => {
                        Err(AttemptError::Cached.into())
                    }
                    _ => Ok(Polled { fetched: Some(fetched), has_waited, is_candidate }),
                }
            }
            Err(_) => Err(AttemptError::Timeout(limit).into()),
        }
    }
}

/// The answer to a long poll.
pub(super) struct Polled {
    /// The new answer. `None` when the known configuration is still the present one.
    pub(super) fetched: Option<Fetched>,
    /// Set when the server supports long polls.
    pub(super) has_waited: bool,
    /// Set when the answer is the candidate of a rollout.
    pub(super) is_candidate: bool,
}

/// An open stream of events.
pub(super) struct EventStream {
    response: Response,
    decoder: Decoder,
    /// The time by which the first bytes must arrive. `None` after they have arrived.
    start_deadline: Option<Instant>,
    /// Set when only an event counts as the first bytes, because the client has no configuration yet.
    waits_for_event: bool,
    silence_timeout: Duration,
    /// The pause that the server requests after the end of the stream.
    pub(super) retry: Option<Duration>,
}

impl EventStream {
    /// Sends the request and expects an event stream. Any bytes count as its start.
    pub(crate) async fn open(
        request: Request,
        client: &Client,
        server: usize,
    ) -> Result<EventStream, ConnectionError> {
        let StreamLimits { start_timeout, silence_timeout } = client.stream_limits;
        // A proxy that holds back the stream may also hold back the head of the response.
        let limit = client.limits.request_timeout.min(client.http.connect_timeout + start_timeout);
        let response = Connector::send(request, limit).await?;
        if response.status() == StatusCode::NOT_ACCEPTABLE {
            return Err(ConnectionError::NoStream);
        }
        fetch::check_status(&response, &client.servers[server], &client.query)?;
        let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str().is_ok_and(|kind| kind.trim_start().starts_with("text/event-stream"))
        });
        if !is_stream {
            return Err(ConnectionError::NoStream);
        }
        Ok(EventStream {
            response,
            decoder: Decoder::new(EVENT_LENGTH_MAX),
            start_deadline: Some(Instant::now() + start_timeout),
            waits_for_event: false,
            silence_timeout,
            retry: None,
        })
    }

    /// Returns the next events. The result is empty after a heartbeat.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, ConnectionError> {
        let until = self.start_deadline.unwrap_or_else(|| Instant::now() + self.silence_timeout);
        let chunk = match timeout_at(until, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(AttemptError::Ended.into()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) if self.start_deadline.is_some() => return Err(ConnectionError::NoStream),
            Err(_) => return Err(AttemptError::Silent(self.silence_timeout).into()),
        };
        let mut items = Vec::new();
        let decoded = self.decoder.push(&chunk, &mut items);
        decoded.map_err(|_| AttemptError::TooLarge(EVENT_LENGTH_MAX))?;
        let mut events = Vec::new();
        for item in items {
            match item {
                Item::Event(event) => events.push(event),
                Item::Retry(pause) => self.retry = Some(pause),
            }
        }
        if !self.waits_for_event || !events.is_empty() {
            self.start_deadline = None;
        }
        Ok(events)
    }
}

/// The environment of an event, with the digest in its id and, of a label that was rewound, the epochs.
pub(super) fn environment_in(event: &Event, client: &Client) -> Result<Fetched, AttemptError> {
    let environment: Environment = fetch::environment_in(event.data.as_bytes(), &client.query)?;
    let id = event.id.as_deref().and_then(|id| id.rsplit_once('.'));
    let id = id.filter(|(_, digest)| fetch::is_digest(digest));
    let epochs = id.and_then(|(position, _)| Some(position.split_once('.')?.1));
    let epochs = epochs.filter(|epochs| fetch::are_epochs(epochs)).map(str::to_owned);
    let digest = id.map(|(_, digest)| digest.to_owned());
    Ok(Fetched { environment, digest, epochs, is_candidate: event.is_candidate })
}
