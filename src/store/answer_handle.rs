//! Access to one answer for requests and watchers. A handle keeps the answer and its label alive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::watch;

use super::answer::{Answer, ServedEnvironment};
use super::answer_cell::AnswerCell;
use super::cell_answers::CellAnswers;
use super::history::{self, Standing};
use super::holds::{Reader, Side, SideChoice};
use super::live_label::LiveLabel;
use super::published_snapshot::PublishedSnapshot;
use crate::model::{Epochs, InstanceKey, LabelPosition, Revision};
use crate::reveal::Variant;
use crate::snapshot::Snapshot;

/// A handle to read and watch one answer in one variant, for one reader. Holding it keeps the answer alive.
#[derive(Clone)]
pub struct AnswerHandle {
    live: Arc<LiveLabel>,
    cell: Arc<AnswerCell>,
    receiver: watch::Receiver<CellAnswers>,
    variant: Variant,
    reader: Reader,
}

/// An answer at one revision, in the variant of its reader.
pub struct AnswerAt {
    pub answer: Arc<Answer>,
    variant: Variant,
    /// The served revision. It is an older one while the environment is held back.
    pub revision: Revision,
    /// The epochs in which the label was published. None if it was never rewound and no rollout holds the application.
    pub epochs: Option<Epochs>,
    /// The newest revision of the label.
    pub tip: Revision,
    /// Set while a rollout holds the application.
    pub rollout: Option<RolloutAt>,
}

/// The rollout that holds the application of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutAt {
    /// The id of the rollout.
    pub id: Arc<str>,
    /// The side that the answer is of.
    pub side: Side,
}

impl AnswerAt {
    /// Chooses the answer of a reader, and combines it with its position under a published snapshot.
    pub(super) fn new(
        published: &PublishedSnapshot,
        answers: &CellAnswers,
        variant: Variant,
        reader: &Reader,
    ) -> Self {
        Self::of_side(published, answers, variant, answers.choose(reader))
    }

    fn of_side(
        published: &PublishedSnapshot,
        answers: &CellAnswers,
        variant: Variant,
        side: Side,
    ) -> Self {
        let answer = Arc::clone(answers.of_side(side));
        let Some(held) = &answers.held else {
            let LabelPosition { revision, epochs } = answer.position_under(published);
            let is_newer = answer.sequence > published.sequence;
            let tip = if is_newer { revision.clone() } else { published.snapshot.revision.clone() };
            return Self { answer, variant, revision, epochs, tip, rollout: None };
        };
        // The answers of a held application belong to one publication, so that the caller's snapshot does not matter.
        let tip = &held.published.snapshot;
        let snapshot = if side == Side::Stable { &held.hold.stable } else { tip };
        Self {
            revision: answer.revision_under(snapshot),
            answer,
            variant,
            epochs: held.hold.epochs.clone(),
            tip: tip.revision.clone(),
            rollout: Some(RolloutAt { id: Arc::clone(held.hold.choice.rollout()), side }),
        }
    }

    /// The environment in the variant of its reader. None if the content is no environment.
    pub fn served(&self) -> Option<&ServedEnvironment> {
        self.answer.served(self.variant)
    }

    /// The place of this answer in the order of the label's publications.
    pub fn position(&self) -> LabelPosition {
        LabelPosition { revision: self.revision.clone(), epochs: self.epochs.clone() }
    }

    /// Returns true if an older revision than the newest one is served, because of a problem or of a rollout.
    pub fn is_held_back(&self) -> bool {
        let is_stable = self.rollout.as_ref().is_some_and(|it| it.side == Side::Stable);
        is_stable || self.answer.held_revisions().next().is_some()
    }
}

impl AnswerHandle {
    pub(super) fn new(live: Arc<LiveLabel>, cell: Arc<AnswerCell>, variant: Variant) -> Self {
        live.record_use(&cell);
        let receiver = cell.answers.subscribe();
        Self { receiver, cell, live, variant, reader: Reader::default() }
    }

    /// The variant in which the answer is read.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The reader, which decides the side of a held application.
    pub fn reader(&self) -> Reader {
        self.reader
    }

    /// The same answer in a variant.
    pub fn in_variant(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }

    /// The same answer for an instance of a service.
    pub fn for_instance(self, instance: Option<InstanceKey>) -> Self {
        Self { reader: Reader { instance, shown: 0 }, ..self }
    }

