//! The served labels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::live_label::LiveLabel;
use crate::model::Label;
use crate::snapshot::{Member, Style};
use crate::sync::lock;

/// The limit on served labels. Beyond it, the label with the oldest last request is forgotten.
const LABEL_COUNT_MAX: usize = 1_000;

/// The limit on live labels that match no folder of a directory source. Each of them is another name for the same
/// files.
const INVENTED_COUNT_MAX: usize = 32;

/// A place for a live label. Concurrent requests for a label that is not loaded share one load.
pub(super) type LabelCell = Arc<OnceCell<Arc<LiveLabel>>>;

/// The live labels. Their number is limited.
#[derive(Default)]
pub(super) struct LiveLabels(Mutex<HashMap<Label, LabelCell>>);

impl LiveLabels {
    /// Returns the label if it is live.
    pub(super) fn get(&self, label: &Label) -> Option<Arc<LiveLabel>> {
        lock(&self.0).get(label)?.get().cloned()
    }

    /// Every live label.
    pub(super) fn all(&self) -> Vec<Arc<LiveLabel>> {
        lock(&self.0).values().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// Returns the place for a label. At the limit, the label with the oldest last request makes room. The default
    /// label never does.
    pub(super) fn get_or_insert(&self, label: &Label) -> LabelCell {
        let mut labels = lock(&self.0);
        if labels.len() >= LABEL_COUNT_MAX {
            // These cells belong to requests that were cancelled before their label was loaded.
            labels.retain(|_, cell| cell.initialized() || Arc::strong_count(cell) > 1);
        }
        if labels.len() >= LABEL_COUNT_MAX && !labels.contains_key(label) {
            let longest_idle = labels
                .iter()
                .filter(|(label, _)| **label != Label::Default)
                .filter_map(|(label, cell)| Some((cell.get()?.idle_seconds(), label.clone())))
                .max_by_key(|(idle, _)| *idle);
            if let Some((_, idle)) = longest_idle {
                labels.remove(&idle);
            }
        }
        Arc::clone(labels.entry(label.clone()).or_default())
    }

    /// Limits the labels that clients invented. Unwatched labels with the oldest last request make room for the label
    /// that was just loaded.
    pub(super) fn limit_invented(&self, loaded: &Arc<LiveLabel>) {
        if !is_invented(loaded) {
            return;
        }
        let mut invented: Vec<Arc<LiveLabel>> = self.all();
        invented.retain(|live| !Arc::ptr_eq(live, loaded) && is_invented(live));
        // Each idle time is read once, because a sort needs keys that do not change.
        invented.sort_by_cached_key(|live| live.idle_seconds());
        let forgotten: Vec<Arc<LiveLabel>> = invented
            .into_iter()
            .skip(INVENTED_COUNT_MAX - 1)
            .filter(|live| !live.has_watcher())
            .collect();
        lock(&self.0).retain(|_, cell| {
            cell.get().is_none_or(|live| !forgotten.iter().any(|it| Arc::ptr_eq(it, live)))
        });
    }

    /// Forgets a label that could not be loaded, unless other requests are about to load it in the same place. The next
    /// request loads it anew.
    pub(super) fn forget(&self, cell: &LabelCell) {
        let mut labels = lock(&self.0);
        let the_map_and_the_caller = 2;
        if Arc::strong_count(cell) <= the_map_and_the_caller {
            labels.retain(|_, known| !Arc::ptr_eq(known, cell));
        }
    }

    /// Removes a label that the source no longer has. The map forgets it first, so that no new request finds it when
    /// its watchers wake.
    pub(super) fn remove_gone(&self, live: &Arc<LiveLabel>) {
        lock(&self.0).retain(|_, cell| cell.get().is_none_or(|known| !Arc::ptr_eq(known, live)));
        live.gone.send_replace(true);
        live.sequence_lock.invalidate();
    }
}

/// Returns true if a label has the same content as every other label that no folder of a directory source matches.
fn is_invented(live: &LiveLabel) -> bool {
    let snapshot = &live.published.load().snapshot;
    live.label != Label::Default
        && snapshot.members.iter().all(|member| {
            let Member { layout, overlays, .. } = member;
            let names_it = layout.search_paths.iter().any(|path| path.contains("{label}"));
            layout.style == Style::Native && overlays.is_empty() && !names_it
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_loads_make_room() {
        let labels = LiveLabels::default();
        for number in 0..3 * LABEL_COUNT_MAX {
            labels.get_or_insert(&Label::Named(number.to_string().into()));
        }
        assert!(lock(&labels.0).len() <= LABEL_COUNT_MAX);
    }

    #[test]
    fn a_label_that_another_request_still_loads_is_not_forgotten() {
        let labels = LiveLabels::default();
        let (failed, waiting) =
            (labels.get_or_insert(&Label::Default), labels.get_or_insert(&Label::Default));
        labels.forget(&failed);
        assert!(Arc::ptr_eq(&waiting, &labels.get_or_insert(&Label::Default)));
        drop(failed);
        labels.forget(&waiting);
        assert!(lock(&labels.0).is_empty());
    }
}
