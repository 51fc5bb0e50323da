//! The snapshot that a label serves, with its place in the order of the label's publications.

use std::sync::Arc;
use std::time::Instant;

use super::holds::Holds;
use crate::snapshot::Snapshot;

/// One complete revision of a label. A publication replaces it as a whole.
pub(super) struct PublishedSnapshot {
    /// The number of publications of this label since the server began to serve it.
    pub(super) sequence: u64,
    pub(super) snapshot: Arc<Snapshot>,
    /// The applications that are served from an earlier revision.
    pub(super) holds: Holds,
    /// The time at which the label was loaded, or at which its publication began.
    pub(super) begun: Instant,
}

impl PublishedSnapshot {
    /// The publication of a snapshot that begins now, with the holds of that snapshot.
    pub(super) fn new(sequence: u64, snapshot: Arc<Snapshot>) -> Self {
        let begun = Instant::now();
        Self { sequence, holds: Holds::of(&snapshot), snapshot, begun }
    }

    /// The inputs of an answer at the tip.
    pub(super) fn tip(&self) -> Basis<'_> {
        self.at(&self.snapshot)
    }

    /// The inputs of an answer at the tip or at a stable snapshot of this publication.
    pub(super) fn at<'a>(&self, snapshot: &'a Snapshot) -> Basis<'a> {
        Basis { sequence: self.sequence, snapshot, begun: self.begun }
    }
}

/// The snapshot that an answer is made of, and the publication that the answer is made for.
#[derive(Clone, Copy)]
pub(super) struct Basis<'a> {
    pub(super) sequence: u64,
    pub(super) snapshot: &'a Snapshot,
    pub(super) begun: Instant,
}
