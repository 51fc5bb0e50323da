//! The metrics for Prometheus. The values of their labels come from fixed sets, so their number is bounded.

mod durations;
mod exposition;
mod rollouts;
mod vaults;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_http::StatusCode;
use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderMap};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use self::rollouts::RolloutMetrics;
use self::vaults::VaultMetrics;
use super::route::Route;
use super::{Http, faults};
use crate::access::Guard;
use crate::audit::AuditFigures;
use crate::faults::Expiry;
use crate::replicas::FleetFigures;
use crate::store::Store;
use crate::telemetry::{ProcessFigures, trace};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

/// A remote by its name in the settings, which bound the number of remotes.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RemoteLabels {
    source: String,
}

/// An issuer by its name in the policy, which bounds the number of issuers.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

/// An expiring credential, by its kind and the principal in the policy that it belongs to.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExpiryLabels {
    kind: &'static str,
    principal: String,
}

/// The treatment of a request that the rules of the policy do not allow.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DenialLabels {
    outcome: &'static str,
}

/// A kind of fault. The code defines all kinds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FaultLabels {
    kind: &'static str,
}

/// The registry of a server, and the counters that requests update.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    /// Environments that the hot path answered with 200. The busiest counters need no look-up.
    pub(super) hot_full: Counter,
    /// Environments that the hot path answered with 304.
    pub(super) hot_unchanged: Counter,
    watchers: Gauge,
    wakeups: Counter,
    fetch_ages: Family<RemoteLabels, Gauge>,
    fetch_failures: Family<RemoteLabels, Gauge>,
    faults: Family<FaultLabels, Gauge>,
    access: AccessMetrics,
    vaults: VaultMetrics,
    audit: AuditMetrics,
    fleet: FleetMetrics,
    rollouts: RolloutMetrics,
    store: StoreMetrics,
    traces: TraceMetrics,
    /// The metrics of the process. They have no prefix, so that common dashboards find them.
    process: ProcessMetrics,
}

struct TraceMetrics {
    exported: Counter,
    dropped: Counter,
}

struct ProcessMetrics {
    registry: Registry,
    cpu_seconds: Counter<f64, AtomicU64>,
    resident_bytes: Gauge,
    open_file_count: Gauge,
    open_file_count_max: Gauge,
    thread_count: Gauge,
    start_seconds: Gauge<f64, AtomicU64>,
}

struct AccessMetrics {
    denied: Counter,
    would_deny: Counter,
    rejected: Counter,
    limited: Counter,
    key_ages: Family<IssuerLabels, Gauge>,
    expiries: Family<ExpiryLabels, Gauge>,
}

struct AuditMetrics {
    lines: Counter,
    lost: Counter,
    waiting_bytes: Gauge,
    sync_age_seconds: Gauge,
}

struct FleetMetrics {
    live: Gauge,
    lag_seconds: Gauge,
    outage_seconds: Gauge,
}

struct StoreMetrics {
    labels: Gauge,
    environments: Gauge,
    answers_bytes: Gauge,
    texts_bytes: Gauge,
    held_back: Gauge,
    stale_seconds: Gauge,
    publishes: Counter,
    refreshed: Counter,
    resolved: Counter,
    failures: Counter,
    parsed: Counter,
}

/// Registers a new metric and returns it.
fn register<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("headwater");
        let registered = &mut registry;
        let requests: Family<RequestLabels, Counter> = register(
            registered,
            "http_requests",
            "Requests that the server answered, by route and status",
        );
        let hot = |status| {
            requests.get_or_create(&RequestLabels { route: "environment", status }).clone()
        };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registered.register("build", "The version of the server", build);
        registered.register_collector(Box::new(durations::Durations));
        Self {
            hot_full: hot(200),
            hot_unchanged: hot(304),
            watchers: register(registered, "watchers", "Open event streams and long polls"),
            wakeups: register(
                registered,
                "watch_wakeups",
                "Wakeups of the watchers of one environment on one worker thread, by changes",
            ),
            fetch_ages: register(
                registered,
                "source_last_fetch_age_seconds",
                "Seconds since the last successful fetch of a mirrored remote",
            ),
            fetch_failures: register(
                registered,
                "source_fetch_failing",
                "1 if the last fetch of a mirrored remote failed, otherwise 0",
            ),
            faults: register(registered, "faults", "Present faults of the server, by kind"),
            access: AccessMetrics::new(registered),
            vaults: VaultMetrics::new(registered),
            audit: AuditMetrics::new(registered),
            fleet: FleetMetrics::new(registered),
            rollouts: RolloutMetrics::new(registered),
            store: StoreMetrics::new(registered),
            traces: TraceMetrics::new(registered),
            process: ProcessMetrics::new(),
            requests,
            registry,
        }
    }
}

impl TraceMetrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            exported: register(registry, "trace_spans", "Spans that the collector has accepted"),
            dropped: register(
                registry,
                "trace_dropped_spans",
                "Spans that were lost, because the collector was slow or unreachable",
            ),
        }
    }

    fn update(&self) {
        let (exported, dropped) = trace::counts();
        self.exported.inner().store(exported, Ordering::Relaxed);
        self.dropped.inner().store(dropped, Ordering::Relaxed);
    }
}

