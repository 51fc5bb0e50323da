//! One conversation with one server: a stream of events, or one long poll. What it means is decided elsewhere.

use std::time::Duration;

use headwater_wire::Environment;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, IF_NONE_MATCH};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::Failure;
use crate::fetch::{self, Attempt, BODY_LENGTH_MAX, Fetched};
use crate::http::{Request, Response};
use crate::sse::{Decoder, Event, Item};
use crate::watch::acknowledge::{self, Acknowledgement, Acknowledgements};

/// How long a long poll asks to wait: less than what is cut off by most of what may stand between.
const POLL_WAIT: Duration = Duration::from_secs(25);
/// Room for the fields of an event around its environment.
const EVENT_LENGTH_MAX: usize = BODY_LENGTH_MAX + 64 * 1024;
/// An id that does not fit into a request is none.
const ID_LENGTH_MAX: usize = 4 * 1024;

/// Nothing older than this is wanted.
const MIN_REVISION: HeaderName = HeaderName::from_static("headwater-min-revision");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Stream,
    Poll,
}

/// How soon a poll is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// When there is something else, or after a while.
    Waits,
    /// At once.
    None,
}

/// The times of a watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Until a stream has to begin to speak.
    pub(crate) stream_start: Duration,
    /// After which a stream that says nothing is dead.
    pub(crate) silence: Duration,
}

/// What was told last, as servers know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// `<revision>.<digest>`.
    pub(super) id: Option<String>,
    /// The revision of a copy from disk: what is there is wanted whatever it is, but nothing older.
    least: Option<String>,
}

impl Known {
    pub(super) fn of(configuration: &Configuration) -> Known {
        let least = configuration.revision().filter(|it| configuration.is_stale() && is_plain(it));
        let known = Known::new(configuration.revision(), configuration.digest());
        Known { least: least.map(str::to_owned), ..known }
    }

    pub(super) fn new(revision: Option<&str>, digest: Option<&str>) -> Known {
        let id = revision.zip(digest).map(|(revision, digest)| format!("{revision}.{digest}"));
        let id = id.filter(|id| id.len() <= ID_LENGTH_MAX && HeaderValue::from_str(id).is_ok());
        Known { id, least: None }
    }

    /// What a server has to have: it is behind if it has not.
    pub(super) fn revision(&self) -> Option<&str> {
        self.parts().map(|(revision, _)| revision).or(self.least.as_deref())
    }

    /// The entity tag that it has as a plain answer of ours.
    pub(super) fn etag(&self) -> Option<String> {
        self.parts().map(|(_, digest)| format!("W/\"{digest}.v1\""))
    }

    /// Revision and digest.
    fn parts(&self) -> Option<(&str, &str)> {
        self.id.as_deref()?.rsplit_once('.')
    }
}

/// Other servers may call their revisions anything; ours refuse what none of them would.
fn is_plain(revision: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b',';
    revision.len() <= ID_LENGTH_MAX && !revision.is_empty() && revision.bytes().all(is_plain)
}

/// How a conversation failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// As any request can.
    Attempt(Attempt),
    /// Something between does not let streams through.
    NoStream,
    /// Whatever was watched is not there any more.
    Gone,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Attempt(failure.into())
    }
}

impl From<Attempt> for Trouble {
    fn from(attempt: Attempt) -> Trouble {
        Trouble::Attempt(attempt)
    }
}

/// Who asks which server, knowing what.
pub(super) struct Conversation<'a> {
    pub(super) client: &'a Client,
    pub(super) server: usize,
    pub(super) credentials: Option<HeaderValue>,
    pub(super) known: &'a Known,
    pub(super) acknowledgements: &'a Acknowledgements,
}

