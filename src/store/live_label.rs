//! One served label: its published snapshot and its answers.
//!
//! Invariant: a reader that sees a published snapshot sees every answer computed from it. A publisher makes the answers
//! that the new snapshot affects, replaces them, and swaps the published snapshot last. A reader loads the published
//! snapshot first and the answer second. A reader that sees a new answer under the old snapshot receives the revision
//! that the answer was made for.
//!
//! Invariant: the write of `sequence_lock` lasts from before the first replacement until after the swap. A reader whose
//! stamp is current has missed no change.
//!
//! A publisher announces its snapshot before it makes any answer. A first request after the announcement makes its
//! answer for the published snapshot and for the announced one (`answer_cells`). Publishing is therefore one pass over
//! the answers that existed before, independent of the number of requests.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::answer::Answer;
use super::answer_cell::AnswerCell;
use super::answer_cells::AnswerCells;
use super::build::{self, AnswerBuilder};
use super::cell_answers::is_affected;
use super::first_answer::{FirstAnswer, FirstAnswerInputs};
use super::holds::Hold;
use super::problem_log::ProblemLog;
use super::publication::{AnswerReplacement, CompletedPublication, Publication, ReplacedAnswer};
use super::published_snapshot::PublishedSnapshot;
use super::sequence_lock::SequenceLock;
use crate::catalog::{self, Catalog};
use crate::check::EnvironmentInUse;
use crate::model::{Label, Query, Revision};
use crate::outage::Connectivity;
use crate::resolve::Differences;
use crate::snapshot::{Member, Snapshot};
use crate::sync::{lock, read, write};
use crate::tree::TreeError;

/// The limit on concurrent searches of a label's history for a revision.
const HISTORY_SEARCH_COUNT_MAX: usize = 4;

/// A served label.
pub(super) struct LiveLabel {
    pub(super) label: Label,
    pub(super) published: ArcSwap<PublishedSnapshot>,
    cells: RwLock<AnswerCells>,
    /// Shared with cached answers, which do not keep the label alive.
    pub(super) sequence_lock: Arc<SequenceLock>,
    /// Locking: held by the publisher from the computation of differences until after the switch. Readers never take
    /// it.
    publish_lock: Mutex<()>,
    /// Locking: held from before a snapshot is loaded until it is published.
    pub(super) refresh_lock: tokio::sync::Mutex<()>,
    /// The sequence number of the published snapshot, for readers that wait for any publication.
    pub(super) sequence: watch::Sender<u64>,
    /// Set once, when the source stops listing the label. It is separate from `sequence`, so that a publication does
    /// not wake watchers that wait for the end of the label.
    pub(super) gone: watch::Sender<bool>,
    /// The permits for searches of the history, which take time. They are shared by the searches for all revisions.
    pub(super) history_permits: Semaphore,
    /// The connectivity to the source, as the attempts to follow it show it.
    pub(super) connectivity: Mutex<Connectivity>,
    /// The problems already logged for this label, so that each is logged once.
    pub(super) problem_log: ProblemLog,
    /// The catalogue of the snapshot with this sequence number, once a caller has requested it.
    catalog: Mutex<Option<(u64, Catalog)>>,
    loaded_at: Instant,
    /// The time of the last request, in seconds since the label was loaded.
    used_seconds: AtomicU64,
    /// The task that follows the source. It ends when the label is forgotten.
    pub(super) follower: OnceLock<AbortOnDropHandle<()>>,
}

impl LiveLabel {
    pub(super) fn new(label: Label, snapshot: Arc<Snapshot>) -> Self {
        Self {
            label,
            published: ArcSwap::from_pointee(PublishedSnapshot::new(0, snapshot)),
            cells: RwLock::default(),
            sequence_lock: Arc::default(),
            publish_lock: Mutex::default(),
            refresh_lock: tokio::sync::Mutex::default(),
            sequence: watch::Sender::new(0),
            gone: watch::Sender::new(false),
            history_permits: Semaphore::new(HISTORY_SEARCH_COUNT_MAX),
            connectivity: Mutex::default(),
            problem_log: ProblemLog::default(),
            catalog: Mutex::default(),
            loaded_at: Instant::now(),
            used_seconds: AtomicU64::new(0),
            follower: OnceLock::new(),
        }
    }

    /// The newest revision, which the label serves unless an environment is held back.
    pub(super) fn tip(&self) -> Revision {
        self.published.load().snapshot.revision.clone()
    }

    fn now_seconds(&self) -> u64 {
        self.loaded_at.elapsed().as_secs()
    }

    /// Returns the cell of a query that was requested before.
    pub(super) fn cell(&self, query: &Query) -> Option<Arc<AnswerCell>> {
        read(&self.cells).get(query)
    }

    pub(super) fn cells(&self) -> Vec<Arc<AnswerCell>> {
        read(&self.cells).all()
    }

    /// The number of kept answers. Answers that only a request or a watcher holds are not counted.
    pub(super) fn kept_count(&self) -> usize {
        read(&self.cells).kept_count()
    }

