//! Loose objects become packs while nobody pushes. Each push leaves a few, and with many thousands of them pushes and clones
//! take several times as long.
//!
//! One at a time for a repository, and by nobody else; a push that comes meanwhile waits a little for its turn, and gets it
//! before its patience is over. Nothing is taken away
//! but what a new pack holds as well, which is on the disk by then, so that readers find all that they look for. What no
//! branch leads to any more stays, too.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::host::Host;

/// How many loose objects a repository may have, about; a chance adds as many again.
const LOOSE_COUNT_MAX: usize = 2_000;
/// With how many, about, nobody waits for pushes to pause.
const LOOSE_COUNT_URGENT: usize = 10_000;
/// How long nobody may have pushed.
const QUIET: Duration = Duration::from_secs(5);
/// How long a push waits for it. What takes longer is done when nobody pushes for so long.
const UNDISTURBED: Duration = Duration::from_secs(20);
/// The longest that it takes.
const REPACK_MAX: Duration = Duration::from_secs(30 * 60);
/// One of the directories that git spreads loose objects over evenly, and how many there are.
const SAMPLE: &str = "objects/17";
const DIRECTORY_COUNT: usize = 256;

/// The upkeep of a repository, for as long as this is held.
pub(super) struct Maintenance(AbortHandle);

impl Maintenance {
    /// Begins it, with a look at what there is.
    pub(super) fn begin(host: &Arc<Host>, runtime: &Handle) -> Self {
        host.pushed.notify_one();
        let pushed = Arc::clone(&host.pushed);
        Self(runtime.spawn(keep(Arc::downgrade(host), pushed)).abort_handle())
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(host: Weak<Host>, pushed: Arc<Notify>) {
    // Replicas that share a repository are brought the same objects, and are not to pack them all at the same time.
    let count_max = LOOSE_COUNT_MAX + fastrand::usize(..LOOSE_COUNT_MAX);
    loop {
        pushed.notified().await;
        let Some(path) = host.upgrade().map(|host| host.path.clone()) else { return };
        if loose_count(&path) < count_max {
            continue;
        }
        while loose_count(&path) < LOOSE_COUNT_URGENT
            && timeout(QUIET, pushed.notified()).await.is_ok()
        {}
        let Some(host) = host.upgrade() else { return };
        pack(&host).await;
    }
}

/// About how many loose objects there are. One short directory is read, of which the system knows by heart what is in it.
fn loose_count(repository: &Path) -> usize {
    let sample = std::fs::read_dir(repository.join(SAMPLE));
    sample.map_or(0, |entries| entries.count() * DIRECTORY_COUNT)
}

async fn pack(host: &Host) {
    // No push moves its objects in meanwhile: git may take away a pack before it has seen what came beside it.
    let _turn = host.turn.lock().await;
    let mut git = match host.git.start_own(host.git.repack(&host.path)) {
        Ok(git) => git,
        Err(error) => {
            return tracing::warn!(repository = host.name, %error, "git repack");
        }
    };
    // Where it does not come to its end, all is as it was, and it is tried again after the next push.
    let ended = tokio::select! {
        ended = timeout(REPACK_MAX, git.child.wait()) => ended,
        () = disturbed(host.waiting.subscribe()) => {
            git.end().await;
            return tracing::info!(repository = host.name, "git repack gives way to a push");
        }
    };
    match ended {
        Ok(Ok(status)) if status.success() => {
            tracing::debug!(repository = host.name, "loose objects were packed");
        }
        Ok(Ok(status)) => tracing::warn!(repository = host.name, %status, "git repack"),
        Ok(Err(error)) => tracing::warn!(repository = host.name, %error, "git repack"),
        Err(_) => tracing::warn!(repository = host.name, "git repack takes too long"),
    }
}

/// Returns once a push waits that has waited long enough.
async fn disturbed(mut waiting: watch::Receiver<usize>) {
    sleep(UNDISTURBED).await;
    if waiting.wait_for(|count| *count > 0).await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_push_does_not_wait_for_long_and_nobody_else_disturbs() {
        let (waiting, begun) = (watch::Sender::new(1), Instant::now());
        disturbed(waiting.subscribe()).await;
        assert_eq!(begun.elapsed().as_secs(), UNDISTURBED.as_secs());
        waiting.send_replace(0);
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, disturbed(waiting.subscribe())).await.is_err());
    }
}