impl ProcessMetrics {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("process");
        let registered = &mut registry;
        Self {
            cpu_seconds: register(registered, "cpu_seconds", "Processor time of the process"),
            resident_bytes: register(
                registered,
                "resident_memory_bytes",
                "Memory of the process that is not swapped out",
            ),
            open_file_count: register(registered, "open_fds", "Open files of the process"),
            open_file_count_max: register(
                registered,
                "max_fds",
                "The most files that the process may open",
            ),
            thread_count: register(registered, "threads", "Threads of the process"),
            start_seconds: register(
                registered,
                "start_time_seconds",
                "Time of the start of the process, in seconds since 1970",
            ),
            registry,
        }
    }

    fn set(&self, figures: &ProcessFigures) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.cpu_seconds.inner().store(figures.cpu_seconds.to_bits(), Ordering::Relaxed);
        self.resident_bytes.set(count(figures.resident_bytes));
        self.open_file_count.set(count(figures.open_file_count));
        self.open_file_count_max.set(count(figures.open_file_count_max));
        self.thread_count.set(count(figures.thread_count));
        self.start_seconds.set(figures.start_seconds);
    }
}

impl AccessMetrics {
    fn new(registry: &mut Registry) -> Self {
        let denials: Family<DenialLabels, Counter> = register(
            registry,
            "access_denials",
            "Requests that no rule of the policy allows, by their outcome",
        );
        let of = |outcome| denials.get_or_create(&DenialLabels { outcome }).clone();
        Self {
            denied: of("denied"),
            would_deny: of("would_deny"),
            rejected: register(
                registry,
                "access_rejected_credentials",
                "Requests without one credential that the policy accepts",
            ),
            limited: register(
                registry,
                "access_limited_credentials",
                "Requests that were rejected because their client had sent too many bad credentials",
            ),
            key_ages: register(
                registry,
                "access_jwks_age_seconds",
                "Seconds since the keys of an issuer were read",
            ),
            expiries: register(
                registry,
                "credential_expires_in_seconds",
                "Seconds until a token or a revocation list expires, once that is near",
            ),
        }
    }

    fn update(&self, guard: &Guard) {
        for (metric, count) in [
            (&self.denied, guard.denied_count()),
            (&self.would_deny, guard.would_deny_count()),
            (&self.rejected, guard.rejected_count()),
            (&self.limited, guard.limited_count()),
        ] {
            metric.inner().store(count, Ordering::Relaxed);
        }
        self.key_ages.clear();
        for issuer in guard.issuers() {
            let Some(age) = issuer.age else { continue };
            let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            self.key_ages.get_or_create(&IssuerLabels { issuer: issuer.name }).set(age);
        }
    }

    /// Shows the credential of each kind and principal that expires first. The time of an expired one is negative.
    fn update_expiries(&self, expiries: &[Expiry]) {
        let mut first: BTreeMap<(&'static str, &str), i64> = BTreeMap::new();
        for expiry in expiries {
            let left = expiry.at.duration_since(Timestamp::now()).as_secs();
            let shown = first.entry((expiry.kind.name(), &expiry.principal)).or_insert(left);
            *shown = left.min(*shown);
        }
        self.expiries.clear();
        for ((kind, principal), left) in first {
            let labels = ExpiryLabels { kind, principal: principal.to_owned() };
            self.expiries.get_or_create(&labels).set(left);
        }
    }
}

impl AuditMetrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            lines: register(registry, "audit_lines", "Lines of the audit trail"),
            lost: register(
                registry,
                "audit_lost_events",
                "Events that were not recorded because too many audit lines waited",
            ),
            waiting_bytes: register(
                registry,
                "audit_waiting_bytes",
                "Bytes of audit lines that are not durable yet",
            ),
            sync_age_seconds: register(
                registry,
                "audit_last_sync_age_seconds",
                "Seconds since audit lines were made durable last",
            ),
        }
    }

    fn update(&self, figures: AuditFigures) {
        self.lines.inner().store(figures.line_count, Ordering::Relaxed);
        self.lost.inner().store(figures.lost_count, Ordering::Relaxed);
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.waiting_bytes.set(number(figures.waiting_bytes));
        self.sync_age_seconds.set(number(figures.sync_age.as_secs()));
    }
}

impl FleetMetrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            live: register(registry, "replicas", "Live replicas of the fleet, this one included"),
            lag_seconds: register(
                registry,
                "replica_lag_seconds",
                "Longest time in seconds that another replica has had a newer revision of a label",
            ),
            outage_seconds: register(
                registry,
                "share_away_seconds",
                "Seconds for which the etcd of the fleet has been unreachable",
            ),
        }
    }

    fn set(&self, figures: FleetFigures) {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        self.live.set(i64::try_from(figures.live_count).unwrap_or(i64::MAX));
        self.lag_seconds.set(seconds(figures.lag));
        self.outage_seconds.set(seconds(figures.outage));
    }
}

