//! Repeated reads of one answer by the hot path. A cached answer keeps neither the answer nor its label alive.

use std::sync::{Arc, Weak};

use super::answer_cell::AnswerCell;
use super::answer_handle::AnswerAt;
use super::holds::Reader;
use super::live_label::LiveLabel;
use super::sequence_lock::{SequenceLock, SequenceStamp};
use crate::reveal::Variant;

/// A weak handle to a kept answer, for repeated reads that neither wait nor keep the answer alive.
#[derive(Clone)]
pub struct CachedAnswer {
    live: Weak<LiveLabel>,
    cell: Weak<AnswerCell>,
    sequence_lock: Arc<SequenceLock>,
}

impl CachedAnswer {
    pub(super) fn new(live: &Arc<LiveLabel>, cell: &Arc<AnswerCell>) -> Self {
        let sequence_lock = Arc::clone(&live.sequence_lock);
        Self { live: Arc::downgrade(live), cell: Arc::downgrade(cell), sequence_lock }
    }

    /// Returns a stamp for a following read. None while the label is being moved.
    ///
    /// Invariant: the result of [`CachedAnswer::current`] stays the present answer for as long as
    /// [`CachedAnswer::is_current`] accepts a stamp that was taken before the read.
    pub fn stamp(&self) -> Option<SequenceStamp> {
        self.sequence_lock.stamp()
    }

    /// Returns true if the answer that was read after the stamp is still the present one. Writes nothing, so that
    /// readers on several processors do not contend.
    pub fn is_current(&self, stamp: SequenceStamp) -> bool {
        self.sequence_lock.is_current(stamp)
            && self.live.strong_count() > 0
            && self.cell.strong_count() > 0
    }

    /// Returns the present answer in a variant, for a reader without a name. None if it was forgotten or its label is
    /// gone.
    pub fn current(&self, variant: Variant) -> Option<AnswerAt> {
        let (live, cell) = (self.live.upgrade()?, self.cell.upgrade()?);
        if *live.gone.borrow() {
            return None;
        }
        let published = live.published.load_full();
        live.record_use(&cell);
        let answers = cell.answers.borrow();
        Some(AnswerAt::new(&published, &answers, variant, &Reader::default()))
    }
}
