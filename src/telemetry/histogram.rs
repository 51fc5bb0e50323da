//! A histogram of durations, whose buckets are the same for all work of the server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds. A further bucket has no bound.
const BOUNDS: [f64; 16] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    30.0, 120.0,
];

/// A histogram that any number of threads record into without a lock.
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// The content of a histogram at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramFigures {
    pub sum_seconds: f64,
    pub count: u64,
    /// The upper bound of each bucket and the number of durations in it alone. The last bound is `f64::MAX`.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    #[allow(clippy::new_without_default, reason = "only statics have histograms")]
    pub const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            nanoseconds: AtomicU64::new(0),
        }
    }

    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Invariant: the count is the sum of the buckets, also while other threads record.
    pub fn figures(&self) -> HistogramFigures {
        let bounds = BOUNDS.iter().copied().chain([f64::MAX]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        HistogramFigures {
            sum_seconds: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
                .as_secs_f64(),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new();
        for duration in [0, 100, 101, 1_000, 200_000_000] {
            histogram.record(Duration::from_micros(duration));
        }
        let figures = histogram.figures();
        let filled: Vec<(f64, u64)> =
            figures.buckets.iter().copied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_1, 2), (0.000_5, 1), (0.001, 1), (f64::MAX, 1)]);
        assert_eq!(figures.count, 5);
        assert!((figures.sum_seconds - 200.001_201).abs() < 1e-9, "{}", figures.sum_seconds);
    }

    #[test]
    fn the_bounds_rise() {
        assert!(BOUNDS.is_sorted());
    }
}
