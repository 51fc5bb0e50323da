//! Event counts of a store, for metrics.

use std::sync::atomic::AtomicU64;

/// Event counts since the server started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Published moves of labels.
    pub publish_count: AtomicU64,
    /// Answers that a move replaced.
    pub refreshed_count: AtomicU64,
    /// Resolutions for requests that found no kept answer.
    pub resolved_count: AtomicU64,
    /// Failed attempts to follow a source.
    pub failure_count: AtomicU64,
}
