//! The labels that are being served, each cohort of callers apart.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::cohort::Cohort;
use super::live::Live;
use super::{ANSWER_COUNT_MAX, ASKED_PATH_COUNT_MAX};
use crate::model::{Label, Query};
use crate::sync::lock;

/// The most labels that are served at a time; beyond it those nobody asks for are forgotten.
pub const LABEL_COUNT_MAX: usize = 1_000;

/// A place for a live label: those who ask for it while it is being loaded share one load.
pub(super) type Cell = Arc<OnceCell<Arc<Live>>>;

/// The live labels, bounded.
#[derive(Default)]
pub(super) struct Labels(Mutex<HashMap<(Label, Cohort), Cell>>);

impl Labels {
    /// The label, if it is live.
    pub(super) fn live(&self, label: &Label, cohort: Cohort) -> Option<Arc<Live>> {
        lock(&self.0).get(&(label.clone(), cohort))?.get().cloned()
    }

    /// Every live label.
    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        lock(&self.0).values().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// The place for a label. Where there are too many, the one that was not asked for the longest makes room; the default
    /// label never does.
    pub(super) fn cell(&self, label: &Label, cohort: Cohort) -> Cell {
        let mut labels = lock(&self.0);
        let key = (label.clone(), cohort);
        if labels.len() >= LABEL_COUNT_MAX {
            // Left behind by those who went away before their label was loaded.
            labels.retain(|_, cell| cell.initialized() || Arc::strong_count(cell) > 1);
        }
        if labels.len() >= LABEL_COUNT_MAX && !labels.contains_key(&key) {
            let longest_idle = labels
                .iter()
                .filter(|((label, _), _)| *label != Label::Default)
                .filter_map(|(key, cell)| Some((cell.get()?.idle_seconds(), key.clone())))
                .max_by_key(|(idle, _)| *idle);
            if let Some((_, idle)) = longest_idle {
                labels.remove(&idle);
            }
        }
        Arc::clone(labels.entry(key).or_default())
    }

    /// Forgets a label that could not be loaded, unless others are about to try it in the same place; whoever asks for it
    /// again loads it anew.
    pub(super) fn forget(&self, cell: &Cell) {
        let mut labels = lock(&self.0);
        let the_map_and_the_caller = 2;
        if Arc::strong_count(cell) <= the_map_and_the_caller {
            labels.retain(|_, known| !Arc::ptr_eq(known, cell));
        }
    }

    /// Where all labels together have too many answers, or these looked for too many paths, forgets a tenth of what may be
    /// kept: those that nobody has asked for the longest.
    pub(super) fn make_room(&self) {
        let lives = self.all();
        let mut answers: usize = lives.iter().map(|live| live.slot_count()).sum();
        let mut paths: usize = lives.iter().map(|live| live.path_count()).sum();
        if answers <= ANSWER_COUNT_MAX && paths <= ASKED_PATH_COUNT_MAX {
            return;
        }
        let of = |live| move |(idle, query)| (idle, live, query);
        let mut idle: Vec<(u64, &Arc<Live>, Query)> =
            lives.iter().flat_map(|live| live.idle_answers().into_iter().map(of(live))).collect();
        idle.sort_by_key(|(seconds, ..)| std::cmp::Reverse(*seconds));
        for (_, live, query) in idle {
            if answers <= ANSWER_COUNT_MAX / 10 * 9 && paths <= ASKED_PATH_COUNT_MAX / 10 * 9 {
                return;
            }
            if let Some(forgotten) = live.forget(&query) {
                answers -= 1;
                paths -= forgotten.min(paths);
            }
        }
    }

    /// The source no longer has a label: its watchers are let go, once nobody can find it here.
    pub(super) fn gone(&self, live: &Arc<Live>) {
        lock(&self.0).retain(|_, cell| cell.get().is_none_or(|known| !Arc::ptr_eq(known, live)));
        live.gone.send_replace(true);
        live.moves.fetch_add(2, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_nobody_waited_for_make_room() {
        let labels = Labels::default();
        for number in 0..3 * LABEL_COUNT_MAX {
            labels.cell(&Label::Named(number.to_string().into()), Cohort::FIRST);
        }
        assert!(lock(&labels.0).len() <= LABEL_COUNT_MAX);
    }

    #[test]
    fn a_label_that_another_request_still_loads_is_not_forgotten() {
        let labels = Labels::default();
        let (failed, waiting) = (
            labels.cell(&Label::Default, Cohort::FIRST),
            labels.cell(&Label::Default, Cohort::FIRST),
        );
        labels.forget(&failed);
        assert!(Arc::ptr_eq(&waiting, &labels.cell(&Label::Default, Cohort::FIRST)));
        drop(failed);
        labels.forget(&waiting);
        assert!(lock(&labels.0).is_empty());
    }
}
