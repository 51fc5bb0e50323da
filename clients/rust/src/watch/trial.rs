//! Trials: a server asks whether this service would accept a configuration that is not published yet.
//!
//! The question is an event of the watch's stream, and the answer is a `HEAD` request to the server that asked. Several
//! questions wait in a short queue. A question that finds no place in it gets no answer, which is no verdict.
//!
//! Invariant: nothing of a trial is kept. Its configuration becomes neither the published one nor the last-known-good copy,
//! and its reads are no part of the contract.

use headwater_wire::{Outcome, headers};
use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::Client;
use crate::configuration::Configuration;
use crate::fetch;
use crate::http::Request;
use crate::sse::Event;
use crate::watch::acknowledge::reason_header;

/// The most questions that wait for the service.
const QUEUE_LENGTH: usize = 4;
/// The longest id of a trial that is repeated to the server.
const ID_LENGTH_MAX: usize = 256;

const CAN: HeaderName = HeaderName::from_static(headers::CAN);
const TRIED: HeaderName = HeaderName::from_static(headers::TRIED);
const REASON: HeaderName = HeaderName::from_static(headers::REASON);

/// The trials of a watch, from [`Client::watch_and_try`].
#[derive(Debug)]
pub struct Trials(mpsc::Receiver<Trial>);

/// A question of a server: would this service accept this configuration? The service applies nothing and answers with
/// [`Trial::accept`] or [`Trial::reject`]. A trial that is dropped has no answer, and the server decides without one.
///
/// The configuration may never be published. The service must not store it, log its values, or pass it on.
#[derive(Debug)]
#[must_use = "a trial that is dropped has no answer"]
pub struct Trial {
    configuration: Configuration,
    client: Client,
    /// The server that asks.
    server: usize,
    id: String,
}

/// The side of a watch that receives the questions. `None` for a service that takes part in no trial.
#[derive(Debug, Default)]
pub(super) struct TrialQueue(Option<mpsc::Sender<Trial>>);

/// Creates the two ends of the trials of a watch.
pub(super) fn queue(client: &Client) -> (TrialQueue, Trials) {
    let (sender, trials) = mpsc::channel(QUEUE_LENGTH);
    (TrialQueue(client.tries.then_some(sender)), Trials(trials))
}

impl Trials {
    /// Waits for the next trial. Returns `None` after the watch has ended, and at once for a client with
    /// [`Builder::no_try`](crate::Builder::no_try).
    ///
    /// Cancellation: dropping the future loses no trial.
    pub async fn next(&mut self) -> Option<Trial> {
        self.0.recv().await
    }
}

impl Trial {
    /// Returns the configuration to try.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Answers that this service would accept the configuration. The server waits a few seconds for an answer.
    pub async fn accept(self) {
        self.answer(Outcome::Applied, None).await;
    }

    /// Answers that this service would reject the configuration, and why: a word of lower-case letters and perhaps a key
    /// after a space, such as `type shop.max-items`. [`Error::reason`](crate::Error::reason) returns one. A reason must not
    /// contain a value.
    pub async fn reject(self, reason: impl Into<String>) {
        self.answer(Outcome::Rejected, Some(reason.into())).await;
    }

    async fn answer(self, outcome: Outcome, reason: Option<String>) {
        let reason = reason.as_deref();
        tracing::debug!(outcome = outcome.name(), reason, "configuration tried");
        let sent = timeout(self.client.limits.request_timeout, self.send(outcome, reason)).await;
        if !matches!(sent, Ok(Some(()))) {
            tracing::debug!("the answer to a trial was not sent");
        }
    }

    /// Sends the answer once. A server does not wait for a second attempt.
    async fn send(&self, outcome: Outcome, reason: Option<&str>) -> Option<()> {
        let Client { http, query, servers, credentials, identity, .. } = &self.client;
        let credentials = credentials.current_header().await.ok()?;
        let server = servers.get(self.server)?;
        let request = http.head(server.url(query));
        let request = fetch::authorized(request, server, credentials.as_ref(), "application/json");
        let mut request =
            identity.add_headers(request).text(TRIED, &format!("{} {}", self.id, outcome.name()));
        if let Some(reason) = reason.and_then(reason_header) {
            request = request.header(REASON, reason);
        }
        request.send().await.ok().map(|_| ())
    }
}

impl TrialQueue {
    /// Adds the offer to try configurations to the request of a stream, unless nothing takes the trials.
    pub(super) fn add_offer(&self, request: Request, client: &Client) -> Request {
        let is_taken = self.0.as_ref().is_some_and(|trials| !trials.is_closed());
        if is_taken && client.identity.name().is_some() {
            request.header(CAN, HeaderValue::from_static(headers::CAN_TRY))
        } else {
            request
        }
    }

    /// Hands the question of an event to the service. A malformed one is ignored.
    pub(super) fn put(&self, event: &Event, client: &Client, server: usize) {
        let (Some(trials), Some(id)) = (&self.0, &event.trial) else { return };
        let Ok(environment) = fetch::environment_in(event.data.as_bytes(), &client.query) else {
            return;
        };
        if id.len() > ID_LENGTH_MAX || HeaderValue::from_str(id).is_err() {
            return;
        }
        let name = client.servers[server].name();
        let trial = Trial {
            configuration: client.configuration_to_try(environment, name),
            client: client.clone(),
            server,
            id: id.clone(),
        };
        if trials.try_send(trial).is_err() {
            tracing::debug!("a trial has no answer, because the service is still busy with others");
        }
    }
}
