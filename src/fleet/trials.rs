//! Trials: instances are asked whether they would accept content that is not published yet.
//!
//! An event stream whose client offers to try content is registered here. A push begins a trial at the stream of one
//! instance, and the instance answers in a request of its own. Only the first answer counts, from the same instance, run,
//! environment and principal as the stream, and with the id of the trial, which is sent nowhere else.
//!
//! Invariant: the content of a trial is held by the trial and by the connection that it is sent on, and is kept nowhere else.
//!
//! Locking: the lock of the state may be taken while no other lock is held, and the lock of a slot inside of it.

mod inbox;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use headwater_wire::Outcome;
use tokio::sync::oneshot;

use super::instances::Instance;
use super::report::Reason;
use crate::model::Query;
use crate::sync::lock;
use inbox::Slot;

pub use inbox::{TrialInbox, TrialQuestion};

/// The most bytes of one candidate. A client accepts no larger environment.
const CANDIDATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most bytes of all candidates that are being sent.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The streams that offer to try content, and the trials in progress.
#[derive(Default)]
pub struct Trials {
    state: Mutex<TrialState>,
    /// The number of streams, which is read without the lock.
    offer_count: AtomicUsize,
    /// The bytes of all candidates.
    bytes: Arc<AtomicUsize>,
}

#[derive(Default)]
struct TrialState {
    last_number: u64,
    streams: HashMap<u64, OfferingStream>,
    /// The trials in progress by their ids.
    open: HashMap<String, OpenTrial>,
}

/// A stream that offers to try content.
struct OfferingStream {
    speaker: Speaker,
    opens: bool,
    slot: Arc<Slot>,
    /// The number of consecutive trials without an answer.
    missed_count: u32,
}

struct OpenTrial {
    stream: u64,
    answer: oneshot::Sender<TrialAnswer>,
}

/// The run of an instance that a request speaks for, and the principal of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The name of the instance.
    pub name: Box<str>,
    /// Its run.
    pub incarnation: Option<Box<str>>,
    /// The environment that it follows.
    pub query: Query,
    /// The principal, or the kind of caller without a policy.
    pub principal: Arc<str>,
}

/// An offer of a stream to try content.
#[derive(Debug, Clone)]
pub struct TrialOffer {
    /// The number of the stream.
    pub stream: u64,
    /// The instance.
    pub speaker: Speaker,
    /// True if its principal receives opened values.
    pub opens: bool,
    /// The number of consecutive trials without an answer.
    pub missed_count: u32,
}

/// The answer of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialAnswer {
    pub outcome: Outcome,
    /// Why it would reject the content: a word and perhaps a key.
    pub reason: Option<Reason>,
}

/// The content of a trial: the environment as JSON, which the trials of all instances with the same environment share.
#[derive(Clone)]
pub struct Candidate(Bytes);

/// A candidate with its bytes in the limit of all candidates.
struct CountedJson {
    json: Vec<u8>,
    bytes: Arc<AtomicUsize>,
}

/// A trial in progress. Dropping it ends the trial: a later answer is ignored, and content that was not sent is dropped.
pub struct Trial {
    trials: Arc<Trials>,
    id: String,
    stream: u64,
    slot: Arc<Slot>,
    answer: oneshot::Receiver<TrialAnswer>,
    is_answered: bool,
}

impl Trials {
    /// Registers a stream, until the result is dropped.
    pub fn offer(self: &Arc<Self>, speaker: Speaker, opens: bool) -> TrialInbox {
        let slot = Arc::<Slot>::default();
        let mut state = lock(&self.state);
        state.last_number += 1;
        let number = state.last_number;
        let stream = OfferingStream { speaker, opens, slot: Arc::clone(&slot), missed_count: 0 };
        state.streams.insert(number, stream);
        self.offer_count.store(state.streams.len(), Ordering::Relaxed);
        TrialInbox::new(Arc::clone(self), number, slot)
    }

    /// Returns true if some stream offers to try content. Takes no lock.
    pub fn has_offers(&self) -> bool {
        self.offer_count.load(Ordering::Relaxed) > 0
    }

    /// Returns the distinct environments of the streams.
    pub fn queries(&self) -> HashSet<Query> {
        lock(&self.state).streams.values().map(|stream| stream.speaker.query.clone()).collect()
    }

