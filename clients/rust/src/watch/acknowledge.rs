//! Reports about this instance to the server: the outcome of a configuration, its reason, and the health of the service.
//!
//! Every request of a watch carries the report in headers. A stream may stay open for days, so a separate `HEAD` request
//! carries a new report, unless another request has carried it in the meantime.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use headwater_wire::{InstanceHealth, Outcome, headers};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::configuration::Configuration;
use crate::contract::{Reads, Wanted};
use crate::fetch;
use crate::http::Request;
use crate::retry::pause;
use crate::watch::known::Known;

/// The delay of a report. A change reaches many instances at the same moment, and the delay spreads their reports.
const SPREAD: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(1);
/// The delay of a rejection and of `down`, on which a rollback may depend.
const SPREAD_URGENT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_millis(100);
/// The shortest time between two reports. An urgent one does not wait for it.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// The largest upper bound of the random pause after failed reports.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The time between two reports of `down`. Servers count consecutive ones.
const DOWN_INTERVAL: Duration = Duration::from_secs(5);
/// The longest reason that servers accept, in bytes.
const REASON_LENGTH_MAX: usize = 256;

const APPLIED: HeaderName = HeaderName::from_static(headers::APPLIED);
const HEALTH: HeaderName = HeaderName::from_static(headers::HEALTH);
const REASON: HeaderName = HeaderName::from_static(headers::REASON);
const CONTRACT: HeaderName = HeaderName::from_static(headers::CONTRACT);

/// A configuration and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    known: Known,
    outcome: Outcome,
    /// The reason for a rejection.
    reason: Option<String>,
}

impl Acknowledgement {
    /// Returns `None` for a configuration without an id: a last-known-good copy, or an answer of another kind of server.
    pub(super) fn new(
        configuration: &Configuration,
        outcome: Outcome,
        reason: Option<String>,
    ) -> Option<Acknowledgement> {
        let known = Known::of(configuration);
        known.id.is_some().then_some(Acknowledgement { known, outcome, reason })
    }

    fn header(&self) -> Option<HeaderValue> {
        let id = self.known.id.as_deref()?;
        HeaderValue::try_from(format!("{id} {}", self.outcome.name())).ok()
    }
}

/// Everything that a request reports about this instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    acknowledgement: Option<Acknowledgement>,
    health: Option<InstanceHealth>,
    /// The reason for `down`.
    down_reason: Option<String>,
    /// The digest of the contract.
    contract: Option<String>,
}

impl Report {
    fn is_urgent(&self) -> bool {
        let is_rejection =
            self.acknowledgement.as_ref().is_some_and(|it| it.outcome == Outcome::Rejected);
        is_rejection || self.is_down()
    }

    fn is_down(&self) -> bool {
        self.health == Some(InstanceHealth::Down)
    }

    /// The reason for `down`, or else the one for the rejection.
    fn reason(&self) -> Option<HeaderValue> {
        let rejected = self.acknowledgement.as_ref().and_then(|it| it.reason.as_deref());
        reason_header(self.down_reason.as_deref().filter(|_| self.is_down()).or(rejected)?)
    }
}

#[derive(Debug, Default)]
struct ReportState {
    /// The present report.
    latest: Report,
    /// The report that the connected server has received.
    delivered: Report,
    /// The connected server.
    server: Option<usize>,
    /// The last contract that a server has, as far as its answers show.
    registered: Option<(usize, String)>,
    /// Set when the service waits for the delivery, so that no report is delayed.
    is_awaited: bool,
}

impl ReportState {
    fn is_due(&self) -> bool {
        self.server.is_some() && self.latest != self.delivered
    }

    fn is_urgent(&self) -> bool {
        self.is_due() && (self.latest.is_urgent() || self.is_awaited)
    }
}

/// The report that the tasks of a watch share.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements(watch::Sender<ReportState>, watch::Sender<Wanted>);

impl Acknowledgements {
    /// Sets the acknowledgement that every request carries from now on.
    pub(super) fn set(&self, acknowledgement: Acknowledgement) {
        self.0.send_modify(|state| state.latest.acknowledgement = Some(acknowledgement));
    }

