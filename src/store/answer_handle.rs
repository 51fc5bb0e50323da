//! Access to one answer for requests and watchers. A handle keeps the answer and its label alive.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::answer::{Answer, ServedEnvironment};
use super::answer_cell::AnswerCell;
use super::history;
use super::live_label::LiveLabel;
use super::published_snapshot::PublishedSnapshot;
use crate::model::{Epochs, LabelPosition, Revision};
use crate::reveal::Variant;

/// A handle to read and watch one answer in one variant. Holding it keeps the answer alive.
#[derive(Clone)]
pub struct AnswerHandle {
    live: Arc<LiveLabel>,
    cell: Arc<AnswerCell>,
    receiver: watch::Receiver<Arc<Answer>>,
    variant: Variant,
}

/// An answer at one revision, in the variant of its reader.
pub struct AnswerAt {
    pub answer: Arc<Answer>,
    variant: Variant,
    /// The served revision. It is an older one while the environment is held back.
    pub revision: Revision,
    /// The epochs in which the label was published. None if it was never rewound.
    pub epochs: Option<Epochs>,
    /// The newest revision of the label.
    pub tip: Revision,
}

impl AnswerAt {
    /// Combines an answer with its position under a published snapshot.
    pub(super) fn new(
        published: &PublishedSnapshot,
        answer: Arc<Answer>,
        variant: Variant,
    ) -> Self {
        let LabelPosition { revision, epochs } = answer.position_under(published);
        let is_newer = answer.sequence > published.sequence;
        let tip = if is_newer { revision.clone() } else { published.snapshot.revision.clone() };
        Self { answer, variant, revision, epochs, tip }
    }

    /// The environment in the variant of its reader. None if the content is no environment.
    pub fn served(&self) -> Option<&ServedEnvironment> {
        self.answer.served(self.variant)
    }

    /// The place of this answer in the order of the label's publications.
    pub fn position(&self) -> LabelPosition {
        LabelPosition { revision: self.revision.clone(), epochs: self.epochs.clone() }
    }
}

impl AnswerHandle {
    pub(super) fn new(live: Arc<LiveLabel>, cell: Arc<AnswerCell>, variant: Variant) -> Self {
        live.record_use(&cell);
        Self { receiver: cell.answer.subscribe(), cell, live, variant }
    }

    /// The variant in which the answer is read.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The same answer in a variant.
    pub fn in_variant(self, variant: Variant) -> Self {
        Self { variant, ..self }
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

    /// The present answer, with the position and the tip of the label.
    pub fn current(&self) -> AnswerAt {
        let published = self.live.published.load_full();
        self.live.record_use(&self.cell);
        AnswerAt::new(&published, Arc::clone(&self.receiver.borrow()), self.variant)
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

    /// Returns true if the label is at a position or past it. A history that cannot be read counts as not containing
    /// the position.
    pub async fn has_reached(&self, seen: &LabelPosition) -> bool {
        let is_here = {
            let snapshot = &self.live.published.load().snapshot;
            snapshot.revision == seen.revision && snapshot.epochs == seen.epochs
        };
        if is_here {
            return true;
        }
        let Ok(_permit) = self.live.history_permits.acquire().await else {
            return false;
        };
        let (live, seen) = (Arc::clone(&self.live), seen.clone());
        let answer = Arc::clone(&self.receiver.borrow());
        let search = move || {
            let snapshot = &live.published.load_full().snapshot;
            history::has_reached(snapshot, &seen, &answer)
        };
        let reached = tokio::task::spawn_blocking(search).await;
        reached.is_ok_and(|reached| reached.unwrap_or(false))
    }

    /// Waits until the label is at a position or past it.
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

    /// Waits for another content. Another revision of the same content does not end the wait.
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