    /// Returns the offers for the environments that `is_wanted` selects. It is called under the lock.
    pub fn offers(&self, is_wanted: impl Fn(&Query) -> bool) -> Vec<TrialOffer> {
        let state = lock(&self.state);
        let wanted = state.streams.iter().filter(|(_, stream)| is_wanted(&stream.speaker.query));
        let offer = |(number, stream): (&u64, &OfferingStream)| TrialOffer {
            stream: *number,
            speaker: stream.speaker.clone(),
            opens: stream.opens,
            missed_count: stream.missed_count,
        };
        wanted.map(offer).collect()
    }

    /// Marks the runs of instances that offer to try content.
    pub(super) fn mark_offers(&self, instances: &mut [Instance]) {
        if !self.has_offers() {
            return;
        }
        let state = lock(&self.state);
        let speakers = state.streams.values().map(|stream| &stream.speaker);
        let runs: HashSet<_> =
            speakers.map(|it| (&*it.name, it.incarnation.as_deref(), &it.query)).collect();
        for it in instances {
            it.tries = runs.contains(&(&*it.name, it.incarnation.as_deref(), &it.query));
        }
    }

    /// Takes the JSON of a candidate. Returns `None` if it is too large, or if there is no room for it beside those that are
    /// being sent.
    pub fn candidate(&self, json: Vec<u8>) -> Option<Candidate> {
        let length = json.len();
        let fits = |used: usize| used.checked_add(length).filter(|used| *used <= BYTES_MAX);
        if length > CANDIDATE_BYTES_MAX {
            return None;
        }
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        let bytes = Arc::clone(&self.bytes);
        Some(Candidate(Bytes::from_owner(CountedJson { json, bytes })))
    }

    /// Asks the instance of a stream. Returns `None` if the stream has ended, or has not taken the content of another trial
    /// yet. No other trial has this id.
    pub fn begin(
        self: &Arc<Self>,
        stream: u64,
        id: String,
        candidate: &Candidate,
    ) -> Option<Trial> {
        let (answer, receiver) = oneshot::channel();
        let (slot, waker) = {
            let mut state = lock(&self.state);
            let slot = Arc::clone(&state.streams.get(&stream)?.slot);
            let question = TrialQuestion { id: id.clone(), json: candidate.0.clone() };
            let waker = slot.put(question).ok()?;
            state.open.insert(id.clone(), OpenTrial { stream, answer });
            (slot, waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        let trials = Arc::clone(self);
        Some(Trial { trials, id, stream, slot, answer: receiver, is_answered: false })
    }

    /// Records an answer. Anything but the first answer of the instance that was asked is ignored.
    pub fn record_answer(&self, speaker: &Speaker, id: &str, answer: TrialAnswer) {
        let mut state = lock(&self.state);
        let stream = state.open.get(id).and_then(|open| state.streams.get(&open.stream));
        if stream.is_none_or(|stream| stream.speaker != *speaker) {
            return;
        }
        if let Some(open) = state.open.remove(id) {
            // The push may have ended its trials.
            let _ = open.answer.send(answer);
        }
    }

    /// Removes a stream. Its trials end without an answer.
    fn remove(&self, stream: u64) {
        let mut state = lock(&self.state);
        state.streams.remove(&stream);
        state.open.retain(|_, open| open.stream != stream);
        self.offer_count.store(state.streams.len(), Ordering::Relaxed);
    }
}

impl Trial {
    /// Waits for the answer. Returns `None` if the stream has ended without one.
    ///
    /// Cancellation: dropping the future loses no answer.
    pub async fn answer(&mut self) -> Option<TrialAnswer> {
        let answer = (&mut self.answer).await.ok();
        self.is_answered |= answer.is_some();
        answer
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.slot.remove(&self.id);
        let mut state = lock(&self.trials.state);
        state.open.remove(&self.id);
        if let Some(stream) = state.streams.get_mut(&self.stream) {
            let missed = stream.missed_count.saturating_add(1);
            stream.missed_count = if self.is_answered { 0 } else { missed };
        }
    }
}

impl AsRef<[u8]> for CountedJson {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

impl Drop for CountedJson {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.json.len(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({} bytes)", self.0.len())
    }
}