    /// Sets the health that every request carries from now on, with a reason for `down`.
    pub(super) fn set_health(&self, health: InstanceHealth, reason: Option<String>) {
        self.0.send_if_modified(|state| {
            let latest =
                Report { health: Some(health), down_reason: reason, ..state.latest.clone() };
            let differs = latest != state.latest;
            state.latest = latest;
            differs
        });
    }

    /// Sets the contract that every request names from now on.
    fn set_contract(&self, digest: Option<String>) {
        self.0.send_if_modified(|state| {
            let differs = state.latest.contract != digest;
            state.latest.contract = digest;
            differs
        });
    }

    /// Records whether a server asks for the contract that a report names.
    pub(super) fn record_answer(&self, server: usize, report: &Report, answer: &HeaderMap) {
        let Some(digest) = &report.contract else { return };
        if answer.get(headers::CONTRACT_WANTED).is_some_and(|wanted| wanted == digest) {
            self.1.send_replace(Some((server, digest.clone())));
        } else {
            self.0.send_modify(|state| state.registered = Some((server, digest.clone())));
        }
    }

    /// Records that a stream has carried a report. The answer to a stream does not ask for a contract, so that a server
    /// that may not have it receives the report again.
    pub(super) fn record_streamed(&self, server: usize, report: Report) {
        self.0.send_modify(|state| {
            let known = state.registered.as_ref();
            let is_registered = known.is_some_and(|(at, digest)| {
                *at == server && report.contract.as_ref() == Some(digest)
            });
            let contract = report.contract.clone().filter(|_| is_registered);
            state.delivered = Report { contract, ..report };
        });
    }

    /// Returns a receiver of the requests of servers for a contract.
    pub(super) fn wanted(&self) -> watch::Receiver<Wanted> {
        self.1.subscribe()
    }

    pub(super) fn latest(&self) -> Report {
        self.0.borrow().latest.clone()
    }

    /// Returns whether the service has accepted a configuration.
    pub(super) fn has_applied(&self, known: &Known) -> bool {
        let state = self.0.borrow();
        let latest = state.latest.acknowledgement.as_ref();
        latest.is_some_and(|it| it.known == *known && it.outcome == Outcome::Applied)
    }

    /// Records that a request has carried a report.
    pub(super) fn record_delivered(&self, report: Report) {
        self.0.send_modify(|state| state.delivered = report);
    }

    /// Sets the connected server.
    pub(super) fn set_server(&self, server: Option<usize>) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.server, server) != server);
    }

    /// Waits until the connected server has received the present report.
    pub(super) async fn wait_delivered(&self) {
        self.0.send_modify(|state| state.is_awaited = true);
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|state| state.latest == state.delivered).await;
    }
}

/// Adds the identity of the instance and its report to a request.
pub(super) fn add_headers(request: Request, client: &Client, report: &Report) -> Request {
    let mut request = client.identity.add_headers(request);
    if let Some(header) = report.acknowledgement.as_ref().and_then(Acknowledgement::header) {
        request = request.header(APPLIED, header);
    }
    if let Some(health) = report.health {
        request = request.header(HEALTH, HeaderValue::from_static(health.name()));
    }
    if let Some(reason) = report.reason() {
        request = request.header(REASON, reason);
    }
    match &report.contract {
        Some(digest) if client.identity.name().is_some() => request.text(CONTRACT, digest),
        _ => request,
    }
}

/// Names each contract of the service in the requests of a watch. Runs until it is dropped.
pub(super) async fn name_contracts(reads: Arc<Reads>, acknowledgements: Arc<Acknowledgements>) {
    let mut contracts = reads.contracts();
    loop {
        let digest = contracts.borrow_and_update().as_ref().map(|it| it.digest.clone());
        acknowledgements.set_contract(digest);
        if contracts.changed().await.is_err() {
            return;
        }
    }
}

