//! The tasks that keep the membership current: one follows the keys of all replicas, one records the own revisions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use headwater_etcd::{Change, Cluster, EtcdError, FollowEvent, Follower};
use tokio::time::timeout;

use super::faults::FAULT_CHECK_INTERVAL;
use super::membership::REPLICA_COUNT_MAX;
use super::report::ReplicaReport;
use super::{Replicas, key_prefix};
use crate::sync::lock;

/// The longest id of a replica, in bytes.
const ID_BYTES_MAX: usize = 64;

/// Follows the keys of all replicas until the task is aborted.
pub(super) async fn run(replicas: Arc<Replicas>, cluster: Cluster) {
    let prefix = key_prefix(&cluster);
    let mut follower = Follower::new(cluster, prefix.clone());
    let mut discovery =
        Discovery { replicas, prefix, incoming: BTreeMap::new(), has_warned: false };
    loop {
        let event = follower.next().await;
        if !matches!(event, FollowEvent::SnapshotEnd | FollowEvent::Changes(_)) {
            discovery.apply(event);
            continue;
        }
        // A report with a new revision makes this replica read histories, which blocks.
        let applying = tokio::task::spawn_blocking(move || {
            discovery.apply(event);
            discovery.replicas.record_faults();
            discovery
        });
        match applying.await {
            Ok(applied) => discovery = applied,
            Err(_) => return,
        }
    }
}

/// Records the own revisions whenever the store moves, until the task is aborted. Requests that list the replicas then
/// need not wait until histories are read.
pub(super) async fn record_own_revisions(replicas: Arc<Replicas>) {
    let mut status_changed = replicas.store.status_changed();
    loop {
        let recording = Arc::clone(&replicas);
        let recorded = tokio::task::spawn_blocking(move || recording.record_own_report());
        if recorded.await.is_err() {
            return;
        }
        // No event marks the moment at which a replica is old enough to count as a namesake, so the wait is bounded.
        if let Ok(Err(_)) = timeout(FAULT_CHECK_INTERVAL, status_changed.changed()).await {
            return;
        }
    }
}

impl Replicas {
    /// Records this replica's report. For a label that is not at the newest known revision, the history decides whether
    /// the own revision comes after that. Without a history, a revision that no replica reported before is newer.
    /// Blocks.
    fn record_own_report(&self) {
        self.record_faults();
        let report = self.report();
        let (newer, unknown) = {
            let mut membership = lock(&self.membership);
            membership.record(&self.id, report.clone(), &report.labels, Instant::now());
            (membership.newer_revisions(&report), membership.unknown_revisions(&report))
        };
        for (own, newest) in newer {
            let is_after_newest = self.was_at(&own, &newest).unwrap_or(unknown.contains(&own));
            if is_after_newest {
                lock(&self.membership).set_newest(&own, Instant::now());
            }
        }
    }
}

struct Discovery {
    replicas: Arc<Replicas>,
    /// The prefix of the keys of all replicas.
    prefix: String,
    /// The reports read so far, while the follower reads all keys.
    incoming: BTreeMap<String, ReplicaReport>,
    /// True once a foreign key was logged, so that each reading of all keys logs it once.
    has_warned: bool,
}

impl Discovery {
    fn apply(&mut self, event: FollowEvent) {
        match event {
            FollowEvent::SnapshotStart => {
                self.incoming.clear();
                self.has_warned = false;
            }
            FollowEvent::SnapshotPage(keys) => {
                keys.into_iter().for_each(|(key, value)| self.collect(&key, &value));
            }
            FollowEvent::SnapshotEnd => self.replace(),
            FollowEvent::WatchStart => self.record_success(),
            FollowEvent::Changes(changes) => {
                changes.into_iter().for_each(|change| self.apply_change(change));
                lock(&self.replicas.links).discovery.record_message();
            }
            FollowEvent::Heartbeat => lock(&self.replicas.links).discovery.record_message(),
            FollowEvent::Disconnected(error) => self.record_failure(&error),
        }
    }

    fn collect(&mut self, key: &[u8], value: &[u8]) {
        let Some((id, report)) = self.parse(key, value) else { return };
        if self.incoming.len() < REPLICA_COUNT_MAX && !report.is_leaving {
            self.incoming.insert(id, report);
        }
    }

    /// Records the collected reports. Replicas without a key are gone.
    fn replace(&mut self) {
        let incoming = std::mem::take(&mut self.incoming);
        let ids: Vec<String> = incoming.keys().cloned().collect();
        lock(&self.replicas.membership).retain(&ids, Instant::now());
        for (id, report) in incoming {
            self.record(&id, report);
        }
    }

    fn apply_change(&mut self, change: Change) {
        match change.value {
            Some(value) => {
                if let Some((id, report)) = self.parse(&change.key, &value) {
                    self.record(&id, report);
                }
            }
            None => {
                let Some(id) = self.id(&change.key) else { return };
                if id == self.replicas.id {
                    self.replicas.key_removed.notify_one();
                }
                lock(&self.replicas.membership).mark_gone(&id, Instant::now());
            }
        }
    }

    /// Records the report of another replica. The own report in etcd is older than the own state and is ignored.
    fn record(&self, id: &str, report: ReplicaReport) {
        if id != self.replicas.id {
            let older = self.replicas.older_revisions(&report);
            lock(&self.replicas.membership).record(id, report, &older, Instant::now());
        }
    }

    /// Parses a key and its report. Returns `None` for a key that no replica can have written.
    fn parse(&mut self, key: &[u8], value: &[u8]) -> Option<(String, ReplicaReport)> {
        let parsed = self.id(key).zip(ReplicaReport::parse(value));
        if parsed.is_none() && !std::mem::replace(&mut self.has_warned, true) {
            let key = String::from_utf8_lossy(key).escape_debug().to_string();
            tracing::warn!(key, "foreign keys below the prefix of the replicas are ignored");
        }
        parsed
    }

    fn id(&self, key: &[u8]) -> Option<String> {
        let id = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let is_id = (1..=ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_id.then(|| id.to_owned())
    }

    fn record_success(&self) {
        let outage = lock(&self.replicas.links).discovery.record_success();
        if let Some(seconds) = outage.map(|length| length.as_secs()) {
            tracing::info!(seconds, "the list of replicas is read from etcd again");
        }
    }

    fn record_failure(&self, error: &EtcdError) {
        let reason = error.to_string();
        if lock(&self.replicas.links).discovery.connectivity.record_failure(reason.as_str()) {
            tracing::warn!(
                reason,
                "the list of replicas cannot be read from etcd and may be outdated"
            );
        }
    }
}
