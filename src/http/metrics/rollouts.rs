//! The metrics of rollouts.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::register;
use crate::http::{Http, rollouts};
use crate::push::Hosts;

/// The rollouts of a hosted repository in one state. The settings bound the number of repositories.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    repository: String,
    state: &'static str,
}

/// The end of a rollout.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndLabels {
    outcome: &'static str,
}

/// A hosted repository by its name in the settings.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RepositoryLabels {
    repository: String,
}

pub(super) struct RolloutMetrics {
    present: Family<StateLabels, Gauge>,
    ended: Family<EndLabels, Counter>,
    evidence_ages: Family<RepositoryLabels, Gauge>,
}

impl RolloutMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            present: register(
                registry,
                "rollouts",
                "Rollouts of a hosted repository that run, are paused or are withheld, by state",
            ),
            ended: register(
                registry,
                "rollouts_ended",
                "Rollouts that have ended, by outcome. A withheld one counts again when it is released",
            ),
            evidence_ages: register(
                registry,
                "rollout_evidence_age_seconds",
                "Seconds since the server collected evidence about running rollouts of a repository, or 0",
            ),
        }
    }

    pub(super) fn update(&self, http: &Http) {
        for repository in http.hosts.iter().flat_map(Hosts::names) {
            let counts = rollouts::count(http, repository);
            for (state, count) in [
                ("running", counts.running),
                ("paused", counts.paused),
                ("withheld", counts.withheld),
            ] {
                let labels = StateLabels { repository: repository.to_owned(), state };
                self.present.get_or_create(&labels).set(count);
            }
            let age = http.rollout_figures.evidence_age(repository).unwrap_or_default();
            let labels = RepositoryLabels { repository: repository.to_owned() };
            let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            self.evidence_ages.get_or_create(&labels).set(age);
        }
        for (outcome, count) in http.rollout_figures.ended() {
            let labels = EndLabels { outcome: outcome.name() };
            self.ended.get_or_create(&labels).inner().store(count, Ordering::Relaxed);
        }
    }
}