/// Returns the header for a reason. A key that does not consist of printable ASCII, or is too long, is left out.
pub(super) fn reason_header(reason: &str) -> Option<HeaderValue> {
    let is_valid =
        reason.len() <= REASON_LENGTH_MAX && reason.bytes().all(|it| matches!(it, b' '..=b'~'));
    let word = reason.split(' ').next().unwrap_or_default();
    HeaderValue::from_str(if is_valid { reason.trim_end() } else { word }).ok()
}

/// Sends each report that no other request has carried, and repeats `down`. Runs until it is dropped.
pub(super) async fn report(client: Client, acknowledgements: Arc<Acknowledgements>) {
    let mut states = acknowledgements.0.subscribe();
    let mut failure_count = 0;
    while let Some(is_urgent) = next_report(&mut states).await {
        let spread = if is_urgent { SPREAD_URGENT } else { SPREAD };
        let delay = *spread.start() + (*spread.end() - *spread.start()).mul_f64(fastrand::f64());
        tokio::select! {
            () = sleep(delay) => {}
            _ = states.wait_for(|state| state.is_awaited) => {}
        }
        let (server, report) = {
            let state = states.borrow();
            let is_wanted = state.is_due() || state.latest.is_down();
            (state.server.filter(|_| is_wanted), state.latest.clone())
        };
        let Some(server) = server else { continue };
        let request = send_report(&client, server, &report, &acknowledgements);
        let pause = match timeout(client.limits.request_timeout, request).await {
            Ok(true) => {
                failure_count = 0;
                acknowledgements.record_delivered(report);
                PAUSE_MIN
            }
            _ => {
                failure_count += 1;
                PAUSE_MIN + pause(failure_count, PAUSE_MAX)
            }
        };
        let is_failing = failure_count > 0;
        tokio::select! {
            () = sleep(pause) => {}
            _ = states.wait_for(ReportState::is_urgent), if !is_failing => {}
        }
    }
}

/// Waits until a report is due, or until `down` is to be repeated. Returns whether it is urgent, and `None` at the end of
/// the watch.
async fn next_report(states: &mut watch::Receiver<ReportState>) -> Option<bool> {
    loop {
        let is_down = states.borrow().latest.is_down();
        let due = tokio::select! {
            due = states.wait_for(ReportState::is_due) => Some(due.ok()?.is_urgent()),
            () = sleep(DOWN_INTERVAL), if is_down => None,
        };
        if due.is_some() {
            return due;
        }
        if states.borrow().server.is_some() {
            return Some(true);
        }
    }
}

/// Sends one report. Returns `false` when another attempt may succeed. A 4xx status counts as delivered, because the server
/// would reject the report again.
async fn send_report(
    client: &Client,
    server: usize,
    report: &Report,
    acknowledgements: &Acknowledgements,
) -> bool {
    let Ok(credentials) = client.credentials.current_header().await else {
        return false;
    };
    let Client { http, query, servers, .. } = client;
    let (number, server) = (server, &servers[server]);
    let request = http.head(server.url(query));
    let mut request = fetch::authorized(request, server, credentials.as_ref(), "application/json");
    if let Some(etag) = report.acknowledgement.as_ref().and_then(|it| it.known.etag()) {
        request = request.text(IF_NONE_MATCH, &etag);
    }
    let answer = add_headers(request, client, report).send().await;
    answer.is_ok_and(|answer| {
        acknowledgements.record_answer(number, report, answer.headers());
        !answer.status().is_server_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_printable_and_bounded() {
        let fitting = format!("type {}", "k".repeat(REASON_LENGTH_MAX - 5));
        for (reason, expected) in [
            ("type catalogue.page-size", "type catalogue.page-size"),
            ("check /etc/a b.cfg", "check /etc/a b.cfg"),
            ("missing ", "missing"),
            ("type gr\u{f6}\u{df}e", "type"),
            ("type a\r\nX: y", "type"),
            (&fitting, &fitting),
            (&format!("{fitting}k"), "type"),
        ] {
            assert_eq!(reason_header(reason).unwrap(), expected);
        }
    }
}
