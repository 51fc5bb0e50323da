//! The deliveries of the last time: repeated ones have no effect, and their rate is limited.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};

use crate::http::error::HttpError;

/// The most deliveries that are remembered.
const REMEMBERED_COUNT_MAX: usize = 4_096;
/// The most deliveries that may arrive at once after a quiet time.
const BURST_COUNT: f64 = 100.0;
/// The rate at which deliveries may arrive after a burst.
const COUNT_PER_SECOND: f64 = 10.0;

/// The remembered deliveries, and a token bucket that limits their rate.
pub(super) struct Deliveries {
    known: HashSet<[u8; 32]>,
    /// The same deliveries, oldest first.
    order: VecDeque<[u8; 32]>,
    tokens: f64,
    refilled: Instant,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            order: VecDeque::new(),
            tokens: BURST_COUNT,
            refilled: Instant::now(),
        }
    }
}

impl Deliveries {
    /// Admits a delivery. Returns false for a repeated delivery, which must have no effect.
    ///
    /// # Errors
    /// [`HttpError::TooManyRequests`] above the rate limit.
    pub(super) fn admit(&mut self, id: Option<&[u8]>) -> Result<bool, HttpError> {
        self.admit_at(id, Instant::now())
    }

    fn admit_at(&mut self, id: Option<&[u8]>, now: Instant) -> Result<bool, HttpError> {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.tokens = (self.tokens + passed * COUNT_PER_SECOND).min(BURST_COUNT);
        if self.tokens < 1.0 {
            return Err(HttpError::TooManyRequests);
        }
        self.tokens -= 1.0;
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
    fn a_repeated_delivery_has_no_effect() {
        let mut deliveries = Deliveries::default();
        assert!(deliveries.admit(Some(b"a")).unwrap());
        assert!(!deliveries.admit(Some(b"a")).unwrap());
        assert!(deliveries.admit(Some(b"b")).unwrap());
        assert!(deliveries.admit(None).unwrap());
        assert!(deliveries.admit(None).unwrap());
    }

    #[test]
    fn the_rate_and_the_memory_are_bounded() {
        let mut deliveries = Deliveries::default();
        let mut now = Instant::now();
        let taken = (0..10_000).filter(|_| deliveries.admit_at(None, now).is_ok()).count();
        assert!((100..=101).contains(&taken), "{taken}");
        for number in 0..2 * REMEMBERED_COUNT_MAX {
            now += Duration::from_millis(200);
            assert!(deliveries.admit_at(Some(&number.to_le_bytes()), now).unwrap());
        }
        assert_eq!(deliveries.known.len(), REMEMBERED_COUNT_MAX);
        assert_eq!(deliveries.order.len(), REMEMBERED_COUNT_MAX);
    }
}
