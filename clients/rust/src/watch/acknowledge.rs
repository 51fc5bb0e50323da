//! Reports the outcome of a configuration to the server.
//!
//! Every request of a watch carries the outcome in a header. A stream may stay open for days, so a separate `HEAD` request
//! carries a new outcome, unless another request has carried it in the meantime.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use headwater_wire::{Outcome, headers};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, IF_NONE_MATCH};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::configuration::Configuration;
use crate::http::Request;
use crate::retry::pause;
use crate::server::Server;
use crate::watch::known::Known;
use crate::{fetch, instance};

/// The delay of a report. A change reaches many instances at the same moment, and the delay spreads their reports.
const SPREAD: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(1);
/// The shortest time between two reports.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// The largest upper bound of the random pause after failed reports.
const PAUSE_MAX: Duration = Duration::from_secs(60);

const APPLIED: HeaderName = HeaderName::from_static(headers::APPLIED);

/// A configuration and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    known: Known,
    outcome: Outcome,
}

impl Acknowledgement {
    /// Returns `None` for a configuration without an id: a last-known-good copy, or an answer of another kind of server.
    pub(super) fn new(configuration: &Configuration, outcome: Outcome) -> Option<Acknowledgement> {
        let known = Known::of(configuration);
        known.id.is_some().then_some(Acknowledgement { known, outcome })
    }

    fn header(&self) -> Option<HeaderValue> {
        let id = self.known.id.as_deref()?;
        HeaderValue::try_from(format!("{id} {}", self.outcome.name())).ok()
    }
}

#[derive(Debug, Default)]
struct ReportState {
    /// The acknowledgement to report.
    latest: Option<Acknowledgement>,
    /// The acknowledgement that the connected server has received.
    delivered: Option<Acknowledgement>,
    /// The connected server.
    server: Option<usize>,
}

impl ReportState {
    fn is_due(&self) -> bool {
        self.server.is_some() && self.latest.is_some() && self.latest != self.delivered
    }
}

/// The acknowledgement state that the tasks of a watch share.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements(watch::Sender<ReportState>);

impl Acknowledgements {
    /// Sets the acknowledgement that every request carries from now on.
    pub(super) fn set(&self, acknowledgement: Acknowledgement) {
        self.0.send_modify(|state| state.latest = Some(acknowledgement));
    }

    pub(super) fn latest(&self) -> Option<Acknowledgement> {
        self.0.borrow().latest.clone()
    }

    /// Records that a request has carried an acknowledgement.
    pub(super) fn record_delivered(&self, acknowledgement: Option<Acknowledgement>) {
        self.0.send_modify(|state| state.delivered = acknowledgement);
    }

    /// Sets the connected server.
    pub(super) fn set_server(&self, server: Option<usize>) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.server, server) != server);
    }

    /// Returns the acknowledgement that the connected server has not received yet.
    fn due(&self) -> Option<(usize, Acknowledgement)> {
        let state = self.0.borrow();
        state.is_due().then(|| state.server.zip(state.latest.clone())).flatten()
    }
}

/// Adds the name of the instance and the acknowledgement to a request.
pub(super) fn add_headers(
    request: Request,
    client: &Client,
    acknowledgement: Option<&Acknowledgement>,
) -> Request {
    let request = request.header(instance::HEADER, client.instance.clone());
    match acknowledgement.and_then(Acknowledgement::header) {
        Some(header) => request.header(APPLIED, header),
        None => request,
    }
}

/// Reports each acknowledgement that no other request has carried. Runs until it is dropped.
pub(super) async fn report(client: Client, acknowledgements: Arc<Acknowledgements>) {
    let mut states = acknowledgements.0.subscribe();
    let mut failure_count = 0;
    while states.wait_for(ReportState::is_due).await.is_ok() {
        sleep(*SPREAD.start() + (*SPREAD.end() - *SPREAD.start()).mul_f64(fastrand::f64())).await;
        let Some((server, acknowledgement)) = acknowledgements.due() else {
            continue;
        };
        let request = send_report(&client, &client.servers[server], &acknowledgement);
        match timeout(client.limits.request_timeout, request).await {
            Ok(true) => {
                failure_count = 0;
                acknowledgements.record_delivered(Some(acknowledgement));
                sleep(PAUSE_MIN).await;
            }
            _ => {
                failure_count += 1;
                sleep(PAUSE_MIN + pause(failure_count, PAUSE_MAX)).await;
            }
        }
    }
}

/// Sends one report. Returns `false` when another attempt may succeed. A 4xx status counts as delivered, because the server
/// would reject the report again.
async fn send_report(client: &Client, server: &Server, acknowledgement: &Acknowledgement) -> bool {
    let Ok(credentials) = client.credentials.current_header().await else {
        return false;
    };
    let Client { http, query, .. } = client;
    let request = http.head(server.url(query));
    let mut request = fetch::authorized(request, server, credentials.as_ref(), "application/json");
    if let Some(etag) = acknowledgement.known.etag() {
        request = request.text(IF_NONE_MATCH, &etag);
    }
    let answer = add_headers(request, client, Some(acknowledgement)).send().await;
    answer.is_ok_and(|answer| {
        !answer.status().is_server_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS
    })
}
