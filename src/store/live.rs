//! A label that is being served: its view, and the answers that were asked for.
//!
//! The order is everything here. A publisher first replaces the answers that the new revision concerns and then swaps
//! the view; a reader first takes the view and then the answer. So who sees the new view sees all of its answers, and
//! who sees a new answer under the old view is told the revision that the answer was made for. `moves` is odd from before
//! the first of this until after the last: whoever read it even, and reads the same again, has missed nothing between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use super::answer::Answer;
use super::build::{self, Additions};
use super::told::Told;
use crate::catalog::{self, Catalog};
use crate::check::InUse;
use crate::model::{Label, Query, Revision};
use crate::resolve::Differences;
use crate::snapshot::{Member, Snapshot};
use crate::sync::{lock, read, write};
use crate::tree::TreeError;

/// How many look for a revision in a label's history at a time.
const HISTORY_TURN_COUNT: usize = 4;

/// One revision of a label, whole.
pub(super) struct View {
    /// Counts the moves of this label since the server began to serve it.
    pub sequence: u64,
    /// What is served.
    pub snapshot: Arc<Snapshot>,
}

/// A label that is being served.
pub(super) struct Live {
    pub(super) label: Label,
    pub(super) view: ArcSwap<View>,
    slots: RwLock<HashMap<Query, Arc<Slot>>>,
    /// Of all slots together. Changed under the lock of `slots` only.
    path_count: AtomicUsize,
    /// Odd while the label is being moved; two more after every move.
    pub(super) moves: Arc<AtomicU64>,
    /// One publisher at a time; readers never take it.
    publishing: Mutex<()>,
    /// Held from before a snapshot is loaded until it is published.
    pub(super) advancing: tokio::sync::Mutex<()>,
    /// The number of the present view, for those who wait for the label to move at all.
    pub(super) moved: watch::Sender<u64>,
    /// Whether the source no longer has the label. Apart from `moved`, so that a move wakes no watcher in vain.
    pub(super) gone: watch::Sender<bool>,
    /// Reading a history takes a while: so many do it at a time, whatever revisions are asked for.
    pub(super) history_turns: Semaphore,
    stale: Mutex<Option<Stale>>,
    /// What was said of it in the log.
    pub(super) told: Told,
    /// What the view with this number speaks of, once somebody has asked.
    catalog: Mutex<Option<(u64, Catalog)>>,
    begun: Instant,
    used_seconds: AtomicU64,
    /// Ends the task that follows the source when the label is forgotten.
    pub(super) follower: Mutex<Option<tokio::task::AbortHandle>>,
}

/// Since when, and why, a source has not been heard of.
#[derive(Debug, Clone)]
pub(super) struct Stale {
    /// When the first attempt failed.
    pub since: Instant,
    /// The last error.
    pub message: String,
}

/// One answer of a label and those who watch it.
pub(super) struct Slot {
    pub(super) answer: watch::Sender<Arc<Answer>>,
    /// How many clients watch it; several may share one receiver.
    pub(super) watcher_count: AtomicUsize,
    /// How many paths its first answer looked for, which is most of what it takes to keep it.
    path_count: usize,
    used_seconds: AtomicU64,
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(follower) = lock(&self.follower).take() {
            follower.abort();
        }
    }
}

impl Live {
    pub(super) fn new(label: Label, snapshot: Arc<Snapshot>) -> Self {
        Self {
            label,
            view: ArcSwap::from_pointee(View { sequence: 0, snapshot }),
            slots: RwLock::default(),
            path_count: AtomicUsize::new(0),
            moves: Arc::default(),
            publishing: Mutex::default(),
            advancing: tokio::sync::Mutex::default(),
            moved: watch::Sender::new(0),
            gone: watch::Sender::new(false),
            history_turns: Semaphore::new(HISTORY_TURN_COUNT),
            stale: Mutex::default(),
            told: Told::default(),
            catalog: Mutex::default(),
            begun: Instant::now(),
            used_seconds: AtomicU64::new(0),
            follower: Mutex::default(),
        }
    }

    fn now_seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    /// The slot of a query that was asked for before.
    pub(super) fn slot(&self, query: &Query) -> Option<Arc<Slot>> {
        let slots = read(&self.slots);
        slots.get(query).cloned()
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        let slots = read(&self.slots);
        slots.values().cloned().collect()
    }

    pub(super) fn slot_count(&self) -> usize {
        read(&self.slots).len()
    }

