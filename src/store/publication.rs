//! The move of a label to a new snapshot, from its announcement to the replaced answers.

use std::sync::Arc;

use super::answer::Answer;
use super::answer_cell::AnswerCell;
use super::build::{self, AnswerBuilder};
use super::published_snapshot::PublishedSnapshot;
use crate::resolve::Differences;
use crate::snapshot::Snapshot;
use crate::tree::TreeError;

/// An announced publication.
pub(super) struct Publication {
    /// The snapshot that the label is about to serve.
    pub(super) target: Arc<PublishedSnapshot>,
    /// The differences from the present snapshot to the target.
    pub(super) differences: Differences,
    /// True if the keys of the server or a referenced value changed, which affects every answer with opened values.
    pub(super) opens_again: bool,
}

impl Publication {
    /// Makes the answer that replaces another one. None if the differences do not affect it. Blocking.
    pub(super) fn make_successor(
        &self,
        before: &Answer,
        builder: &AnswerBuilder,
    ) -> Result<Option<Answer>, TreeError> {
        let is_opened_again = self.opens_again && before.has_opened_values();
        if !is_opened_again && !is_affected(&self.differences, before) {
            return Ok(None);
        }
        build::build(&before.query, &self.target, builder, Some(before)).map(Some)
    }

    /// Makes the replacement for the present answer of a cell. None if the differences do not affect it. Blocking.
    pub(super) fn make_replacement(
        &self,
        cell: Arc<AnswerCell>,
        builder: &AnswerBuilder,
    ) -> Result<Option<AnswerReplacement>, TreeError> {
        let before = cell.load();
        let after = self.make_successor(&before, builder)?.map(Arc::new);
        Ok(after.map(|after| AnswerReplacement { cell, before, after }))
    }
}

/// Returns true if the differences may change an answer.
///
/// An answer that is held back or broken depends on the whole history, which a rewind changes and a limit cuts off.
/// Every change affects it.
pub(super) fn is_affected(differences: &Differences, answer: &Answer) -> bool {
    answer.depends_on_history()
        || matches!(differences, Differences::Everything)
        || answer
            .members
            .iter()
            .any(|member| differences.affects(member.index, &member.dependencies))
}

/// A new answer for a cell. It takes effect when the label switches to the publication.
pub(super) struct AnswerReplacement {
    pub(super) cell: Arc<AnswerCell>,
    pub(super) before: Arc<Answer>,
    pub(super) after: Arc<Answer>,
}

/// An answer that a publication has replaced, and the answer after it.
pub(super) struct ReplacedAnswer {
    pub(super) before: Arc<Answer>,
    pub(super) after: Arc<Answer>,
}

/// The result of a publication that took effect.
pub(super) struct CompletedPublication {
    /// The snapshot that the label served before.
    pub(super) previous: Arc<Snapshot>,
    pub(super) replaced: Vec<ReplacedAnswer>,
    pub(super) publication: Arc<Publication>,
}
