//! The task that follows etcd and keeps the keys of a source in memory.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use headwater_etcd::{EtcdError, FollowEvent, Follower};

use super::EtcdInner;
use super::keyspace::Keyspace;
use crate::sync::lock;

/// The longest that a stream of changes postpones the validation of the keys.
const VALIDATE_AFTER_MAX: Duration = Duration::from_secs(5);

/// Follows etcd until it is aborted.
pub(super) async fn keep(inner: Arc<EtcdInner>) {
    let mut follower = Follower::new(inner.cluster.clone(), inner.keys.all().to_owned());
    let mut incoming = Keyspace::default();
    let mut changed_since: Option<Instant> = None;
    loop {
        let news = follower.next().await;
        if let FollowEvent::Disconnected(fault) = &news {
            inner.record_outage(fault);
            continue;
        }
        let is_over = matches!(news, FollowEvent::SnapshotEnd | FollowEvent::Heartbeat);
        let is_change = matches!(news, FollowEvent::SnapshotEnd | FollowEvent::Changes(_));
        if let Err(reason) = inner.apply(news, &mut incoming) {
            inner.record_outage(&EtcdError::Other(reason));
            follower.restart();
            continue;
        }
        if is_change {
            changed_since.get_or_insert_with(Instant::now);
        }
        if changed_since.is_some_and(|since| is_over || since.elapsed() > VALIDATE_AFTER_MAX) {
            inner.validate().await;
            changed_since = None;
        }
    }
}

impl EtcdInner {
    fn apply(&self, news: FollowEvent, incoming: &mut Keyspace) -> Result<(), String> {
        match news {
            FollowEvent::SnapshotStart => *incoming = Keyspace::default(),
            FollowEvent::SnapshotPage(keys) => {
                for (key, value) in keys {
                    incoming.put(&self.keys, &key, value)?;
                }
            }
            FollowEvent::SnapshotEnd => self.replace(std::mem::take(incoming)),
            FollowEvent::WatchStart => self.record_recovery(),
            FollowEvent::Changes(changes) => {
                lock(&self.keyspace).apply(&self.keys, changes)?;
                self.state.send_modify(|state| state.last_contact = Some(SystemTime::now()));
            }
            FollowEvent::Heartbeat => self.record_contact(),
            FollowEvent::Disconnected(_) => {}
        }
        Ok(())
    }

    /// Replaces all keys after a complete read.
    fn replace(&self, keyspace: Keyspace) {
        *lock(&self.keyspace) = keyspace;
        self.state.send_modify(|state| state.is_read = true);
    }

    /// Records a message without a change. Wakes no waiter.
    fn record_contact(&self) {
        self.state.send_if_modified(|state| {
            state.last_contact = Some(SystemTime::now());
            false
        });
    }

    fn record_recovery(&self) {
        self.state.send_modify(|state| {
            if let Some(duration) = state.connectivity.record_success() {
                let seconds = duration.as_secs();
                tracing::info!(source = self.name(), seconds, "etcd is reachable again");
            }
            state.last_contact = Some(SystemTime::now());
        });
    }

    fn record_outage(&self, fault: &EtcdError) {
        let message = fault.to_string();
        self.state.send_modify(|state| {
            state.failed_count += 1;
            if state.connectivity.record_failure(message.as_str()) {
                tracing::warn!(
                    source = self.name(),
                    error = message,
                    "etcd is unreachable, its last state is served"
                );
            }
        });
    }
}
