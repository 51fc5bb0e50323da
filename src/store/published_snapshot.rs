//! The snapshot that a label serves, with its place in the order of the label's publications.

use std::sync::Arc;
use std::time::Instant;

use crate::snapshot::Snapshot;

/// One complete revision of a label. A publication replaces it as a whole.
pub(super) struct PublishedSnapshot {
    /// The number of publications of this label since the server began to serve it.
    pub(super) sequence: u64,
    pub(super) snapshot: Arc<Snapshot>,
    /// The time at which the label was loaded, or at which its publication began.
    pub(super) begun: Instant,
}
