//! The answers of a label, and its announced publication.
//!
//! Invariant: while a publication is announced, a request that inserts a cell also provides the answer for the
//! announced snapshot. The publisher therefore makes one answer for each cell that it found at the announcement. No
//! request can make it start over.
//!
//! An answer to a name that no file mentions stays in the map while a request or a watcher holds it. It is not kept,
//! because clients can invent any number of names.
//!
//! Locking: `announce`, `insert` and `switch` run under the write lock of the label's cells. The published snapshot is
//! stored under the same lock, so that a reader of the cells sees a snapshot and a publication that belong together.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::answer_cell::AnswerCell;
use super::cell_answers::CellAnswers;
use super::first_answer::FirstAnswer;
use super::publication::{AnswerReplacement, Publication};
use super::published_snapshot::PublishedSnapshot;
use crate::model::Query;

/// The limit on kept answers of a label to profiles that no file mentions. A publication makes each of them anew.
const UNKNOWN_PROFILE_COUNT_MAX: usize = 1_000;
/// The number of insertions after which cells without a holder are removed. The number of remaining cells replaces it
/// if that is larger.
const SWEEP_AFTER: usize = 1_024;

/// A cell that was inserted after the announcement. Its last holder may drop it before the switch.
struct LateCell {
    cell: Weak<AnswerCell>,
    before: CellAnswers,
    after: CellAnswers,
}

impl LateCell {
    fn into_replacement(self) -> Option<AnswerReplacement> {
        let Self { cell, before, after } = self;
        Some(AnswerReplacement { cell: cell.upgrade()?, before, after })
    }
}

/// A cell in the map. A lookup finds it for as long as it has a holder.
struct CellEntry {
    cell: Weak<AnswerCell>,
    /// Holds the cell if files mention the application.
    kept: Option<Arc<AnswerCell>>,
    /// True if no file mentions one of the requested profiles.
    has_unknown_profiles: bool,
}

impl CellEntry {
    fn is_dropped(&self) -> bool {
        self.cell.strong_count() == 0
    }

    /// Returns true if the map is the only holder of the cell.
    fn is_idle(&self) -> bool {
        self.kept.as_ref().is_some_and(|cell| Arc::strong_count(cell) == 1)
    }
}

/// The answers of a label, by query.
#[derive(Default)]
pub(super) struct AnswerCells {
    by_query: HashMap<Query, CellEntry>,
    kept_count: usize,
    /// The number of kept answers to profiles that no file mentions.
    unknown_profile_count: usize,
    /// The number of insertions until cells without a holder are removed.
    sweep_in: usize,
    publication: Option<Arc<Publication>>,
    late_cells: Vec<LateCell>,
}

impl AnswerCells {
    pub(super) fn get(&self, query: &Query) -> Option<Arc<AnswerCell>> {
        self.by_query.get(query)?.cell.upgrade()
    }

    pub(super) fn all(&self) -> Vec<Arc<AnswerCell>> {
        self.by_query.values().filter_map(|entry| entry.cell.upgrade()).collect()
    }

