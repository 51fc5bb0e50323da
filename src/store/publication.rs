//! The move of a label to a new snapshot, from its announcement to the replaced answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::answer::Answer;
use super::answer_cell::AnswerCell;
use super::build::{self, AnswerBuilder};
use super::cell_answers::{CellAnswers, HeldAnswers, is_affected};
use super::holds::Hold;
use super::published_snapshot::PublishedSnapshot;
use crate::resolve::Differences;
use crate::snapshot::{HoldReason, Snapshot};
use crate::sync::lock;
use crate::tree::TreeError;

/// An announced publication.
pub(super) struct Publication {
    /// The snapshot that the label serves until the publication takes effect.
    pub(super) present: Arc<PublishedSnapshot>,
    /// The snapshot that the label is about to serve.
    pub(super) target: Arc<PublishedSnapshot>,
    /// The differences from the present snapshot to the target.
    pub(super) differences: Arc<Differences>,
    /// True if the keys of the server or a referenced value changed, which affects every answer with opened values.
    opens_again: bool,
    /// The differences between stable snapshots and others, by the addresses of the snapshots.
    of_stables: Mutex<HashMap<(usize, usize), ComparedSnapshots>>,
}

/// The differences between two snapshots. Holding both keeps their addresses in use.
struct ComparedSnapshots {
    _snapshots: [Arc<Snapshot>; 2],
    differences: Arc<Differences>,
}

impl Publication {
    /// The move from the present snapshot to another one. Blocking.
    pub(super) fn new(
        present: Arc<PublishedSnapshot>,
        snapshot: Arc<Snapshot>,
        opens_again: bool,
    ) -> Result<Self, TreeError> {
        let target = Arc::new(PublishedSnapshot::new(present.sequence + 1, snapshot));
        let differences = Differences::between(&present.snapshot, &target.snapshot)?;
        Ok(Self {
            present,
            target,
            differences: Arc::new(differences),
            opens_again,
            of_stables: Mutex::default(),
        })
    }

    /// Makes the answers that replace others. None if the publication does not affect them. Blocking.
    pub(super) fn make_successor(
        &self,
        before: &CellAnswers,
        builder: &AnswerBuilder,
    ) -> Result<Option<CellAnswers>, TreeError> {
        let hold = self.target.holds.find(before.query());
        if hold.is_none() && before.held.is_none() {
            let stable = &before.stable;
            if !self.is_opened_again(stable) && !is_affected(&self.differences, stable) {
                return Ok(None);
            }
            let stable = build::build(&stable.query, self.target.tip(), builder, Some(stable))?;
            return Ok(Some(CellAnswers { stable: Arc::new(stable), held: None }));
        }
        let stable = self.make_stable(before, hold.as_ref(), builder)?;
        let held = match hold {
            None => None,
            Some(hold) => {
                let candidate = self.make_candidate(before, &hold, builder)?;
                let published = Arc::clone(&self.target);
                Some(Arc::new(HeldAnswers { published, hold, candidate }))
            }
        };
        Ok(Some(CellAnswers { stable, held }))
    }

    /// Makes the next answer of the stable side. Keeps the present one if it is valid, and else hands over the answer of the
    /// canaries if that one is valid, as after a promotion.
    fn make_stable(
        &self,
        before: &CellAnswers,
        hold: Option<&Arc<Hold>>,
        builder: &AnswerBuilder,
    ) -> Result<Arc<Answer>, TreeError> {
        let from = self.stable_before(before);
        let to = hold.map_or(&self.target.snapshot, |hold| &hold.stable);
        let answer = &before.stable;
        if self.is_valid(from, to, answer)? {
            return Ok(match hold {
                Some(_) => Arc::clone(answer),
                // A reader that still sees the present snapshot receives the revision of the next one.
                None => Arc::new(answer.hand_over(self.target.at(to))),
            });
        }
        let candidate = before.held.as_ref().and_then(|held| held.candidate.as_ref());
        if let Some(candidate) = candidate
            && self.is_valid(&self.present.snapshot, to, candidate)?
        {
            return Ok(Arc::new(candidate.hand_over(self.target.at(to))));
        }
        let made = build::build(&answer.query, self.target.at(to), builder, Some(answer))?;
        Ok(Arc::new(made))
    }

