//! The admission of git requests: how many of a kind the server answers at a time, in all, for each client address and
//! for each principal.
//!
//! Invariant: a free permit goes to the requester whose address holds the fewest. Among several such requesters it goes
//! to the one with the longest wait. An address that asks often therefore delays only itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::command::Service;
use super::error::PushError;
use crate::sync::lock;

/// The maximum number of pushes received at a time, over all repositories.
pub const PUSH_COUNT_MAX: usize = 8;
/// The maximum number of these pushes from one address, and by one principal.
const PUSH_SHARE_MAX: usize = 6;
/// The maximum number of clones and fetches answered at a time.
pub const FETCH_COUNT_MAX: usize = 32;
/// The maximum number of these clones and fetches from one address.
const FETCH_ADDRESS_COUNT_MAX: usize = 16;
/// The maximum number of these clones and fetches by one principal. All clients without a token are one principal.
const FETCH_PRINCIPAL_COUNT_MAX: usize = 24;
/// The maximum wait of a push for a permit. It exceeds the stall budget of a push, so that a stalled push frees its
/// permit in time.
const PUSH_WAIT_MAX: Duration = Duration::from_secs(40);
/// The maximum wait of a clone or a fetch for a permit. It exceeds the stall budget of a reader, and stays below the
/// 30 s after which the git of a mirror gives up.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(25);
/// The maximum number of requests of one address that wait for a permit.
const WAITING_COUNT_MAX: usize = 64;

/// The client that sends a git request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The client's address, behind trusted proxies.
    pub address: String,
    /// The principal as which the client authenticated.
    pub principal: String,
}

/// The permits for each kind of request.
///
/// Invariant: a request that lists references is short, and never waits behind a pack that a client receives slowly.
pub(super) struct Admission {
    pub(super) pushes: Arc<PermitPool>,
    push_listings: Arc<PermitPool>,
    pub(super) fetches: Arc<PermitPool>,
    fetch_listings: Arc<PermitPool>,
}

impl Admission {
    pub(super) fn new() -> Self {
        let pushes = PermitLimits {
            count_max: PUSH_COUNT_MAX,
            address_count_max: PUSH_SHARE_MAX,
            principal_count_max: PUSH_SHARE_MAX,
            wait_max: PUSH_WAIT_MAX,
        };
        let fetches = PermitLimits {
            count_max: FETCH_COUNT_MAX,
            address_count_max: FETCH_ADDRESS_COUNT_MAX,
            principal_count_max: FETCH_PRINCIPAL_COUNT_MAX,
            wait_max: FETCH_WAIT_MAX,
        };
        Self {
            pushes: PermitPool::new(pushes),
            push_listings: PermitPool::new(pushes),
            fetches: PermitPool::new(fetches),
            fetch_listings: PermitPool::new(fetches),
        }
    }

    pub(super) fn listings(&self, service: Service) -> &Arc<PermitPool> {
        match service {
            Service::UploadPack => &self.fetch_listings,
            Service::ReceivePack => &self.push_listings,
        }
    }
}

/// The limits on requests answered at a time, and on the wait of the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct PermitLimits {
    pub(super) count_max: usize,
    pub(super) address_count_max: usize,
    pub(super) principal_count_max: usize,
    pub(super) wait_max: Duration,
}

/// The permits for one kind of request.
pub(super) struct PermitPool {
    limits: PermitLimits,
    state: Mutex<PoolState>,
}

/// A permit to answer one request. Dropping it frees it.
pub(super) struct Permit {
    pool: Arc<PermitPool>,
    requester: Requester,
}

#[derive(Default)]
struct PoolState {
    count: usize,
    by_address: HashMap<String, usize>,
    by_principal: HashMap<String, usize>,
    /// The waiting requesters, in the order of arrival.
    queue: Vec<Waiter>,
}

struct Waiter {
    requester: Requester,
    permit: oneshot::Sender<Permit>,
}

impl PermitPool {
    pub(super) fn new(limits: PermitLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Waits for a permit. Git does not retry by itself, so that a wait is better than a rejection.
    ///
    /// Cancellation: a requester that stops waiting loses its position in the queue and takes no permit.
    ///
    /// # Errors
    /// When no permit becomes free in time, or too many requests of this address wait already.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        requester: Requester,
    ) -> Result<Permit, PushError> {
        let (permit, granted) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            state.queue.retain(|waiting| !waiting.permit.is_closed());
            let is_same = |waiting: &&Waiter| waiting.requester.address == requester.address;
            if state.queue.iter().filter(is_same).count() >= WAITING_COUNT_MAX {
                return Err(PushError::Busy);
            }
            state.queue.push(Waiter { requester, permit });
        }
        self.assign();
        match timeout(self.limits.wait_max, granted).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(PushError::Busy),
        }
    }

    /// Gives free permits to waiting requesters.
    ///
    /// Locking: a permit whose requester has left is dropped outside the lock, because its drop takes the lock again.
    fn assign(self: &Arc<Self>) {
        loop {
            let next = lock(&self.state).admit_next(&self.limits);
            let Some(Waiter { requester, permit }) = next else { return };
            drop(permit.send(Permit { pool: Arc::clone(self), requester }));
        }
    }
}

