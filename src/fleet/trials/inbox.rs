//! The questions for one stream, from the thread of a push to the thread of the stream. There is at most one.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::Bytes;

use super::Trials;
use crate::sync::lock;

/// The place for the next question of a stream.
#[derive(Default)]
pub(super) struct Slot(Mutex<SlotState>);

#[derive(Default)]
struct SlotState {
    question: Option<TrialQuestion>,
    /// The waker of the connection that waits for a question.
    waker: Option<Waker>,
}

/// A question for an instance.
pub struct TrialQuestion {
    /// The id of the trial, which the answer repeats.
    pub id: String,
    /// The environment as JSON in one line. The questions to other instances share it.
    pub json: Bytes,
}

/// The place has a question that the stream has not taken.
#[derive(Debug)]
pub(super) struct BusyError;

/// The stream's end: the questions for it. Dropping it ends the offer of the stream.
pub struct TrialInbox {
    trials: Arc<Trials>,
    stream: u64,
    slot: Arc<Slot>,
}

impl Slot {
    /// Puts a question in the place. Returns the waker of the stream, which the caller wakes without a lock.
    pub(super) fn put(&self, question: TrialQuestion) -> Result<Option<Waker>, BusyError> {
        let mut state = lock(&self.0);
        if state.question.is_some() {
            return Err(BusyError);
        }
        state.question = Some(question);
        Ok(state.waker.take())
    }

    /// Removes a question that the stream has not taken.
    pub(super) fn remove(&self, id: &str) {
        let mut state = lock(&self.0);
        if state.question.as_ref().is_some_and(|question| question.id == id) {
            state.question = None;
        }
    }
}

impl TrialInbox {
    pub(super) fn new(trials: Arc<Trials>, stream: u64, slot: Arc<Slot>) -> Self {
        Self { trials, stream, slot }
    }

    /// Takes the next question, or wakes the task when there is one.
    pub fn poll_question(&self, cx: &mut Context<'_>) -> Option<TrialQuestion> {
        let mut state = lock(&self.slot.0);
        let question = state.question.take();
        if question.is_none() {
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                waker => *waker = Some(cx.waker().clone()),
            }
        }
        question
    }
}

impl Drop for TrialInbox {
    fn drop(&mut self) {
        self.trials.remove(self.stream);
    }
}
