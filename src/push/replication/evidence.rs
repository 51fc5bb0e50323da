//! What replicas report to each other about the instances of a shared repository: the reports about running rollouts, and
//! the number of instances of each environment, which a push at another replica needs.
//!
//! Each value has a key below the replica's id, under a lease of the replica. The values of a replica that ends disappear
//! with its lease.

mod headcounts;
mod link;
mod urgency;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use bytes::Bytes;
use headwater_etcd::{Change, FollowEvent, Follower};
use headwater_rollout::Name;
use headwater_rollout::evidence::Report;
use tokio::sync::Notify;

use super::freshness::Freshness;
use super::replica::Replication;
use crate::conduct::RemoteInstances;
use crate::model::Label;
use crate::push::repository::HostedRepository;
use crate::sync::lock;
use headcounts::Headcounts;

pub(super) use headcounts::run as count_instances;
pub(super) use link::run as write;

/// The name of the key with the number of instances. Other keys have the ids of rollouts.
const INSTANCES: &str = "instances";
/// The most values of other replicas that are kept.
const VALUE_COUNT_MAX: usize = 4_096;

/// What this replica reports, and what the others do.
#[derive(Default)]
pub(super) struct EvidenceExchange {
    own: Mutex<OwnValues>,
    /// Notified after each change of the own values.
    changed: Notify,
    /// By the rest of the key: the id of the replica, a slash, and the name.
    others: Mutex<BTreeMap<String, OtherValue>>,
    freshness: Mutex<Freshness>,
}

/// The values that this replica reports.
#[derive(Default)]
struct OwnValues {
    reports: BTreeMap<Name, Report>,
    /// The text of each value by its name.
    texts: BTreeMap<String, Bytes>,
    /// True if a value is too important to wait.
    is_urgent: bool,
}

/// A value of another replica.
enum OtherValue {
    Report(Box<Report>),
    Headcounts(Headcounts),
}

impl EvidenceExchange {
    /// Returns true if the values of the other replicas are current.
    pub(super) fn is_connected(&self, now: Instant) -> bool {
        lock(&self.freshness).is_connected(now)
    }

    /// Writes the values now, because the fleet is known.
    pub(super) fn wake(&self) {
        lock(&self.own).is_urgent = true;
        self.changed.notify_one();
    }

    /// Replaces the reports of this replica.
    pub(super) fn publish_reports(&self, reports: Vec<Report>) {
        let mut own = lock(&self.own);
        let mut is_changed = false;
        let is_present = |id: &Name| reports.iter().any(|report| report.rollout == *id);
        let ended: Vec<Name> = own.reports.keys().filter(|id| !is_present(id)).cloned().collect();
        for id in ended {
            own.reports.remove(&id);
            own.texts.remove(&*id);
            is_changed = true;
        }
        for report in reports {
            let before = own.reports.get(&report.rollout);
            if before.is_some_and(|before| !urgency::has_news(before, &report)) {
                continue;
            }
            own.is_urgent |= urgency::is_urgent(own.reports.get(&report.rollout), &report);
            own.texts.insert(report.rollout.to_string(), Bytes::from(report.to_text()));
            own.reports.insert(report.rollout.clone(), report);
            is_changed = true;
        }
        drop(own);
        if is_changed {
            self.changed.notify_one();
        }
    }

    /// Replaces the number of instances of this replica.
    fn publish_headcounts(&self, text: Bytes) {
        let before = lock(&self.own).texts.insert(INSTANCES.to_owned(), text.clone());
        if before != Some(text) {
            self.changed.notify_one();
        }
    }

    /// The reports of other replicas, each with the id of its replica.
    pub(super) fn other_reports(&self, own_id: &str) -> Vec<(String, Report)> {
        let others = lock(&self.others);
        let reports =
            others.iter().filter_map(|(key, value)| match (key.split_once('/')?, value) {
                ((id, _), OtherValue::Report(report)) if id != own_id => {
                    Some((id.to_owned(), Report::clone(report)))
                }
                _ => None,
            });
        reports.collect()
    }

    /// The instances at other replicas that request one of these labels, with the default label.
    pub(super) fn other_instances(&self, own_id: &str, labels: &[Label]) -> Vec<RemoteInstances> {
        let others = lock(&self.others);
        let counts = others.iter().filter_map(|(key, value)| match (key.split_once('/')?, value) {
            ((id, _), OtherValue::Headcounts(counts)) if id != own_id => Some(counts),
            _ => None,
        });
        counts.flat_map(|counts| counts.of_labels(labels)).collect()
    }

    /// Records a value of any replica. Returns false for one that no replica has written.
    fn record(&self, key: &str, value: Option<&[u8]>) -> bool {
        let mut others = lock(&self.others);
        let Some(value) = value else {
            others.remove(key);
            return true;
        };
        let name = key.split_once('/').map(|(_, name)| name);
        let parsed = match name {
            Some(INSTANCES) => Headcounts::parse(value).map(OtherValue::Headcounts),
            Some(id) => Report::parse(value)
                .ok()
                .filter(|report| *report.rollout == *id)
                .map(|own| OtherValue::Report(Box::new(own))),
            None => None,
        };
        let is_known = parsed.is_some();
        // An old value must not count in place of one that cannot be read.
        others.remove(key);
        if others.len() < VALUE_COUNT_MAX {
            others.extend(parsed.map(|value| (key.to_owned(), value)));
        }
        is_known
    }
}

/// Follows the values of all replicas, and wakes the keeper after each change.
pub(super) async fn watch(repository: Weak<HostedRepository>, replication: Arc<Replication>) {
    let prefix = replication.keys.evidence();
    let mut follower = Follower::new(replication.cluster.clone(), prefix.clone());
    let exchange = &replication.evidence;
    let mut incoming = Vec::new();
    loop {
        match follower.next().await {
            FollowEvent::SnapshotStart => incoming.clear(),
            FollowEvent::SnapshotPage(keys) => incoming.extend(keys),
            FollowEvent::SnapshotEnd => {
                lock(&exchange.others).clear();
                let values = std::mem::take(&mut incoming).into_iter();
                record(
                    exchange,
                    &prefix,
                    values.map(|(key, value)| Change { key, value: Some(value) }),
                );
            }
            FollowEvent::WatchStart => {
                let mut freshness = lock(&exchange.freshness);
                freshness.mark_watching();
                let watch = freshness.present_watch();
                freshness.record_applied(watch, Instant::now());
            }
            FollowEvent::Changes(changes) => {
                record(exchange, &prefix, changes.into_iter());
                lock(&exchange.freshness).record_message(Instant::now());
                let Some(repository) = repository.upgrade() else { return };
                if let Some(rollouts) = &repository.rollouts {
                    rollouts.ledger.notify();
                }
            }
            FollowEvent::Heartbeat => lock(&exchange.freshness).record_message(Instant::now()),
            FollowEvent::Disconnected(_) => lock(&exchange.freshness).mark_disconnected(),
        }
    }
}

fn record(exchange: &EvidenceExchange, prefix: &str, changes: impl Iterator<Item = Change>) {
    for Change { key, value } in changes {
        let rest = std::str::from_utf8(&key).ok().and_then(|key| key.strip_prefix(prefix));
        if !rest.is_some_and(|rest| exchange.record(rest, value.as_deref())) {
            let key = String::from_utf8_lossy(&key).escape_debug().to_string();
            tracing::warn!(key, "a value about rollouts that cannot be read is ignored");
        }
    }
}

#[cfg(test)]
mod tests;