impl PoolState {
    /// Takes the next requester out of the queue and counts it, if one may have a permit.
    fn admit_next(&mut self, limits: &PermitLimits) -> Option<Waiter> {
        if self.count >= limits.count_max {
            return None;
        }
        self.queue.retain(|waiting| !waiting.permit.is_closed());
        let is_admissible = |requester: &Requester| {
            count_of(&self.by_address, &requester.address) < limits.address_count_max
                && count_of(&self.by_principal, &requester.principal) < limits.principal_count_max
        };
        let admissible =
            self.queue.iter().enumerate().filter(|(_, it)| is_admissible(&it.requester));
        let (index, _) = admissible.min_by_key(|(index, it)| {
            (count_of(&self.by_address, &it.requester.address), *index)
        })?;
        let next = self.queue.remove(index);
        self.count += 1;
        *self.by_address.entry(next.requester.address.clone()).or_default() += 1;
        *self.by_principal.entry(next.requester.principal.clone()).or_default() += 1;
        Some(next)
    }

    fn release(&mut self, requester: &Requester) {
        self.count -= 1;
        release(&mut self.by_address, &requester.address);
        release(&mut self.by_principal, &requester.principal);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.pool.state).release(&self.requester);
        self.pool.assign();
    }
}

fn count_of(counts: &HashMap<String, usize>, key: &str) -> usize {
    counts.get(key).copied().unwrap_or_default()
}

fn release(counts: &mut HashMap<String, usize>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LIMITS: PermitLimits = PermitLimits {
        count_max: 4,
        address_count_max: 3,
        principal_count_max: 3,
        wait_max: Duration::from_secs(25),
    };

    fn requester(address: &str, principal: &str) -> Requester {
        Requester { address: address.to_owned(), principal: principal.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_and_a_principal_leave_permits_for_others() {
        let permits = PermitPool::new(LIMITS);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(permits.acquire(requester("a", "anonymous")).await.unwrap());
        }
        assert!(
            permits.acquire(requester("a", "reader")).await.is_err(),
            "the address has its share"
        );
        assert!(
            permits.acquire(requester("b", "anonymous")).await.is_err(),
            "the principal has its share"
        );
        let other = permits.acquire(requester("b", "reader")).await.unwrap();
        assert!(permits.acquire(requester("c", "other")).await.is_err(), "there is no permit");
        drop(taken);
        drop(other);
        assert_eq!(lock(&permits.state).count, 0);
        assert!(lock(&permits.state).by_address.is_empty());
        assert!(lock(&permits.state).by_principal.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_the_fewest_permits_is_next() {
        let permits = PermitPool::new(LIMITS);
        let mut taken = Vec::new();
        for principal in ["1", "2", "3"] {
            taken.push(permits.acquire(requester("a", principal)).await.unwrap());
        }
        taken.push(permits.acquire(requester("b", "4")).await.unwrap());
        let mut again: Vec<_> =
            ["a", "a", "b"].map(|it| Box::pin(permits.acquire(requester(it, "5")))).into();
        let mut newcomer = Box::pin(permits.acquire(requester("c", "6")));
        assert!(again.iter_mut().all(|it| it.now_or_never().is_none()));
        assert!((&mut newcomer).now_or_never().is_none());
        taken.remove(0);
        assert!((&mut newcomer).now_or_never().is_some(), "it came last and holds no permit");
        assert!(again.iter_mut().take(2).all(|it| it.now_or_never().is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_requester_that_leaves_the_queue_takes_no_permit() {
        let permits = PermitPool::new(PermitLimits { count_max: 1, ..LIMITS });
        let taken = permits.acquire(requester("a", "1")).await.unwrap();
        let mut gone = Box::pin(permits.acquire(requester("b", "1")));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        drop(taken);
        permits.acquire(requester("c", "1")).now_or_never().expect("at once").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_of_an_address_is_bounded() {
        let permits = PermitPool::new(PermitLimits { count_max: 1, ..LIMITS });
        let _taken = permits.acquire(requester("a", "1")).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_COUNT_MAX)
            .map(|_| Box::pin(permits.acquire(requester("a", "1"))))
            .collect();
        assert!(waiting.iter_mut().all(|it| it.now_or_never().is_none()));
        assert!(matches!(
            permits.acquire(requester("a", "1")).now_or_never(),
            Some(Err(PushError::Busy))
        ));
        assert!(permits.acquire(requester("b", "1")).now_or_never().is_none());
    }
}
