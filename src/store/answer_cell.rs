//! One answer of a label with its watchers. The cell stays the same while publications replace the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use tokio::sync::watch;

use super::answer::Answer;

/// The present answer to one query.
pub(super) struct AnswerCell {
    pub(super) answer: watch::Sender<Arc<Answer>>,
    /// The number of clients that watch the answer. Several clients may share one receiver.
    pub(super) watcher_count: AtomicUsize,
    /// The time of the last request, in seconds since the label was loaded.
    pub(super) used_seconds: AtomicU64,
}

impl AnswerCell {
    pub(super) fn new(answer: Answer, now_seconds: u64) -> Self {
        Self {
            answer: watch::Sender::new(Arc::new(answer)),
            watcher_count: AtomicUsize::new(0),
            used_seconds: AtomicU64::new(now_seconds),
        }
    }

    /// Returns the present answer.
    pub(super) fn load(&self) -> Arc<Answer> {
        Arc::clone(&self.answer.borrow())
    }

    /// Replaces the answer. Watchers wake for another content, and not for another revision of the same content.
    pub(super) fn replace(&self, answer: &Arc<Answer>) {
        self.answer.send_if_modified(|current| {
            let differs = current.differs(answer);
            *current = Arc::clone(answer);
            differs
        });
    }
}