impl Conversation<'_> {
    fn request(&self, form: &'static str, told: Option<&Acknowledgement>) -> Request {
        let Client { http, servers, query, .. } = self.client;
        let server = &servers[self.server];
        let request = http.get(server.url(query));
        let request = fetch::addressed(request, server, self.credentials.as_ref(), form);
        acknowledge::add_headers(request, self.client, told)
    }

    async fn send(request: Request, limit: Duration) -> Result<Response, Trouble> {
        match timeout(limit, request.send()).await {
            Ok(response) => Ok(response?),
            Err(_) => Err(Failure::Timeout(limit).into()),
        }
    }

    /// Opens a stream that goes on from what is known.
    pub(super) async fn open(&self) -> Result<Stream, Trouble> {
        let told = self.acknowledgements.latest();
        let mut request = self.request("text/event-stream", told.as_ref());
        if let Some(id) = &self.known.id {
            request = request.text(LAST_EVENT_ID, id);
        } else if let Some(revision) = &self.known.least {
            request = request.text(MIN_REVISION, revision);
        }
        let stream = Stream::open(request, self.client, self.server).await?;
        self.acknowledgements.carried(told);
        Ok(Stream { waits_for_event: self.known.id.is_none(), ..stream })
    }

    /// Asks for what is not known yet.
    pub(super) async fn poll(&self, patience: Patience) -> Result<Polled, Trouble> {
        let told = self.acknowledgements.latest();
        let mut request = self.request("application/json", told.as_ref());
        let mut limit = self.client.limits.request_timeout;
        if let Some(etag) = self.known.etag() {
            request = request.text(IF_NONE_MATCH, &etag);
        }
        if patience == Patience::Waits {
            request = request.text(PREFER, &format!("wait={}", POLL_WAIT.as_secs()));
            limit += POLL_WAIT;
        }
        if let Some(revision) = self.known.revision() {
            request = request.text(MIN_REVISION, revision);
        }
        let end = Instant::now() + limit;
        // One that waits is heard before it is answered, and if not, the next one says it too.
        self.acknowledgements.carried(told);
        let response = Self::send(request, limit).await?;
        let has_waited = response.headers().contains_key("preference-applied");
        let knows = response.headers().get(MIN_REVISION).cloned();
        if response.status() == StatusCode::NOT_MODIFIED && self.known.id.is_some() {
            return Ok(Polled { fetched: None, has_waited });
        }
        let server = &self.client.servers[self.server];
        match timeout_at(end, fetch::read(response, server, &self.client.query)).await {
            Ok(fetched) => {
                let fetched = fetched?;
                let is_ours = fetched.digest.is_some();
                match self.known.revision() {
                    Some(wanted) if is_ours && knows.is_none_or(|it| it != wanted) => {
                        Err(Failure::Cached.into())
                    }
                    _ => Ok(Polled { fetched: Some(fetched), has_waited }),
                }
            }
            Err(_) => Err(Failure::Timeout(limit).into()),
        }
    }
}

/// The answer to a long poll.
pub(super) struct Polled {
    /// `None` while it is what is known already.
    pub(super) fetched: Option<Fetched>,
    /// Whether the server knows how to wait.
    pub(super) has_waited: bool,
}

/// An open stream of events.
pub(super) struct Stream {
    response: Response,
    decoder: Decoder,
    /// Until when it has to begin; `None` once it has.
    begin: Option<Instant>,
    /// Whether a beginning is an event: who knows nothing has to be told something.
    waits_for_event: bool,
    silence: Duration,
    /// How long the server wants to be left alone after this.
    pub(super) retry: Option<Duration>,
}

impl Stream {
    /// What a server says to this request, if it is a stream; its first word need not be an event.
    pub(crate) async fn open(
        request: Request,
        client: &Client,
        server: usize,
    ) -> Result<Stream, Trouble> {
        let Times { stream_start, silence } = client.times;
        // What keeps streams to itself may keep their heads too.
        let limit = client.limits.request_timeout.min(client.http.connect_timeout + stream_start);
        let response = Conversation::send(request, limit).await?;
        if response.status() == StatusCode::NOT_ACCEPTABLE {
            return Err(Trouble::NoStream);
        }
        fetch::check_status(&response, &client.servers[server], &client.query)?;
        let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str().is_ok_and(|kind| kind.trim_start().starts_with("text/event-stream"))
        });
        if !is_stream {
            return Err(Trouble::NoStream);
        }
        Ok(Stream {
            response,
            decoder: Decoder::new(EVENT_LENGTH_MAX),
            begin: Some(Instant::now() + stream_start),
            waits_for_event: false,
            silence,
            retry: None,
        })
    }

    /// The events that came next; none if it only showed that it is alive.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, Trouble> {
        let until = self.begin.unwrap_or_else(|| Instant::now() + self.silence);
        let chunk = match timeout_at(until, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(Failure::Ended.into()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) if self.begin.is_some() => return Err(Trouble::NoStream),
            Err(_) => return Err(Failure::Silent(self.silence).into()),
        };
        let mut items = Vec::new();
        let decoded = self.decoder.push(&chunk, &mut items);
        decoded.map_err(|_| Failure::TooLarge(EVENT_LENGTH_MAX))?;
        let mut events = Vec::new();
        for item in items {
            match item {
                Item::Event(event) => events.push(event),
                Item::Retry(pause) => self.retry = Some(pause),
            }
        }
        if !self.waits_for_event || !events.is_empty() {
            self.begin = None;
        }
        Ok(events)
    }
}

/// The environment of an event, and the digest in its id.
pub(super) fn environment_in(event: &Event, client: &Client) -> Result<Fetched, Failure> {
    let environment: Environment = fetch::environment_in(event.data.as_bytes(), &client.query)?;
    let digest = event.id.as_deref().and_then(|id| Some(id.rsplit_once('.')?.1));
    let digest = digest.filter(|digest| fetch::is_digest(digest)).map(str::to_owned);
    Ok(Fetched { environment, digest })
}