    /// Records a request to the label and to an answer.
    pub(super) fn record_use(&self, cell: &AnswerCell) {
        let now = self.now_seconds();
        // The value is compared before it is written, because processors share a cache line only while none of them
        // writes to it.
        for used in [&cell.used_seconds, &self.used_seconds] {
            if used.load(Ordering::Relaxed) != now {
                used.store(now, Ordering::Relaxed);
            }
        }
    }

    /// Returns true if a request or a watcher holds an answer of this label.
    pub(super) fn has_watcher(&self) -> bool {
        self.cells().iter().any(|cell| cell.answers.receiver_count() > 0)
    }

    /// The seconds since the last request to this label. Zero while it has a watcher.
    pub(super) fn idle_seconds(&self) -> u64 {
        if self.has_watcher() {
            return 0;
        }
        self.now_seconds().saturating_sub(self.used_seconds.load(Ordering::Relaxed))
    }

    /// Returns the cell of a query, and makes its first answer if there is none. Blocking.
    pub(super) fn get_or_make(
        &self,
        query: &Query,
        builder: &AnswerBuilder,
    ) -> Result<Arc<AnswerCell>, TreeError> {
        let mut earlier = None;
        let cell = loop {
            let inputs = match self.find(query) {
                Ok(cell) => return Ok(cell),
                Err(inputs) => inputs,
            };
            let first = FirstAnswer::make(query, inputs, earlier, builder)?;
            let mut cells = write(&self.cells);
            match cells.insert(first, &self.published.load(), self.now_seconds()) {
                Ok(cell) => break cell,
                Err(outdated) => earlier = Some(*outdated),
            }
        };
        let answers = cell.load_all();
        answers.all().for_each(|answer| self.problem_log.log_new(&self.label, answer));
        if !answers.has_known_profiles() {
            answers.all().for_each(|answer| answer.remember_text(&builder.payloads));
        }
        let answer = &answers.stable;
        if !answers.is_known() {
            self.keep_stand_in(answer, builder)?;
        }
        Ok(cell)
    }

    /// Returns the cell of a query.
    ///
    /// # Errors
    /// Returns the inputs for the first answer if there is no cell.
    fn find(&self, query: &Query) -> Result<Arc<AnswerCell>, FirstAnswerInputs> {
        let cells = read(&self.cells);
        if let Some(cell) = cells.get(query) {
            return Ok(cell);
        }
        let (published, publication) = (self.published.load_full(), cells.publication());
        let stand_in = build::stand_in_query(query).and_then(|query| cells.get(&query));
        let stand_in = stand_in.map(|cell| cell.load());
        Err(FirstAnswerInputs { published, publication, stand_in })
    }

    /// Keeps the answer that stands in for the answers to all names that no file mentions. It is needed if a shared
    /// file is broken, or if a member may have to go back to memory.
    fn keep_stand_in(&self, answer: &Answer, builder: &AnswerBuilder) -> Result<(), TreeError> {
        let goes_back_to_memory =
            |member: &Member| member.history.is_none() && member.made_seconds.is_none();
        let is_needed = answer.problems().next().is_some()
            || self.published.load().snapshot.members.iter().any(goes_back_to_memory);
        match build::stand_in_query(&answer.query).filter(|_| is_needed) {
            Some(query) => self.get_or_make(&query, builder).map(drop),
            None => Ok(()),
        }
    }

    /// Moves the label to a new snapshot. Answers that the move does not affect stay in place. An affected answer wakes
    /// its watchers only if its content differs. Makes each answer at most once. Blocking.
    pub(super) fn publish(
        &self,
        snapshot: Arc<Snapshot>,
        builder: &AnswerBuilder,
    ) -> Result<CompletedPublication, TreeError> {
        let publishing = lock(&self.publish_lock);
        self.publish_locked(&publishing, snapshot, builder)
    }

    /// Publishes the present snapshot under the areas of the policy in force. None if they are in force already.
    /// Blocking.
    pub(super) fn publish_areas(
        &self,
        builder: &AnswerBuilder,
    ) -> Result<Option<CompletedPublication>, TreeError> {
        let publishing = lock(&self.publish_lock);
        let present = Arc::clone(&self.published.load().snapshot);
        if present.has_areas(&builder.areas.load()) {
            return Ok(None);
        }
        self.publish_locked(&publishing, present, builder).map(Some)
    }

    /// Invariant: the areas are those that are in force while the lock is held, so that a publication that began under
    /// another policy never replaces one under the policy in force.
    fn publish_locked(
        &self,
        publishing: &MutexGuard<'_, ()>,
        snapshot: Arc<Snapshot>,
        builder: &AnswerBuilder,
    ) -> Result<CompletedPublication, TreeError> {
        let snapshot = builder.put_areas(snapshot);
        let publication = Publication::new(self.published.load_full(), snapshot, false)?;
        self.switch_to(publishing, publication, builder)
    }

