//! The answers to one query of a label, with their watchers. The cell stays the same while publications replace the
//! answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use tokio::sync::watch;

use super::answer::Answer;
use super::cell_answers::CellAnswers;

/// The present answers to one query.
pub(super) struct AnswerCell {
    pub(super) answers: watch::Sender<CellAnswers>,
    /// The number of clients that watch the answers. Several clients may share one receiver.
    pub(super) watcher_count: AtomicUsize,
    /// The time of the last request, in seconds since the label was loaded.
    pub(super) used_seconds: AtomicU64,
}

impl AnswerCell {
    pub(super) fn new(answers: CellAnswers, now_seconds: u64) -> Self {
        Self {
            answers: watch::Sender::new(answers),
            watcher_count: AtomicUsize::new(0),
            used_seconds: AtomicU64::new(now_seconds),
        }
    }

    /// Returns the present answer of a reader that is no canary.
    pub(super) fn load(&self) -> Arc<Answer> {
        Arc::clone(&self.answers.borrow().stable)
    }

    /// Returns the present answers of both sides.
    pub(super) fn load_all(&self) -> CellAnswers {
        self.answers.borrow().clone()
    }

    /// Replaces the answers. Watchers wake if one of them can receive another content, and not for another revision of the
    /// same content.
    pub(super) fn replace(&self, answers: &CellAnswers) {
        self.answers.send_if_modified(|current| {
            let differs = current.differs(answers);
            *current = answers.clone();
            differs
        });
    }
}
