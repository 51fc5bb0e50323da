//! The doors to one answer: a [`Reader`] reads and watches it, a [`Door`] only reads and keeps nothing alive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::answer::Answer;
use super::cohort::{self, Cohort};
use super::live::{Live, Slot, View};
use crate::access::Caller;
use crate::model::{Query, Revision};

/// Where an answer is read and watched. Holding one keeps the answer alive.
#[derive(Clone)]
pub struct Reader {
    live: Arc<Live>,
    slot: Arc<Slot>,
    receiver: watch::Receiver<Arc<Answer>>,
}

/// An answer as it stands at one revision.
pub struct Reading {
    /// The answer.
    pub answer: Arc<Answer>,
    /// The revision that is served, held back or not.
    pub revision: Revision,
    /// The newest revision of the label.
    pub tip: Revision,
}

impl Reader {
    pub(super) fn new(live: Arc<Live>, slot: Arc<Slot>) -> Self {
        live.mark_used(&slot);
        Self { receiver: slot.answer.subscribe(), slot, live }
    }

    /// Tells the readers of one answer from those of another, for as long as one of them is held.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.slot).addr()
    }

    /// Counts a watcher of this answer for as long as the result is held.
    pub fn watched(&self) -> Watched {
        self.slot.watcher_count.fetch_add(1, Ordering::Relaxed);
        Watched(Arc::clone(&self.slot))
    }

    /// The present answer.
    pub fn current(&self) -> Reading {
        let view = self.live.view.load_full();
        self.live.mark_used(&self.slot);
        reading(&self.live, &view, Arc::clone(&self.receiver.borrow()))
    }

    /// Waits until the label serves exactly this revision; whatever it serves meanwhile is passed over.
    ///
    /// # Errors
    /// When the label is gone.
    pub async fn reached(&mut self, revision: &Revision) -> Result<(), Gone> {
        let mut moved = self.live.moved.subscribe();
        let mut gone = self.live.gone.subscribe();
        while self.live.view.load().snapshot.revision != *revision {
            tokio::select! {
                _ = moved.changed() => {}
                _ = gone.wait_for(|gone| *gone) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Whether the label has been at a revision: it is the newest one, or lies behind it. A history that cannot be read
    /// now says no.
    pub async fn knows(&self, revision: &str) -> bool {
        if self.live.view.load().snapshot.revision.as_str() == revision {
            return true;
        }
        let Ok(_turn) = self.live.history_turns.acquire().await else {
            return false;
        };
        let (live, wanted) = (Arc::clone(&self.live), revision.to_owned());
        let answer = Arc::clone(&self.receiver.borrow());
        let known = tokio::task::spawn_blocking(move || live.knows(&wanted, &answer)).await;
        known.is_ok_and(|known| known.unwrap_or(false))
    }

    /// Waits until the label has been at a revision.
    ///
    /// # Errors
    /// When the label is gone.
    pub async fn known(&mut self, revision: &str) -> Result<(), Gone> {
        let mut moved = self.live.moved.subscribe();
        let mut gone = self.live.gone.subscribe();
        while !self.knows(revision).await {
            tokio::select! {
                _ = moved.changed() => {}
                _ = gone.wait_for(|gone| *gone) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Waits for another content; another revision of the same wakes nobody.
    ///
    /// # Errors
    /// When the label is gone.
    pub async fn changed(&mut self) -> Result<(), Gone> {
        let mut gone = self.live.gone.subscribe();
        tokio::select! {
            _ = self.receiver.changed() => Ok(()),
            _ = gone.wait_for(|gone| *gone) => Err(Gone),
        }
    }
}

/// A watcher of an answer.
pub struct Watched(Arc<Slot>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.watcher_count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The source no longer has the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the label is gone")]
pub struct Gone;

fn reading(live: &Live, view: &View, answer: Arc<Answer>) -> Reading {
    let revision = live.revision_of(view, &answer);
    let tip = match answer.sequence > view.sequence {
        true => revision.clone(),
        false => view.snapshot.revision.clone(),
    };
    Reading { answer, revision, tip }
}

/// A door that stays open: reads a cached answer again and again, without waiting and without keeping it alive.
#[derive(Clone)]
pub struct Door {
    live: Weak<Live>,
    slot: Weak<Slot>,
    moves: Arc<AtomicU64>,
    cohort: Cohort,
}

/// A moment at which a label stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

impl Door {
    pub(super) fn new(live: &Arc<Live>, slot: &Arc<Slot>, cohort: Cohort) -> Self {
        let moves = Arc::clone(&live.moves);
        Self { live: Arc::downgrade(live), slot: Arc::downgrade(slot), moves, cohort }
    }

    /// Whether it leads where this caller is to be led.
    pub fn is_for(&self, caller: &Caller, query: &Query) -> bool {
        cohort::choose(caller, query) == self.cohort
    }

    /// This moment, unless the label is just being moved. Taken before [`Door::current`], it tells for how long that
    /// reading is the present one.
    pub fn moment(&self) -> Option<Moment> {
        let moves = self.moves.load(Ordering::Acquire);
        moves.is_multiple_of(2).then_some(Moment(moves))
    }

    /// Whether what was read at a moment is the present answer still. Touches nothing that other threads write, as long
    /// as the label stands still.
    pub fn unmoved_since(&self, moment: Moment) -> bool {
        self.moves.load(Ordering::Acquire) == moment.0
            && self.live.strong_count() > 0
            && self.slot.strong_count() > 0
    }

    /// The present answer, unless it was forgotten or its label is gone.
    pub fn current(&self) -> Option<Reading> {
        let (live, slot) = (self.live.upgrade()?, self.slot.upgrade()?);
        if *live.gone.borrow() {
            return None;
        }
        let view = live.view.load_full();
        live.mark_used(&slot);
        let answer = Arc::clone(&slot.answer.borrow());
        Some(reading(&live, &view, answer))
    }
}
