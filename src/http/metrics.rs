//! What is counted, for Prometheus. Labels come from fixed sets only.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_http::StatusCode;
use actix_web::HttpResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Http;
use super::route::Route;
use crate::replicas::Figures;
use crate::store::Store;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

/// A remote, as the settings name it: there are as many as they have.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RemoteLabels {
    source: String,
}

/// The registry of a server and what is counted on the request path.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    /// Cached environments answered in full; the busiest counters have no look-up before them.
    pub(super) hot_full: Counter,
    /// Cached environments answered with 304.
    pub(super) hot_unchanged: Counter,
    watchers: Gauge,
    wakeups: Counter,
    fetch_ages: Family<RemoteLabels, Gauge>,
    fetch_failures: Family<RemoteLabels, Gauge>,
    replicas: ReplicaFigures,
    store: StoreFigures,
}

#[derive(Default)]
struct ReplicaFigures {
    live: Gauge,
    lag_seconds: Gauge,
    away_seconds: Gauge,
}

#[derive(Default)]
struct StoreFigures {
    labels: Gauge,
    environments: Gauge,
    held_back: Gauge,
    stale_seconds: Gauge,
    publishes: Counter,
    refreshed: Counter,
    resolved: Counter,
    failures: Counter,
    parsed: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("headwater");
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let hot = |status| {
            requests.get_or_create(&RequestLabels { route: "environment", status }).clone()
        };
        let watchers = Gauge::default();
        registry.register("watchers", "Streams and long polls that are open", watchers.clone());
        let wakeups = Counter::default();
        registry.register(
            "watch_wakeups",
            "Changes that woke the watchers of an environment on a worker",
            wakeups.clone(),
        );
        let (fetch_ages, fetch_failures) = <(Family<RemoteLabels, Gauge>, Family<_, _>)>::default();
        registry.register(
            "source_last_fetch_age_seconds",
            "Time since the last good fetch of a mirrored remote",
            fetch_ages.clone(),
        );
        registry.register(
            "source_fetch_failing",
            "Whether the last fetch of a mirrored remote failed",
            fetch_failures.clone(),
        );
        let (replicas, store) = (ReplicaFigures::default(), StoreFigures::default());
        for (name, help, gauge) in [
            ("labels", "Labels that are served", &store.labels),
            ("environments", "Environments that are kept ready", &store.environments),
            ("held_back", "Environments whose newest revision cannot be served", &store.held_back),
            ("stale_seconds", "Longest time a source has not been heard of", &store.stale_seconds),
            ("replicas", "Replicas that are live, this one among them", &replicas.live),
            (
                "replica_lag_seconds",
                "Longest time that another replica has had a newer revision",
                &replicas.lag_seconds,
            ),
            (
                "share_away_seconds",
                "Time that the etcd of the replicas has been away",
                &replicas.away_seconds,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("publishes", "Moves of labels", &store.publishes),
            ("refreshed", "Environments made anew by a move", &store.refreshed),
            ("resolved", "Environments made because somebody asked", &store.resolved),
            ("source_failures", "Failed attempts to follow a source", &store.failures),
            ("parsed_files", "Files parsed", &store.parsed),
        ] {
            registry.register(name, help, counter.clone());
        }
        Self {
            registry,
            hot_full: hot(200),
            hot_unchanged: hot(304),
            requests,
            watchers,
            wakeups,
            fetch_ages,
            fetch_failures,
            replicas,
            store,
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
            Some(Route::Own(_)) => "own",
            None => "none",
        };
        let labels = RequestLabels { route, status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
    }

    /// A stream that begins: nobody comes back to count it.
    pub(super) fn count_stream(&self, route: &'static str) {
        self.requests.get_or_create(&RequestLabels { route, status: 200 }).inc();
    }

    pub(super) fn response(&self, http: &Http) -> HttpResponse {
        let watchers = &http.watchers;
        self.read(&http.store);
        self.replicas.read(http.replicas.figures());
        self.watchers.set(i64::try_from(watchers.count()).unwrap_or(i64::MAX));
        self.wakeups.inner().store(watchers.wakeup_count(), Ordering::Relaxed);
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => HttpResponse::Ok()
                .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
                .body(text),
            Err(_) => HttpResponse::InternalServerError().finish(),
        }
    }

    fn read(&self, store: &Store) {
        let labels = store.labels();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.store.labels.set(count(labels.len()));
        self.store.environments.set(count(labels.iter().map(|label| label.answer_count).sum()));
        self.store.held_back.set(count(store.problems().len()));
        let stale = labels.iter().filter_map(|label| label.stale.as_ref());
        let longest = stale.map(|(since, _)| since.as_secs()).max().unwrap_or(0);
        self.store.stale_seconds.set(i64::try_from(longest).unwrap_or(i64::MAX));
        let counters = &store.counters;
        for (told, counted) in [
            (&self.store.publishes, &counters.publish_count),
            (&self.store.refreshed, &counters.refreshed_count),
            (&self.store.resolved, &counters.resolved_count),
            (&self.store.failures, &counters.failure_count),
        ] {
            told.inner().store(counted.load(Ordering::Relaxed), Ordering::Relaxed);
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

impl ReplicaFigures {
    fn read(&self, figures: Figures) {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        self.live.set(i64::try_from(figures.live_count).unwrap_or(i64::MAX));
        self.lag_seconds.set(seconds(figures.lag));
        self.away_seconds.set(seconds(figures.away));
    }
}
