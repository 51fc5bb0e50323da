//! The part of the table that each application holds. Pure: the caller passes the time.
//!
//! Large applications cannot fill the table for a further one. Each can have twice as many incarnations as there are places
//! left, so that it leaves a part of what it found. Two that grow together have two fifths of the table each, and a fifth
//! is left. The entries of an application that are disconnected and have never acknowledged a
//! configuration make room for its new ones. They are kept in the order of their last request, so that the oldest one is
//! found without a search.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::{COUNT_MAX, InstanceKey};

/// The most incarnations of one application.
pub(super) const SHARE_COUNT_MAX: usize = COUNT_MAX / 2;
/// The incarnations of an application for which any place that is left suffices.
pub(super) const GUARANTEED_COUNT: usize = 64;
/// The incarnations that an application can have for each place that is left.
const COUNT_FOR_EACH_LEFT: usize = 2;

/// The place of an entry among those that can make room: the time of its last request, and a number that is unique.
pub(super) type Turn = (Timestamp, u64);

/// The shares of all applications.
#[derive(Default)]
pub(super) struct Shares {
    by_application: HashMap<Arc<str>, Share>,
    /// The number of incarnations of all applications.
    run_count: usize,
    next_number: u64,
}

#[derive(Default)]
struct Share {
    run_count: usize,
    left_out_count: u64,
    /// The entries that can make room.
    idle: BTreeMap<Turn, InstanceKey>,
}

impl Shares {
    #[cfg(test)]
    pub(super) fn run_count(&self) -> usize {
        self.run_count
    }

    /// Returns true if the table and the share of an application have room for an incarnation.
    pub(super) fn has_room(&self, application: &str) -> bool {
        let own = self.by_application.get(application).map_or(0, |share| share.run_count);
        let left = COUNT_MAX.saturating_sub(self.run_count);
        let is_fair = own < GUARANTEED_COUNT || own < COUNT_FOR_EACH_LEFT * left;
        left > 0 && own < SHARE_COUNT_MAX && is_fair
    }

    /// Records that an entry has another number of incarnations.
    pub(super) fn record(&mut self, application: &Arc<str>, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.run_count = self.run_count + after - before;
        let share = self.share(application);
        share.run_count = share.run_count + after - before;
    }

    /// Records a request whose instance was ignored. The table bounds the number of applications.
    pub(super) fn leave_out(&mut self, application: &Arc<str>) {
        if self.by_application.contains_key(application) || self.by_application.len() < COUNT_MAX {
            self.share(application).left_out_count += 1;
        }
    }

    /// Returns the applications with ignored requests and their numbers.
    pub(super) fn left_out(&self) -> Vec<(Arc<str>, u64)> {
        let shares = self.by_application.iter().filter(|(_, share)| share.left_out_count > 0);
        shares.map(|(name, share)| (Arc::clone(name), share.left_out_count)).collect()
    }

    /// Adds an entry to those that can make room.
    pub(super) fn add_idle(&mut self, key: &InstanceKey, now: Timestamp) -> Turn {
        self.next_number += 1;
        let turn = (now, self.next_number);
        self.share(&key.query.application).idle.insert(turn, key.clone());
        turn
    }

    /// Removes an entry from those that can make room.
    pub(super) fn remove_idle(&mut self, application: &str, turn: Turn) {
        if let Some(share) = self.by_application.get_mut(application) {
            share.idle.remove(&turn);
        }
    }

    /// Takes the oldest entry of an application that can make room.
    pub(super) fn take_oldest(&mut self, application: &str) -> Option<InstanceKey> {
        let (_, key) = self.by_application.get_mut(application)?.idle.pop_first()?;
        Some(key)
    }

    /// Removes the shares without entries and ignored requests.
    pub(super) fn remove_unused(&mut self) {
        self.by_application.retain(|_, share| share.run_count > 0 || share.left_out_count > 0);
    }

    fn share(&mut self, application: &Arc<str>) -> &mut Share {
        self.by_application.entry(Arc::clone(application)).or_default()
    }
}