    pub(super) fn mark_used(&self, slot: &Slot) {
        let now = self.now_seconds();
        // Looked at before it is written: what nobody writes, all processors may keep.
        for used in [&slot.used_seconds, &self.used_seconds] {
            if used.load(Ordering::Relaxed) != now {
                used.store(now, Ordering::Relaxed);
            }
        }
    }

    /// Seconds since anyone asked for anything here; zero while someone watches.
    pub(super) fn idle_seconds(&self) -> u64 {
        if self.slots().iter().any(|slot| slot.answer.receiver_count() > 0) {
            return 0;
        }
        self.now_seconds().saturating_sub(self.used_seconds.load(Ordering::Relaxed))
    }

    /// Makes the answer to a query that was not asked for before and keeps it. Blocking.
    pub(super) fn answer(
        &self,
        query: &Query,
        additions: &Additions,
    ) -> Result<Arc<Slot>, TreeError> {
        loop {
            if let Some(slot) = self.slot(query) {
                return Ok(slot);
            }
            let view = self.view.load_full();
            let answer = build::build(query, &view.snapshot, view.sequence, additions, None)?;
            let mut slots = write(&self.slots);
            if self.view.load().sequence != view.sequence {
                continue;
            }
            let slot = slots.entry(query.clone()).or_insert_with(|| {
                self.told.asked(&self.label, &answer);
                let path_count = answer.path_count();
                self.path_count.fetch_add(path_count, Ordering::Relaxed);
                Arc::new(Slot {
                    path_count,
                    answer: watch::Sender::new(Arc::new(answer)),
                    watcher_count: AtomicUsize::new(0),
                    used_seconds: AtomicU64::new(self.now_seconds()),
                })
            });
            return Ok(Arc::clone(slot));
        }
    }

    /// Moves the label to a new snapshot. Answers that it does not concern go over untouched; of the others only those
    /// whose content differs wake anyone. Blocking.
    pub(super) fn publish(
        &self,
        snapshot: Arc<Snapshot>,
        additions: &Additions,
    ) -> Result<Published, TreeError> {
        let _one_at_a_time = lock(&self.publishing);
        let old = self.view.load_full();
        let sequence = old.sequence + 1;
        let changes = Differences::between(&old.snapshot, &snapshot)?;
        let mut made = HashMap::new();
        loop {
            for slot in self.slots() {
                let before = Arc::clone(&slot.answer.borrow());
                if made.contains_key(&before.query) || !concern(&changes, &before) {
                    continue;
                }
                let answer =
                    build::build(&before.query, &snapshot, sequence, additions, Some(&before))?;
                made.insert(before.query.clone(), (slot, before, Arc::new(answer)));
            }
            // Answers that were asked for meanwhile were made from the old view, and go round once more.
            let slots = write(&self.slots);
            let late = slots.values().any(|slot| {
                let answer = slot.answer.borrow();
                !made.contains_key(&answer.query) && concern(&changes, &answer)
            });
            if late {
                continue;
            }
            self.moves.fetch_add(1, Ordering::AcqRel);
            for (slot, _, answer) in made.values() {
                replace(slot, answer);
            }
            self.view.store(Arc::new(View { sequence, snapshot }));
            self.moves.fetch_add(1, Ordering::AcqRel);
            self.moved.send_replace(sequence);
            drop(slots);
            let made = made.into_values().map(|(_, before, now)| (before, now)).collect();
            return Ok(Published { from: Arc::clone(&old.snapshot), made, differences: changes });
        }
    }

    /// The environments that a move to a snapshot may change, with how many watch each. Blocking.
    pub(super) fn concerned_by(&self, next: &Snapshot) -> Result<Vec<InUse>, TreeError> {
        let changes = Differences::between(&self.view.load_full().snapshot, next)?;
        let mut concerned = Vec::new();
        for slot in self.slots() {
            let answer = Arc::clone(&slot.answer.borrow());
            if concern(&changes, &answer) {
                let watcher_count = slot.watcher_count.load(Ordering::Relaxed);
                concerned.push(InUse { query: answer.query.clone(), watcher_count });
            }
        }
        Ok(concerned)
    }

    /// How many paths its answers looked for, all together.
    pub(super) fn path_count(&self) -> usize {
        self.path_count.load(Ordering::Relaxed)
    }