impl StoreMetrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            labels: register(registry, "labels", "Labels that the server has loaded"),
            environments: register(
                registry,
                "environments",
                "Environments whose answers are in memory",
            ),
            answers_bytes: register(
                registry,
                "answers_bytes",
                "Bytes of memory that answers occupy",
            ),
            texts_bytes: register(
                registry,
                "texts_bytes",
                "Bytes of memory that files and flat forms occupy while they are rendered or sent",
            ),
            held_back: register(
                registry,
                "held_back",
                "Environments that are held back at an older revision",
            ),
            stale_seconds: register(
                registry,
                "stale_seconds",
                "Longest time in seconds for which the source of a label has been unreadable",
            ),
            publishes: register(registry, "publishes", "Published moves of labels"),
            refreshed: register(registry, "refreshed", "Environments resolved again by moves"),
            resolved: register(registry, "resolved", "Environments resolved for requests"),
            failures: register(registry, "source_failures", "Failed loads or watches of a source"),
            parsed: register(registry, "parsed_files", "Files that the server parsed"),
        }
    }
}

impl Metrics {
    pub(super) fn count(&self, route: Option<&Route>, status: StatusCode) {
        let route = match route {
            Some(Route::Environment(_)) => "environment",
            Some(Route::Flat(..)) => "flat",
            Some(Route::File(..) | Route::NoFile) => "file",
            Some(Route::Crypto(_)) => "crypto",
            Some(Route::Git(..)) => "git",
            Some(Route::Monitor) => "monitor",
            Some(Route::Contract(_) | Route::Rollout(_) | Route::Server(_)) => "own",
            None => "none",
        };
        let labels = RequestLabels { route, status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a stream at its beginning. Its connection leaves HTTP, so no response is counted later.
    pub(super) fn count_stream(&self, route: &'static str) {
        self.requests.get_or_create(&RequestLabels { route, status: 200 }).inc();
    }

    pub(super) fn response(&self, http: &Http, headers: &HeaderMap) -> HttpResponse {
        self.collect(http);
        let mut text = String::new();
        let encoded = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &self.process.registry))
            .and_then(|()| encode_eof(&mut text));
        if encoded.is_err() {
            return HttpResponse::InternalServerError().finish();
        }
        let mut response = HttpResponse::Ok();
        response.insert_header((header::VARY, "Accept"));
        if exposition::wants_text(headers) {
            response.content_type(exposition::TEXT_TYPE).body(exposition::as_text(&text))
        } else {
            response.content_type(exposition::OPEN_METRICS_TYPE).body(text)
        }
    }

    /// Copies all figures into the metrics.
    fn collect(&self, http: &Http) {
        let watchers = &http.watchers;
        self.update(&http.store);
        let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.store.answers_bytes.set(bytes(http.store.answer_bytes()));
        self.store.texts_bytes.set(bytes(http.renderings.bytes()));
        if let Some(guard) = &http.guard {
            self.access.update(guard);
        }
        if let Some(audit) = &http.audit {
            self.audit.update(audit.figures());
        }
        self.vaults.update(&http.encryption.keys);
        self.access.update_expiries(&http.store.faults.expiries());
        self.fleet.set(http.replicas.figures());
        self.rollouts.update(http);
        for (kind, count) in faults::counts(&faults::current(http)) {
            let labels = FaultLabels { kind: kind.name() };
            self.faults.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.watchers.set(i64::try_from(watchers.count()).unwrap_or(i64::MAX));
        self.wakeups.inner().store(watchers.wakeup_count(), Ordering::Relaxed);
        self.traces.update();
        if let Some(figures) = ProcessFigures::read() {
            self.process.set(&figures);
        }
    }

    /// Copies the figures of the store into its metrics.
    fn update(&self, store: &Store) {
        let labels = store.label_statuses();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.store.labels.set(count(labels.len()));
        self.store.environments.set(count(labels.iter().map(|label| label.answer_count).sum()));
        self.store.held_back.set(count(store.problems().len()));
        let stale = labels.iter().filter_map(|label| label.stale.as_ref());
        let longest = stale.map(|(since, _)| since.as_secs()).max().unwrap_or(0);
        self.store.stale_seconds.set(i64::try_from(longest).unwrap_or(i64::MAX));
        let counters = &store.counters;
        for (metric, count) in [
            (&self.store.publishes, &counters.publish_count),
            (&self.store.refreshed, &counters.refreshed_count),
            (&self.store.resolved, &counters.resolved_count),
            (&self.store.failures, &counters.failure_count),
        ] {
            metric.inner().store(count.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.store.parsed.inner().store(store.parsed_count(), Ordering::Relaxed);
        for remote in store.remotes() {
            let labels = RemoteLabels { source: remote.name };
            if let Some(age) = remote.fetched_before {
                let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                self.fetch_ages.get_or_create(&labels).set(age);
            }
            self.fetch_failures.get_or_create(&labels).set(remote.failure.is_some().into());
        }
    }
}