    /// The kept cells that have no other holder.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&Query, &Arc<AnswerCell>)> {
        let idle = self.by_query.iter().filter(|(_, entry)| entry.is_idle());
        idle.filter_map(|(query, entry)| Some((query, entry.kept.as_ref()?)))
    }

    pub(super) fn kept_count(&self) -> usize {
        self.kept_count
    }

    pub(super) fn publication(&self) -> Option<Arc<Publication>> {
        self.publication.clone()
    }

    /// Announces a publication and returns the cells whose answers the publisher makes. The publisher holds them, so
    /// that none is forgotten and made anew meanwhile.
    pub(super) fn announce(&mut self, publication: &Arc<Publication>) -> Vec<Arc<AnswerCell>> {
        self.publication = Some(Arc::clone(publication));
        self.late_cells.clear();
        self.all()
    }

    /// Ends a failed publication. No answer was replaced.
    pub(super) fn withdraw(&mut self) {
        self.publication = None;
        self.late_cells.clear();
    }

    /// Ends a publication: replaces all answers that it affects, and returns the replacements.
    pub(super) fn switch(
        &mut self,
        mut replacements: Vec<AnswerReplacement>,
    ) -> Vec<AnswerReplacement> {
        self.publication = None;
        replacements.extend(self.late_cells.drain(..).filter_map(LateCell::into_replacement));
        for AnswerReplacement { cell, before, after } in &replacements {
            cell.replace(after);
            let names_known = |it: &CellAnswers| (it.is_known(), it.has_known_profiles());
            if names_known(before) != names_known(after)
                && let Some(entry) = self.by_query.get_mut(after.query())
            {
                entry.kept = after.is_known().then(|| Arc::clone(cell));
                entry.has_unknown_profiles = !after.has_known_profiles();
            }
        }
        self.sweep();
        replacements
    }

    /// Inserts the first answer to a query, and returns the present cell if there is one.
    ///
    /// # Errors
    /// Returns the first answer if it was made for another snapshot or publication than the present ones.
    pub(super) fn insert(
        &mut self,
        first: FirstAnswer,
        published: &PublishedSnapshot,
        now_seconds: u64,
    ) -> Result<Arc<AnswerCell>, Box<FirstAnswer>> {
        if let Some(cell) = self.get(first.answers.query()) {
            return Ok(cell);
        }
        if !first.is_for(published, self.publication.as_ref()) {
            return Err(Box::new(first));
        }
        let (answers, successor) = first.into_answers();
        let (query, has_unknown_profiles) =
            (answers.query().clone(), !answers.has_known_profiles());
        let has_room = self.unknown_profile_count < UNKNOWN_PROFILE_COUNT_MAX;
        let is_kept = answers.is_known() && (!has_unknown_profiles || has_room);
        let cell = Arc::new(AnswerCell::new(answers, now_seconds));
        if let Some(after) = successor {
            self.add_late_cell(&cell, after);
        }
        let kept = is_kept.then(|| Arc::clone(&cell));
        self.kept_count += usize::from(is_kept);
        self.unknown_profile_count += usize::from(is_kept && has_unknown_profiles);
        let entry = CellEntry { cell: Arc::downgrade(&cell), kept, has_unknown_profiles };
        self.by_query.insert(query, entry);
        self.sweep_in = self.sweep_in.saturating_sub(1);
        if self.sweep_in == 0 {
            self.sweep();
        }
        Ok(cell)
    }

    /// Adds a late cell. Drops late cells without a holder before the list grows.
    fn add_late_cell(&mut self, cell: &Arc<AnswerCell>, after: CellAnswers) {
        if self.late_cells.len() == self.late_cells.capacity() {
            self.late_cells.retain(|late| late.cell.strong_count() > 0);
        }
        let (cell, before) = (Arc::downgrade(cell), cell.load_all());
        self.late_cells.push(LateCell { cell, before, after });
    }

    /// Removes the cells without a holder, and counts the others.
    fn sweep(&mut self) {
        self.by_query.retain(|_, entry| !entry.is_dropped());
        let kept = || self.by_query.values().filter(|entry| entry.kept.is_some());
        (self.kept_count, self.unknown_profile_count) =
            (kept().count(), kept().filter(|entry| entry.has_unknown_profiles).count());
        self.sweep_in = self.by_query.len().max(SWEEP_AFTER);
    }

    /// Forgets a kept answer that has no other holder, and returns true if it did. Another holder is a watcher, a
    /// request or a publisher. Without this condition a publisher would replace an answer that no request finds any
    /// more.
    pub(super) fn forget(&mut self, query: &Query) -> bool {
        let Some(entry) = self.by_query.get(query).filter(|entry| entry.is_idle()) else {
            return false;
        };
        self.kept_count -= 1;
        self.unknown_profile_count -= usize::from(entry.has_unknown_profiles);
        self.by_query.remove(query);
        true
    }
}