    /// Makes the answers with opened values again, after the keys or a referenced value changed. The snapshot stays the
    /// same. Blocking.
    pub(super) fn publish_again(
        &self,
        builder: &AnswerBuilder,
    ) -> Result<CompletedPublication, TreeError> {
        let publishing = lock(&self.publish_lock);
        let present = self.published.load_full();
        let snapshot = Arc::clone(&present.snapshot);
        let publication = Publication::new(present, snapshot, true)?;
        self.switch_to(&publishing, publication, builder)
    }

    /// Makes the answers for a publication, and switches to them.
    fn switch_to(
        &self,
        _publishing: &MutexGuard<'_, ()>,
        publication: Publication,
        builder: &AnswerBuilder,
    ) -> Result<CompletedPublication, TreeError> {
        let publication = Arc::new(publication);
        let cells = write(&self.cells).announce(&publication);
        let announcement = Announcement(self);
        let mut replacements = Vec::new();
        for cell in cells {
            replacements.extend(publication.make_replacement(cell, builder)?);
        }
        let replacements = announcement.switch(&publication.target, replacements).into_iter();
        let replaced = replacements
            .filter_map(|AnswerReplacement { before, after, .. }| {
                let (before, after) = (before.newest(), after.newest());
                let is_replaced = !Arc::ptr_eq(before, after);
                is_replaced.then(|| ReplacedAnswer {
                    before: Arc::clone(before),
                    after: Arc::clone(after),
                })
            })
            .collect();
        let previous = Arc::clone(&publication.present.snapshot);
        Ok(CompletedPublication { previous, replaced, publication })
    }

    /// Returns the environments that a move to a snapshot may change, each with the number of its watchers.
    ///
    /// Unwatched environments are left out if no file mentions them, and so are all but one of those with equal files.
    /// Clients can invent any number of names, and a push must not wait for all of them. Blocking.
    pub(super) fn find_affected(
        &self,
        next: &Snapshot,
    ) -> Result<Vec<EnvironmentInUse>, TreeError> {
        let changes = Differences::between(&self.published.load_full().snapshot, next)?;
        let mut affected = Vec::new();
        let mut compositions = HashSet::new();
        let mut of_holds: HashMap<*const Hold, Differences> = HashMap::new();
        for cell in self.cells() {
            let answers = cell.load_all();
            let answer = &answers.stable;
            // A held application is compared with its stable side.
            let is_affected = match &answers.held {
                None => is_affected(&changes, answer),
                Some(held) => {
                    let of_hold = match of_holds.entry(Arc::as_ptr(&held.hold)) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => {
                            new.insert(Differences::between(&held.hold.stable, next)?)
                        }
                    };
                    is_affected(of_hold, answer)
                }
            };
            if !is_affected {
                continue;
            }
            let watcher_count = cell.watcher_count.load(Ordering::Relaxed);
            let composition = answer.composition();
            // A broken answer has no composition.
            let is_first = || composition.is_empty() || compositions.insert(composition);
            if watcher_count > 0 || answer.is_known && is_first() {
                affected.push(EnvironmentInUse { query: answer.query.clone(), watcher_count });
            }
        }
        Ok(affected)
    }

    /// The kept answers without another holder, each with the seconds since its last request.
    pub(super) fn idle_answers(&self) -> Vec<(u64, Query)> {
        let cells = read(&self.cells);
        let now = self.now_seconds();
        let idle = cells.idle().map(|(query, cell)| {
            (now.saturating_sub(cell.used_seconds.load(Ordering::Relaxed)), query.clone())
        });
        idle.collect()
    }

    /// Forgets a kept answer that has no other holder, and returns true if it did.
    pub(super) fn forget(&self, query: &Query) -> bool {
        write(&self.cells).forget(query)
    }

    /// Returns the catalogue of a published snapshot, read once for each of them. Blocking.
    pub(super) fn read_catalog(&self, published: &PublishedSnapshot) -> Result<Catalog, TreeError> {
        let sequence = published.sequence;
        if let Some((_, known)) = lock(&self.catalog).as_ref().filter(|(at, _)| *at == sequence) {
            return Ok(known.clone());
        }
        let catalog = catalog::catalog(&published.snapshot)?;
        *lock(&self.catalog) = Some((sequence, catalog.clone()));
        Ok(catalog)
    }
}

/// The announcement of a publication to first requests.
///
/// Cancellation: dropping it before the switch withdraws the publication, so that a publisher that fails or panics
/// leaves the label unchanged.
struct Announcement<'a>(&'a LiveLabel);

impl Announcement<'_> {
    /// Replaces the answers, then swaps the published snapshot.
    ///
    /// Locking: holds the write lock of the cells until after the swap.
    fn switch(
        self,
        target: &Arc<PublishedSnapshot>,
        replacements: Vec<AnswerReplacement>,
    ) -> Vec<AnswerReplacement> {
        let live = self.0;
        let mut cells = write(&live.cells);
        let writing = live.sequence_lock.begin_write();
        let replacements = cells.switch(replacements);
        live.published.store(Arc::clone(target));
        drop(writing);
        live.sequence.send_replace(target.sequence);
        replacements
    }
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        write(&self.0.cells).withdraw();
    }
}

#[cfg(test)]
mod tests;
