//! The follower of a shared repository: the tasks that apply pushes to other replicas here.
//!
//! An event from etcd only wakes the follower. The follower then reads the manifest, so that changes are applied in
//! order.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use headwater_etcd::{FollowEvent, Follower};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::error::ReplicationError;
use super::manifest::ManifestRelation;
use super::replica::{Replication, StoredManifest};
use super::{apply, checkpoint, compaction, evidence, join, rollouts};
use crate::backoff::Backoff;
use crate::push::repository::HostedRepository;
use crate::sync::lock;

/// The first and the longest pause before a failed attempt is repeated.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The tasks that replicate one repository. Dropping this stops them.
pub(in crate::push) struct ReplicationTasks {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl ReplicationTasks {
    pub(in crate::push) fn start(
        repository: &Arc<HostedRepository>,
        replication: &Arc<Replication>,
        runtime: &Handle,
    ) -> Self {
        let following = follow(Arc::downgrade(repository), Arc::clone(replication));
        let compacting = compaction::run(Arc::downgrade(repository), Arc::clone(replication));
        replication.wake.notify_one();
        let mut tasks = vec![
            runtime.spawn(watch(Arc::clone(replication))),
            runtime.spawn(following),
            runtime.spawn(compacting),
        ];
        if repository.rollouts.is_some() {
            let weak = || (Arc::downgrade(repository), Arc::clone(replication));
            let (of_watch, of_count) = (weak(), weak());
            tasks.extend([
                runtime.spawn(watch_rollouts(Arc::clone(replication))),
                runtime.spawn(evidence::watch(of_watch.0, of_watch.1)),
                runtime.spawn(evidence::count_instances(of_count.0, of_count.1)),
                runtime.spawn(evidence::write(Arc::clone(replication))),
            ]);
        }
        Self { _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect() }
    }
}

/// Watches the manifest in etcd, and records the connectivity.
async fn watch(replication: Arc<Replication>) {
    let mut follower = Follower::new(replication.cluster.clone(), replication.keys.manifest());
    loop {
        match follower.next().await {
            FollowEvent::Disconnected(error) => replication.record_disconnect(&error),
            FollowEvent::WatchStart => {
                replication.record_connect();
                replication.wake.notify_one();
            }
            FollowEvent::Changes(_) => {
                replication.record_contact();
                replication.wake.notify_one();
            }
            FollowEvent::Heartbeat | FollowEvent::SnapshotEnd => replication.record_contact(),
            FollowEvent::SnapshotStart | FollowEvent::SnapshotPage(_) => {}
        }
    }
}

/// Watches the rollouts in etcd. While this watch has no contact, nothing advances and the replica is fenced after a time.
async fn watch_rollouts(replication: Arc<Replication>) {
    let mut follower = Follower::new(replication.cluster.clone(), replication.keys.rollouts());
    let freshness = &replication.rollouts.freshness;
    loop {
        match follower.next().await {
            FollowEvent::Disconnected(_) => lock(freshness).mark_disconnected(),
            FollowEvent::WatchStart => {
                lock(freshness).mark_watching();
                replication.wake.notify_one();
            }
            FollowEvent::Changes(_) => {
                lock(freshness).record_message(Instant::now());
                replication.wake.notify_one();
            }
            FollowEvent::Heartbeat => lock(freshness).record_message(Instant::now()),
            FollowEvent::SnapshotStart
            | FollowEvent::SnapshotPage(_)
            | FollowEvent::SnapshotEnd => {}
        }
    }
}

/// Applies a new manifest after each wake, and repeats a failed attempt after a pause.
async fn follow(repository: Weak<HostedRepository>, replication: Arc<Replication>) {
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    loop {
        let Some(now) = repository.upgrade() else { return };
        match apply_changes(&now, &replication).await {
            Ok(()) => {
                replication.record_application_success();
                backoff.reset();
                drop(now);
                replication.wake.notified().await;
            }
            Err(error) => {
                // `watch` records that etcd is unreachable.
                if !matches!(error, ReplicationError::Unreachable(_)) {
                    replication.record_application_failure(&error);
                }
                drop(now);
                // The attempt is repeated with or without a wake.
                let _ = timeout(backoff.pause(), replication.wake.notified()).await;
            }
        }
    }
}

async fn apply_changes(
    repository: &Arc<HostedRepository>,
    replication: &Arc<Replication>,
) -> Result<(), ReplicationError> {
    if replication.checkpoint().is_none() {
        join::join(repository, replication).await?;
    }
    let watch = lock(&replication.rollouts.freshness).present_watch();
    let (before, seen) = (replication.checkpoint(), apply::rollout_state(repository));
    let stored = replication.read_manifest().await?;
    let mut is_current = true;
    if let Some(own) = &repository.rollouts
        && !stored.rollouts.is_adopted(&own.ledger)
    {
        // A rollback does not wait for the turn of a push. Rollouts whose references are not here follow with them.
        is_current = rollouts::follow(repository, own, replication).await?;
    }
    if is_new(replication, &stored) {
        let turn = repository.locks.push_lock.acquire().await;
        // A manifest read before the turn is of use only if this replica has taken no other one since.
        let is_unchanged = replication.checkpoint() == before
            && seen.as_ref().map(Arc::as_ptr)
                == apply::rollout_state(repository).as_ref().map(Arc::as_ptr);
        let known = is_unchanged.then_some(stored);
        apply::apply_newest_from(&turn, repository, replication, known).await?;
        repository.pushed.notify_one();
        is_current = true;
    }
    if is_current {
        lock(&replication.rollouts.freshness).record_applied(watch, Instant::now());
    }
    match replication.checkpoint() {
        Some(taken) => checkpoint::store(&replication.path, taken).await,
        None => Ok(()),
    }
}

/// Returns true if etcd has a manifest that is not here, or none at all.
fn is_new(replication: &Replication, stored: &StoredManifest) -> bool {
    let relation = stored.manifest.as_ref().and_then(|manifest| replication.relation(manifest));
    // The read may have been sent before a push to this replica and answered after it. This is detected when the
    // manifest is applied.
    relation != Some(ManifestRelation::Same)
}