    /// The answers that nobody holds, each with the seconds since it was asked for.
    pub(super) fn idle_answers(&self) -> Vec<(u64, Query)> {
        let slots = read(&self.slots);
        let now = self.now_seconds();
        let idle = slots.iter().filter(|(_, slot)| Arc::strong_count(slot) == 1);
        idle.map(|(query, slot)| {
            (now.saturating_sub(slot.used_seconds.load(Ordering::Relaxed)), query.clone())
        })
        .collect()
    }

    /// Forgets an answer unless somebody holds it: a watcher, a reader on its way in, or a publisher, who would otherwise
    /// replace an answer that is asked for no more. Gives the number of paths that it looked for.
    pub(super) fn forget(&self, query: &Query) -> Option<usize> {
        let mut slots = write(&self.slots);
        if Arc::strong_count(slots.get(query)?) > 1 {
            return None;
        }
        let path_count = slots.remove(query)?.path_count;
        self.path_count.fetch_sub(path_count, Ordering::Relaxed);
        Some(path_count)
    }

    /// What a view of this label speaks of; read once for each view. Blocking.
    pub(super) fn catalog(&self, view: &View) -> Result<Catalog, TreeError> {
        if let Some((_, known)) =
            lock(&self.catalog).as_ref().filter(|(at, _)| *at == view.sequence)
        {
            return Ok(known.clone());
        }
        let catalog = catalog::catalog(&view.snapshot)?;
        *lock(&self.catalog) = Some((view.sequence, catalog.clone()));
        Ok(catalog)
    }

    pub(super) fn set_stale(&self, message: Option<String>) {
        let mut stale = lock(&self.stale);
        *stale = message.map(|message| Stale {
            since: stale.as_ref().map_or_else(Instant::now, |stale| stale.since),
            message,
        });
    }

    pub(super) fn stale(&self) -> Option<Stale> {
        lock(&self.stale).clone()
    }

    /// Whether the label is at a revision or, as far as last good revisions are looked for, was. The revision is one of the
    /// label, or of an answer in which only some members had a say. Blocking.
    pub(super) fn knows(&self, revision: &str, answer: &Answer) -> Result<bool, TreeError> {
        let view = self.view.load_full();
        if view.snapshot.revision.as_str() == revision {
            return Ok(true);
        }
        let parts: Vec<&str> = revision.split(',').collect();
        let all = &view.snapshot.members;
        let members: Vec<&Member> = match parts.len() == all.len() {
            true => all.iter().collect(),
            false => answer.members.iter().filter_map(|member| all.get(member.index)).collect(),
        };
        if parts.len() != members.len() {
            return Ok(false);
        }
        for (member, wanted) in members.into_iter().zip(parts) {
            if member.revision.as_str() != wanted && !build::is_behind(member, wanted)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the label, as a whole, is at a revision or was, as far as last good revisions are looked for; nothing
    /// where a member that differs has no history. Blocking.
    pub(super) fn was_at(&self, revision: &str) -> Result<Option<bool>, TreeError> {
        let view = self.view.load_full();
        let members = &view.snapshot.members;
        let parts: Vec<&str> = revision.split(',').collect();
        if parts.len() != members.len() {
            return Ok(Some(false));
        }
        let is_elsewhere = |(member, part): &(&Member, &str)| member.revision.as_str() != *part;
        for (member, part) in members.iter().zip(parts).filter(is_elsewhere) {
            if member.history.is_none() {
                return Ok(None);
            }
            if !build::is_behind(member, part)? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    /// The revision that an answer is served at, in the present view.
    pub(super) fn revision_of(&self, view: &View, answer: &Answer) -> Revision {
        answer.revision_in(view.sequence, &view.snapshot)
    }
}

/// What a move has done.
pub(super) struct Published {
    /// What the label stood for.
    pub(super) from: Arc<Snapshot>,
    /// The answers that were made anew, each after what it took the place of.
    pub(super) made: Vec<(Arc<Answer>, Arc<Answer>)>,
    pub(super) differences: Differences,
}

/// Watchers are told of another content only; another revision of the same is replaced in silence.
fn replace(slot: &Slot, answer: &Arc<Answer>) {
    slot.answer.send_if_modified(|current| {
        let differs = current.differs(answer);
        *current = Arc::clone(answer);
        differs
    });
}

/// Whether an answer may be another one now. What does not stand at the newest revision depends on all of the history,
/// which a rewind changes and a bound cuts off: that is looked at every time.
fn concern(differences: &Differences, answer: &Answer) -> bool {
    answer.depends_on_history()
        || matches!(differences, Differences::Everything)
        || answer.members.iter().any(|member| differences.touch(member.index, &member.asked))
}
