//! The slots for bodies of webhooks. Their number is bounded, and a slow body cannot keep others out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::sync::lock;

/// The most bodies that are read at a time.
pub(super) const SLOT_COUNT_MAX: usize = 32;

/// All slots in use.
#[derive(Default)]
pub(super) struct BodySlots(Mutex<OpenBodies>);

#[derive(Default)]
struct OpenBodies {
    started_count: u64,
    /// The bodies in the order in which they began.
    bodies: BTreeMap<u64, OpenBody>,
}

struct OpenBody {
    client: Option<IpAddr>,
    evicted: Arc<Notify>,
}

/// The slot of one body, until it is dropped or evicted.
pub(super) struct BodySlot<'a> {
    slots: &'a BodySlots,
    number: u64,
    evicted: Arc<Notify>,
}

impl BodySlots {
    /// Takes a slot for another body. If all are in use, the client with the most slots loses its oldest. A body that
    /// has arrived is read at once, so an evicted body has not arrived completely.
    pub(super) fn take(&self, client: Option<IpAddr>) -> BodySlot<'_> {
        let mut open = lock(&self.0);
        if open.bodies.len() >= SLOT_COUNT_MAX {
            open.evict_one();
        }
        open.started_count += 1;
        let (number, evicted) = (open.started_count, Arc::<Notify>::default());
        open.bodies.insert(number, OpenBody { client, evicted: Arc::clone(&evicted) });
        BodySlot { slots: self, number, evicted }
    }
}

impl OpenBodies {
    fn evict_one(&mut self) {
        let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for body in self.bodies.values() {
            *counts.entry(body.client).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let victim = self.bodies.iter().find(|(_, body)| counts.get(&body.client).copied() == most);
        if let Some(body) = victim.map(|(number, _)| *number).and_then(|it| self.bodies.remove(&it))
        {
            body.evicted.notify_one();
        }
    }
}

impl BodySlot<'_> {
    /// Waits until the slot is taken away for another body.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for BodySlot<'_> {
    fn drop(&mut self) {
        lock(&self.slots.0).bodies.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn client(number: u8) -> Option<IpAddr> {
        Some([127, 0, 0, number].into())
    }

    fn is_evicted(slot: &BodySlot<'_>) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_client_with_the_most_slots_loses_its_oldest() {
        let slots = BodySlots::default();
        let honest = slots.take(client(1));
        let slow: Vec<_> = (1..SLOT_COUNT_MAX).map(|_| slots.take(client(2))).collect();
        let other = slots.take(client(3));
        let evicted: Vec<bool> = slow.iter().map(is_evicted).collect();
        assert!(evicted[0] && evicted[1..].iter().all(|it| !it), "{evicted:?}");
        assert!(!is_evicted(&honest) && !is_evicted(&other));
        drop(slow);
        let many: Vec<_> = (0..SLOT_COUNT_MAX - 2).map(|_| slots.take(client(2))).collect();
        assert!(many.iter().all(|it| !is_evicted(it)), "a dropped slot is free");
        assert_eq!(lock(&slots.0).bodies.len(), SLOT_COUNT_MAX);
    }
}
