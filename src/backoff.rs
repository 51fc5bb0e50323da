//! Exponential backoff: pauses between attempts, each twice as long as the one before, up to a bound.

use std::time::Duration;

/// The pauses between attempts that fail. A caller that many servers run adds its own jitter.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `min` and doubles up to `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// Returns the pause after a failed attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.max);
        self.next = self.next.saturating_mul(2).min(self.max);
        pause
    }

    /// Begins again after an attempt that succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        let pauses: Vec<u128> = (0..5).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 100);
    }

    #[test]
    fn the_bound_holds_for_the_first_pause_and_after_many_failures() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(backoff.pause(), Duration::from_secs(1));
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        for _ in 0..100 {
            backoff.pause();
        }
        assert_eq!(backoff.pause(), Duration::MAX);
    }
}
