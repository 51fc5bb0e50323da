//! The answers to one query at one moment: one for every reader or, while a rollout holds the application, one for each
//! side.
//!
//! Invariant: the answers and the hold that chooses between them are one value, which a publication replaces as a whole.
//! No reader combines the hold of one publication with the answers of another one.

use std::sync::Arc;

use super::answer::Answer;
use super::build::{self, AnswerBuilder};
use super::holds::{Hold, Reader, Side};
use super::published_snapshot::PublishedSnapshot;
use crate::model::Query;
use crate::resolve::Differences;
use crate::snapshot::HoldReason;
use crate::tree::TreeError;

/// The answers to one query.
#[derive(Clone)]
pub(super) struct CellAnswers {
    /// The answer of every reader that is no canary.
    pub(super) stable: Arc<Answer>,
    /// None if no rollout holds the application.
    pub(super) held: Option<Arc<HeldAnswers>>,
}

/// The hold of a query, and the answer of the canaries.
pub(super) struct HeldAnswers {
    /// The publication that this is of. Every publication replaces it.
    pub(super) published: Arc<PublishedSnapshot>,
    pub(super) hold: Arc<Hold>,
    /// None if the candidate is withheld. It is the answer of the stable side itself if the two do not differ.
    pub(super) candidate: Option<Arc<Answer>>,
}

impl CellAnswers {
    /// Makes the first answers to a query. Blocking.
    pub(super) fn make(
        query: &Query,
        published: &Arc<PublishedSnapshot>,
        builder: &AnswerBuilder,
        previous: Option<&Answer>,
    ) -> Result<Self, TreeError> {
        let Some(hold) = published.holds.find(query) else {
            let stable = Arc::new(build::build(query, published.tip(), builder, previous)?);
            return Ok(Self { stable, held: None });
        };
        let basis = published.at(&hold.stable);
        let stable = Arc::new(build::build(query, basis, builder, previous)?);
        let candidate = match hold.choice.reason() {
            HoldReason::Withheld => None,
            HoldReason::Rollout => {
                let differences = hold.differences(&published.snapshot)?;
                Some(if is_affected(differences, &stable) {
                    Arc::new(build::build(query, published.tip(), builder, Some(&stable))?)
                } else {
                    Arc::clone(&stable)
                })
            }
        };
        let held = HeldAnswers { published: Arc::clone(published), hold, candidate };
        Ok(Self { stable, held: Some(Arc::new(held)) })
    }

    pub(super) fn query(&self) -> &Query {
        &self.stable.query
    }

    /// The side of a reader.
    pub(super) fn choose(&self, reader: &Reader) -> Side {
        self.held.as_ref().map_or(Side::Stable, |held| held.hold.choice.choose(reader))
    }

    /// The answer of a side.
    pub(super) fn of_side(&self, side: Side) -> &Arc<Answer> {
        match side {
            Side::Stable => &self.stable,
            Side::Candidate => self.newest(),
        }
    }

    /// The answer of the canaries, or of every reader if there are none.
    pub(super) fn newest(&self) -> &Arc<Answer> {
        let candidate = self.held.as_ref().and_then(|held| held.candidate.as_ref());
        candidate.unwrap_or(&self.stable)
    }

    /// The distinct answers.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Answer>> {
        let newest = self.newest();
        let other = (!Arc::ptr_eq(newest, &self.stable)).then_some(newest);
        std::iter::once(&self.stable).chain(other)
    }

    pub(super) fn is_known(&self) -> bool {
        self.all().any(|answer| answer.is_known)
    }

    pub(super) fn has_known_profiles(&self) -> bool {
        self.all().any(|answer| answer.has_known_profiles)
    }

    /// Returns true if a reader of these answers can receive another content from the next ones.
    pub(super) fn differs(&self, next: &Self) -> bool {
        if self.stable.differs(&next.stable) || self.newest().differs(next.newest()) {
            return true;
        }
        let is_same_choice = match (&self.held, &next.held) {
            (Some(held), Some(next)) => held.hold.choice.is_same(&next.hold.choice),
            (None, None) => true,
            _ => false,
        };
        !is_same_choice && next.newest().differs(&next.stable)
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