    /// The identity of the answer. It is unique while a handle to the answer exists.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.cell).addr()
    }

    /// Counts a watcher of this answer until the result is dropped.
    pub fn count_watcher(&self) -> WatcherGuard {
        self.cell.watcher_count.fetch_add(1, Ordering::Relaxed);
        WatcherGuard(Arc::clone(&self.cell))
    }

    /// The present answer of the reader, with the position and the tip of the label.
    pub fn current(&self) -> AnswerAt {
        let published = self.live.published.load_full();
        self.live.record_use(&self.cell);
        AnswerAt::new(&published, &self.receiver.borrow(), self.variant, &self.reader)
    }

    /// The present answers of both sides.
    pub fn sides(&self) -> AnswerSides {
        let published = self.live.published.load_full();
        self.live.record_use(&self.cell);
        let answers = self.receiver.borrow().clone();
        AnswerSides { published, answers, variant: self.variant }
    }

    /// The time at which the publication of the present answers began.
    pub fn publication_begun(&self) -> Instant {
        let answers = self.receiver.borrow();
        let of_hold = answers.held.as_ref().map(|held| held.published.begun);
        of_hold.unwrap_or(answers.stable.publication_begun)
    }

    /// Waits until the label serves exactly this revision. Other revisions in between are ignored.
    ///
    /// # Errors
    /// When the label is gone.
    pub async fn wait_for_revision(&mut self, revision: &Revision) -> Result<(), LabelGoneError> {
        let mut sequence = self.live.sequence.subscribe();
        let mut gone = self.live.gone.subscribe();
        while self.live.published.load().snapshot.revision != *revision {
            tokio::select! {
                _ = sequence.changed() => {}
                _ = gone.wait_for(|gone| *gone) => return Err(LabelGoneError),
            }
        }
        Ok(())
    }

    /// Returns true if the answer of the reader is at a position or past it. An instance that shows the candidate of a
    /// rollout receives it from then on. A history that cannot be read counts as not containing the position.
    pub async fn has_reached(&mut self, seen: &LabelPosition) -> bool {
        if self.current().position() == *seen {
            return true;
        }
        let Ok(_permit) = self.live.history_permits.acquire().await else {
            return false;
        };
        let sides = self.sides();
        let (reader, seen) = (self.reader, seen.clone());
        let search = move || history::find_standing(&sides, &reader, &seen);
        let standing = tokio::task::spawn_blocking(search).await;
        match standing.unwrap_or(Ok(Standing::Behind)).unwrap_or(Standing::Behind) {
            Standing::Behind => false,
            Standing::Reached => true,
            Standing::ShowsCandidate { number } => {
                self.reader.shown = number;
                true
            }
        }
    }

    /// Waits until the answer of the reader is at a position or past it.
    ///
    /// # Errors
    /// When the label is gone.
    pub async fn wait_for_position(&mut self, seen: &LabelPosition) -> Result<(), LabelGoneError> {
        let mut sequence = self.live.sequence.subscribe();
        let mut gone = self.live.gone.subscribe();
        while !self.has_reached(seen).await {
            tokio::select! {
                _ = sequence.changed() => {}
                _ = gone.wait_for(|gone| *gone) => return Err(LabelGoneError),
            }
        }
        Ok(())
    }

    /// Waits until a reader can receive another content. Another revision of the same content does not end the wait.
    ///
    /// # Errors
    /// When the label is gone.
    pub async fn changed(&mut self) -> Result<(), LabelGoneError> {
        let mut gone = self.live.gone.subscribe();
        tokio::select! {
            _ = self.receiver.changed() => Ok(()),
            _ = gone.wait_for(|gone| *gone) => Err(LabelGoneError),
        }
    }
}

/// The answers of both sides at one moment, from which a reader is given one.
pub struct AnswerSides {
    published: Arc<PublishedSnapshot>,
    pub(super) answers: CellAnswers,
    variant: Variant,
}

impl AnswerSides {
    /// The snapshot at the tip of the label.
    pub(super) fn tip(&self) -> &Arc<Snapshot> {
        let held = self.answers.held.as_ref();
        held.map_or(&self.published.snapshot, |held| &held.published.snapshot)
    }

    /// The choice between the sides. None if no rollout holds the application.
    pub fn choice(&self) -> Option<SideChoice> {
        self.answers.held.as_ref().map(|held| held.hold.choice.clone())
    }

    /// The answer of a side.
    pub fn at(&self, side: Side) -> AnswerAt {
        AnswerAt::of_side(&self.published, &self.answers, self.variant, side)
    }
}

/// A counted watcher of an answer. Dropping it ends the count.
pub struct WatcherGuard(Arc<AnswerCell>);

impl Drop for WatcherGuard {
    fn drop(&mut self) {
        self.0.watcher_count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The source no longer has the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the label is gone")]
pub struct LabelGoneError;
