//! Environments of a snapshot that is not published, for the trials of a push.
//!
//! Invariant: a preview belongs to its caller. No cell, no cache and no reader receives it.

use std::sync::Arc;
use std::time::Instant;

use super::Store;
use super::answer::Answer;
use super::build;
use super::holds::Side;
use super::published_snapshot::Basis;
use crate::model::{Digest, Query};
use crate::render::Representation;
use crate::reveal::Variant;
use crate::snapshot::Snapshot;
use crate::tree::TreeError;

/// An environment of a snapshot that is not published.
pub struct Preview(Answer);

impl Store {
    /// Resolves an environment of a snapshot that is not published, with the areas of the policy in force. Returns `None` if
    /// that snapshot has no such environment, or would hold it back because of a problem. Blocking.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn preview(&self, query: &Query, next: &Snapshot) -> Result<Option<Preview>, TreeError> {
        let snapshot = self.builder.put_areas(Arc::new(next.clone()));
        let basis = Basis { sequence: 0, snapshot: &snapshot, begun: Instant::now() };
        let answer = build::build(query, basis, &self.builder, None)?;
        let is_served = answer.served(Variant::Sealed).is_some();
        let is_held = answer.held_revisions().next().is_some();
        Ok((is_served && !is_held).then_some(Preview(answer)))
    }

    /// The digests of an environment as readers receive it now: of each variant and, under a rollout, of each side. Empty if
    /// no answer is kept.
    pub fn served_digests(&self, query: &Query) -> Vec<Digest> {
        let live = self.labels.get(&query.label);
        let Some(cell) = live.and_then(|live| live.cell(query)) else { return Vec::new() };
        let answers = cell.load_all();
        let sides = [Side::Stable, Side::Candidate].map(|side| Arc::clone(answers.of_side(side)));
        let variants = [Variant::Sealed, Variant::Opened];
        let served = sides.iter().flat_map(|answer| variants.map(|variant| answer.served(variant)));
        served.flatten().map(|served| served.digest).collect()
    }
}

impl Preview {
    /// The digest of a variant.
    pub fn digest(&self, variant: Variant) -> Option<Digest> {
        self.0.served(variant).map(|served| served.digest)
    }

    /// The JSON of a variant as watchers receive it, in one line. Returns `None` if its keys and values have more bytes than
    /// this.
    pub fn json(&self, variant: Variant, bytes_max: usize) -> Option<Vec<u8>> {
        let served = self.0.served(variant).filter(|served| served.text_bytes() <= bytes_max)?;
        Some(served.body(Representation::V1, &self.0.revision).whole())
    }
}
