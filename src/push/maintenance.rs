//! Packing of loose objects between pushes. Each push leaves a few loose objects, and many thousands of them make
//! pushes and clones several times as slow.
//!
//! Locking: a repack holds the push turn of its repository. A waiting push interrupts it before the pusher loses
//! patience.
//!
//! Invariant: git removes only objects that a new pack holds, and only after that pack is on disk. Readers therefore
//! find every object that they look for. Objects that no branch leads to stay as well.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::repository::HostedRepository;

/// The approximate number of loose objects that starts a repack. A random number of up to as many is added.
const LOOSE_COUNT_MAX: usize = 2_000;
/// The approximate number of loose objects at which a repack no longer waits for a pause between pushes.
const LOOSE_COUNT_URGENT: usize = 10_000;
/// The pause between pushes that a repack waits for.
const QUIET: Duration = Duration::from_secs(5);
/// The time for which a waiting push lets a repack go on. A longer repack completes when no push comes for that long.
const UNINTERRUPTED: Duration = Duration::from_secs(20);
/// The maximum duration of a repack.
const REPACK_MAX: Duration = Duration::from_secs(30 * 60);
/// A sample of the directories over which git spreads loose objects evenly, and the number of these directories.
const SAMPLE: &str = "objects/17";
const DIRECTORY_COUNT: usize = 256;

/// The maintenance task of a repository. Dropping this stops the task.
pub(super) struct Maintenance {
    _task: AbortOnDropHandle<()>,
}

impl Maintenance {
    /// Starts the task, which counts the existing objects first.
    pub(super) fn start(repository: &Arc<HostedRepository>, runtime: &Handle) -> Self {
        repository.pushed.notify_one();
        let pushed = Arc::clone(&repository.pushed);
        let task = runtime.spawn(maintain(Arc::downgrade(repository), pushed));
        Self { _task: AbortOnDropHandle::new(task) }
    }
}

async fn maintain(repository: Weak<HostedRepository>, pushed: Arc<Notify>) {
    // Replicas of a shared repository receive the same objects and must not all repack at the same time.
    let count_max = LOOSE_COUNT_MAX + fastrand::usize(..LOOSE_COUNT_MAX);
    loop {
        pushed.notified().await;
        let Some(path) = repository.upgrade().map(|repository| repository.path.clone()) else {
            return;
        };
        if loose_count(&path) < count_max {
            continue;
        }
        while loose_count(&path) < LOOSE_COUNT_URGENT
            && timeout(QUIET, pushed.notified()).await.is_ok()
        {}
        let Some(repository) = repository.upgrade() else { return };
        repack(&repository).await;
    }
}

/// Estimates the number of loose objects from one short directory, which the system has in its cache.
fn loose_count(repository: &Path) -> usize {
    let sample = std::fs::read_dir(repository.join(SAMPLE));
    sample.map_or(0, |entries| entries.count() * DIRECTORY_COUNT)
}

async fn repack(repository: &HostedRepository) {
    // Locking: no push moves its objects in meanwhile, because git may remove a pack before it has seen a new one
    // beside it.
    let _turn = repository.locks.push_lock.acquire_in_background().await;
    let mut git = match repository.git.start_own(repository.git.repack(&repository.path)) {
        Ok(git) => git,
        Err(error) => {
            return tracing::warn!(repository = repository.name, %error, "git repack failed");
        }
    };
    // An unfinished repack changes nothing. It is repeated after the next push.
    let ended = tokio::select! {
        ended = timeout(REPACK_MAX, git.child.wait()) => ended,
        () = interruption(repository.locks.push_lock.waiters()) => {
            git.end().await;
            return tracing::info!(repository = repository.name, "git repack stopped for a waiting push");
        }
    };
    match ended {
        Ok(Ok(status)) if status.success() => {
            tracing::debug!(repository = repository.name, "loose objects were packed");
        }
        Ok(Ok(status)) => {
            tracing::warn!(repository = repository.name, %status, "git repack failed")
        }
        Ok(Err(error)) => tracing::warn!(repository = repository.name, %error, "git repack failed"),
        Err(_) => {
            tracing::warn!(repository = repository.name, "git repack took too long and was stopped")
        }
    }
}

/// Returns once a push waits and the repack has had its time.
async fn interruption(mut waiters: watch::Receiver<usize>) {
    sleep(UNINTERRUPTED).await;
    if waiters.wait_for(|count| *count > 0).await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_waiting_push_interrupts_a_repack_after_its_time_and_nothing_else_does() {
        let (waiters, started) = (watch::Sender::new(1), Instant::now());
        interruption(waiters.subscribe()).await;
        assert_eq!(started.elapsed().as_secs(), UNINTERRUPTED.as_secs());
        waiters.send_replace(0);
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, interruption(waiters.subscribe())).await.is_err());
    }
}