    /// Makes the next answer of the canaries. Keeps the present one if it is valid, and else shares the one of the stable
    /// side if the candidate does not differ from it.
    fn make_candidate(
        &self,
        before: &CellAnswers,
        hold: &Hold,
        builder: &AnswerBuilder,
    ) -> Result<Option<Arc<Answer>>, TreeError> {
        if hold.choice.reason() == HoldReason::Withheld {
            return Ok(None);
        }
        let present = before.held.as_ref().and_then(|held| held.candidate.as_ref());
        let tip = &self.target.snapshot;
        if let Some(candidate) = present
            && self.is_valid(&self.present.snapshot, tip, candidate)?
        {
            return Ok(Some(Arc::clone(candidate)));
        }
        if self.is_valid(self.stable_before(before), tip, &before.stable)? {
            return Ok(Some(Arc::clone(&before.stable)));
        }
        let previous = present.unwrap_or(&before.stable);
        let made = build::build(before.query(), self.target.tip(), builder, Some(previous))?;
        Ok(Some(Arc::new(made)))
    }

    /// The snapshot of which the present answer of the stable side was made.
    fn stable_before<'a>(&'a self, before: &'a CellAnswers) -> &'a Arc<Snapshot> {
        before.held.as_ref().map_or(&self.present.snapshot, |held| &held.hold.stable)
    }

    /// Returns true if an answer of one snapshot is the answer of another one as well.
    fn is_valid(
        &self,
        from: &Arc<Snapshot>,
        to: &Arc<Snapshot>,
        answer: &Answer,
    ) -> Result<bool, TreeError> {
        if self.is_opened_again(answer) {
            return Ok(false);
        }
        if is_same(from, to) {
            return Ok(true);
        }
        let differences = self.differences_between(from, to)?;
        Ok(!is_affected(&differences, answer))
    }

    fn is_opened_again(&self, answer: &Answer) -> bool {
        self.opens_again && answer.has_opened_values()
    }

    fn differences_between(
        &self,
        from: &Arc<Snapshot>,
        to: &Arc<Snapshot>,
    ) -> Result<Arc<Differences>, TreeError> {
        let is_whole = Arc::ptr_eq(from, &self.present.snapshot);
        if is_whole && Arc::ptr_eq(to, &self.target.snapshot) {
            return Ok(Arc::clone(&self.differences));
        }
        let key = (Arc::as_ptr(from).addr(), Arc::as_ptr(to).addr());
        if let Some(known) = lock(&self.of_stables).get(&key) {
            return Ok(Arc::clone(&known.differences));
        }
        let differences = Arc::new(Differences::between(from, to)?);
        let compared = ComparedSnapshots {
            _snapshots: [Arc::clone(from), Arc::clone(to)],
            differences: Arc::clone(&differences),
        };
        lock(&self.of_stables).insert(key, compared);
        Ok(differences)
    }

    /// Makes the replacement for the present answers of a cell. None if the publication does not affect them. Blocking.
    pub(super) fn make_replacement(
        &self,
        cell: Arc<AnswerCell>,
        builder: &AnswerBuilder,
    ) -> Result<Option<AnswerReplacement>, TreeError> {
        let before = cell.load_all();
        let after = self.make_successor(&before, builder)?;
        Ok(after.map(|after| AnswerReplacement { cell, before, after }))
    }
}

/// Returns true if two snapshots are one publication under the same areas. They have the same history.
fn is_same(from: &Arc<Snapshot>, to: &Arc<Snapshot>) -> bool {
    let mut members = from.members.iter().zip(&to.members);
    Arc::ptr_eq(from, to)
        || from.members.len() == to.members.len()
            && from.position() == to.position()
            && members.all(|(from, to)| from.areas.are_same(&to.areas))
}

/// New answers for a cell. They take effect when the label switches to the publication.
pub(super) struct AnswerReplacement {
    pub(super) cell: Arc<AnswerCell>,
    pub(super) before: CellAnswers,
    pub(super) after: CellAnswers,
}

/// The answer at the tip before and after a publication that has replaced it.
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
