//! The locks of a hosted repository, and the guards that prove that a lock is held.
//!
//! Locking: the locks are taken in the order of their fields, and after them the locks of the store. A function that
//! needs a lock takes its guard by reference.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{
    Mutex, OwnedMutexGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, watch,
};
use tokio::time::timeout;

/// The maximum time that a move of references waits for clients that list them.
const LISTING_MAX: Duration = Duration::from_secs(20);

/// The locks of one repository.
#[derive(Default)]
pub(super) struct Locks {
    /// The lock on quarantine directories.
    pub(super) receiving: ReceivingLock,
    /// The lock that orders pushes. A push holds it from the hook's question until its references are published.
    pub(super) push_lock: PushLock,
    /// The lock between moves and listings of references.
    pub(super) refs_lock: RefsLock,
}

/// The lock on quarantine directories.
///
/// Locking: held for reading by each push while git receives it, and for writing while leftovers are removed.
#[derive(Default)]
pub(super) struct ReceivingLock(RwLock<()>);

impl ReceivingLock {
    /// Protects the quarantine of a push while git receives it.
    pub(super) async fn share(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().await
    }

    /// Returns `None` while a push is being received.
    pub(super) fn try_exclude(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.0.try_write().ok()
    }
}

/// The lock that orders the pushes to a repository.
#[derive(Default)]
pub(super) struct PushLock {
    mutex: Arc<Mutex<()>>,
    /// The number of pushes that wait for the lock.
    waiters: watch::Sender<usize>,
}

/// The guard of [`PushLock`]. No other task reviews, commits or publishes a push while it is held.
pub(super) struct PushTurn {
    _guard: OwnedMutexGuard<()>,
}

impl PushLock {
    /// Waits for the turn of a push. A repack gives way to it.
    ///
    /// Cancellation: a push that stops waiting is no longer counted.
    pub(super) async fn acquire(&self) -> PushTurn {
        self.waiters.send_modify(|count| *count += 1);
        let _waiter = WaiterCount(&self.waiters);
        self.acquire_in_background().await
    }

    /// Waits for the turn of other work, to which a repack does not give way.
    pub(super) async fn acquire_in_background(&self) -> PushTurn {
        PushTurn { _guard: Arc::clone(&self.mutex).lock_owned().await }
    }

    /// Returns the number of waiting pushes, and its changes.
    pub(super) fn waiters(&self) -> watch::Receiver<usize> {
        self.waiters.subscribe()
    }
}

/// A push that waits for the lock, counted until this is dropped.
struct WaiterCount<'a>(&'a watch::Sender<usize>);

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// The lock between moves and listings of references.
///
/// Locking: held for writing from the moment when git may move references until they are durable and published, and for
/// reading while git lists them.
#[derive(Default)]
pub(super) struct RefsLock(Arc<RwLock<()>>);

/// The guard of a move of references. No client lists references until this is dropped.
pub(super) struct RefsWriteGuard {
    _guard: OwnedRwLockWriteGuard<()>,
}

impl RefsLock {
    /// Waits until no client lists references, and prevents listings while the guard is held. Returns `None` if the
    /// listings take too long.
    pub(super) async fn write(&self, _turn: &PushTurn) -> Option<RefsWriteGuard> {
        let guard = timeout(LISTING_MAX, Arc::clone(&self.0).write_owned()).await.ok()?;
        Some(RefsWriteGuard { _guard: guard })
    }

    /// Waits until no reference moves, and prevents moves while the guard is held.
    pub(super) async fn read(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_push_is_counted_while_it_waits_and_background_work_is_not() {
        let lock = PushLock::default();
        let waiters = lock.waiters();
        let turn = lock.acquire().await;
        assert_eq!(*waiters.borrow(), 0);
        let mut push = Box::pin(lock.acquire());
        let mut background = Box::pin(lock.acquire_in_background());
        assert!((&mut push).now_or_never().is_none());
        assert!((&mut background).now_or_never().is_none());
        assert_eq!(*waiters.borrow(), 1);
        drop(push);
        assert_eq!(*waiters.borrow(), 0);
        drop(turn);
        assert!((&mut background).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_of_references_waits_for_a_listing_until_its_time_is_over() {
        let locks = Locks::default();
        let turn = locks.push_lock.acquire().await;
        let listing = locks.refs_lock.read().await;
        assert!(locks.refs_lock.write(&turn).await.is_none());
        drop(listing);
        let _moving = locks.refs_lock.write(&turn).await.expect("no client lists references");
        assert!(locks.refs_lock.read().now_or_never().is_none());
    }
}
