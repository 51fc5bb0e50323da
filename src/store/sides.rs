//! The digests of both sides of a held environment, by which a rollout recognises what an instance acknowledges.

use std::sync::Arc;

use super::Store;
use super::answer::Answer;
use super::cell_answers::CellAnswers;
use crate::model::{Digest, Query};
use crate::reveal::Variant;

/// The digests of both sides of one environment, one for each variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideDigests {
    pub stable: Vec<Digest>,
    pub candidate: Vec<Digest>,
}

impl Store {
    /// Returns the digests of a held environment. `None` if no rollout holds it, if its candidate is withheld, or if it
    /// cannot be read.
    pub async fn side_digests(self: &Arc<Self>, query: &Query) -> Option<SideDigests> {
        let live = self.live_label(&query.label).await.ok()?;
        let cell = match live.cell(query) {
            Some(cell) => cell,
            None => self.resolve(&live, query).await.ok()?,
        };
        digests(&cell.answers.borrow())
    }
}

fn digests(answers: &CellAnswers) -> Option<SideDigests> {
    let candidate = answers.held.as_ref()?.candidate.as_ref()?;
    Some(SideDigests { stable: of(&answers.stable), candidate: of(candidate) })
}

fn of(answer: &Answer) -> Vec<Digest> {
    let served = [Variant::Sealed, Variant::Opened].map(|variant| answer.served(variant));
    let mut digests: Vec<Digest> = served.into_iter().flatten().map(|own| own.digest).collect();
    digests.dedup();
    digests
}
