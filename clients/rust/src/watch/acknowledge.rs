//! Telling the server what became of a configuration.
//!
//! Every request of a watch says it, and a stream may live for days: so a request of its own says it, unless another one
//! carried it meanwhile. It asks for nothing and is answered without a body.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, IF_NONE_MATCH};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::configuration::Configuration;
use crate::http::Request;
use crate::retry::pause;
use crate::server::Server;
use crate::watch::connection::Known;
use crate::{fetch, instance};

/// A change reaches a whole fleet at once. Its members speak when all of them know it, and not at once.
const SPREAD: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(1);
/// The least time between two requests that say it.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// The longest pause after requests that failed, with full jitter.
const PAUSE_MAX: Duration = Duration::from_secs(60);

const HEADER: HeaderName = HeaderName::from_static("headwater-applied");

/// What became of a configuration in this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The service runs with it.
    Applied,
    /// The service does not take it, and runs with what it had.
    Rejected,
}

/// What is said of the newest configuration that anything is said of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    known: Known,
    outcome: Outcome,
}

impl Acknowledgement {
    /// `None` for what no server knows by an id: a copy from disk, or the answer of another kind of server.
    pub(super) fn of(configuration: &Configuration, outcome: Outcome) -> Option<Acknowledgement> {
        let known = Known::of(configuration);
        known.id.is_some().then_some(Acknowledgement { known, outcome })
    }

    fn header(&self) -> Option<HeaderValue> {
        let outcome = match self.outcome {
            Outcome::Applied => "ok",
            Outcome::Rejected => "rejected",
        };
        HeaderValue::try_from(format!("{} {outcome}", self.known.id.as_deref()?)).ok()
    }
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Acknowledgement>,
    carried: Option<Acknowledgement>,
    /// The server that is followed, while one is.
    server: Option<usize>,
}

impl State {
    fn is_due(&self) -> bool {
        self.server.is_some() && self.latest.is_some() && self.latest != self.carried
    }
}

/// What there is to say and what was said, as all parts of a watch know it.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements(watch::Sender<State>);

impl Acknowledgements {
    /// What every request from now on says.
    pub(super) fn put(&self, acknowledgement: Acknowledgement) {
        self.0.send_modify(|state| state.latest = Some(acknowledgement));
    }

    pub(super) fn latest(&self) -> Option<Acknowledgement> {
        self.0.borrow().latest.clone()
    }

    /// A server was told.
    pub(super) fn carried(&self, acknowledgement: Option<Acknowledgement>) {
        self.0.send_modify(|state| state.carried = acknowledgement);
    }

    /// The server to tell it; another one knows nothing of what the one before was told.
    pub(super) fn follow(&self, server: Option<usize>) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.server, server) != server);
    }

    /// What a server is still to be told.
    fn due(&self) -> Option<(usize, Acknowledgement)> {
        let state = self.0.borrow();
        state.is_due().then(|| state.server.zip(state.latest.clone())).flatten()
    }
}

/// Adds who asks, and what became of the configuration.
pub(super) fn add_headers(
    request: Request,
    client: &Client,
    acknowledgement: Option<&Acknowledgement>,
) -> Request {
    let request = request.header(instance::HEADER, client.instance.clone());
    match acknowledgement.and_then(Acknowledgement::header) {
        Some(header) => request.header(HEADER, header),
        None => request,
    }
}

/// Tells the server that is followed whatever no other request tells it. Goes on until it is dropped.
pub(super) async fn tell(client: Client, acknowledgements: Arc<Acknowledgements>) {
    let mut states = acknowledgements.0.subscribe();
    let mut failure_count = 0;
    while states.wait_for(State::is_due).await.is_ok() {
        sleep(*SPREAD.start() + (*SPREAD.end() - *SPREAD.start()).mul_f64(fastrand::f64())).await;
        let Some((server, acknowledgement)) = acknowledgements.due() else {
            continue;
        };
        let request = request(&client, &client.servers[server], &acknowledgement);
        match timeout(client.limits.request_timeout, request).await {
            Ok(true) => {
                failure_count = 0;
                acknowledgements.carried(Some(acknowledgement));
                sleep(PAUSE_MIN).await;
            }
            _ => {
                failure_count += 1;
                sleep(PAUSE_MIN + pause(failure_count, PAUSE_MAX)).await;
            }
        }
    }
}

/// Whether the server heard it. One that refuses it would do so again.
async fn request(client: &Client, server: &Server, acknowledgement: &Acknowledgement) -> bool {
    let Ok(credentials) = client.credentials.current_header().await else {
        return false;
    };
    let Client { http, query, .. } = client;
    let request = http.head(server.url(query));
    let mut request = fetch::addressed(request, server, credentials.as_ref(), "application/json");
    if let Some(etag) = acknowledgement.known.etag() {
        request = request.text(IF_NONE_MATCH, &etag);
    }
    let answer = add_headers(request, client, Some(acknowledgement)).send().await;
    answer.is_ok_and(|answer| {
        !answer.status().is_server_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS
    })
}
