//! Which deliveries were acted on lately, and how many there may be.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};

use crate::http::error::Fault;

/// The most deliveries that are remembered.
const REMEMBERED_COUNT_MAX: usize = 4_096;
/// How many may come at once after a quiet time, and how many in a second then.
const BURST_COUNT: f64 = 100.0;
const COUNT_PER_SECOND: f64 = 10.0;

/// The deliveries of late, oldest first, and how many more may come now.
pub(super) struct Deliveries {
    known: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
    room: f64,
    counted: Instant,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            order: VecDeque::new(),
            room: BURST_COUNT,
            counted: Instant::now(),
        }
    }
}

impl Deliveries {
    /// Takes a delivery; gives whether it is one to act on: one that came before is not.
    ///
    /// # Errors
    /// When there were too many of late.
    pub(super) fn take(&mut self, id: Option<&[u8]>) -> Result<bool, Fault> {
        self.take_at(id, Instant::now())
    }

    fn take_at(&mut self, id: Option<&[u8]>, now: Instant) -> Result<bool, Fault> {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.room = (self.room + passed * COUNT_PER_SECOND).min(BURST_COUNT);
        if self.room < 1.0 {
            return Err(Fault::TooManyRequests);
        }
        self.room -= 1.0;
        Ok(id.is_none_or(|id| self.remember(id)))
    }

    fn remember(&mut self, id: &[u8]) -> bool {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, id).as_ref());
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED_COUNT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_delivery_is_acted_on_once() {
        let mut deliveries = Deliveries::default();
        assert!(deliveries.take(Some(b"a")).unwrap());
        assert!(!deliveries.take(Some(b"a")).unwrap());
        assert!(deliveries.take(Some(b"b")).unwrap());
        assert!(deliveries.take(None).unwrap());
        assert!(deliveries.take(None).unwrap());
    }

    #[test]
    fn so_many_are_taken_and_so_many_remembered() {
        let mut deliveries = Deliveries::default();
        let mut now = Instant::now();
        let taken = (0..10_000).filter(|_| deliveries.take_at(None, now).is_ok()).count();
        assert!((100..=101).contains(&taken), "{taken}");
        for number in 0..2 * REMEMBERED_COUNT_MAX {
            now += Duration::from_millis(200);
            assert!(deliveries.take_at(Some(&number.to_le_bytes()), now).unwrap());
        }
        assert_eq!(deliveries.known.len(), REMEMBERED_COUNT_MAX);
        assert_eq!(deliveries.order.len(), REMEMBERED_COUNT_MAX);
    }
}
