//! How current a replica is: the time of its last contact with etcd by which it has applied everything before.
//!
//! Pure: callers pass in the time.

use std::time::{Duration, Instant};

/// The time without contact after which no further instance receives a candidate.
const FENCE_AFTER: Duration = Duration::from_secs(10);
/// The time without contact after which nothing advances. A watch has a message every second.
const CONNECTED_FOR: Duration = Duration::from_secs(5);

/// The contact of one watch.
#[derive(Debug, Clone, Default)]
pub(super) struct Freshness {
    /// Grows with each start of a watch.
    watch: u64,
    /// The start of the watch since which everything was read and applied once.
    applied: Option<u64>,
    is_watching: bool,
    last_contact: Option<Instant>,
}

impl Freshness {
    /// Records that a watch has started. What has changed before is not applied yet.
    pub(super) fn mark_watching(&mut self) {
        self.watch += 1;
        self.is_watching = true;
    }

    /// Records that the watch has ended.
    pub(super) fn mark_disconnected(&mut self) {
        self.is_watching = false;
    }

    /// Records a message of the watch.
    pub(super) fn record_message(&mut self, now: Instant) {
        if self.is_watching && self.applied == Some(self.watch) {
            self.last_contact = Some(now);
        }
    }

    /// The present watch. A read that begins now has everything that has changed before it.
    pub(super) fn present_watch(&self) -> u64 {
        self.watch
    }

    /// Records that the result of a read was applied that began during this watch.
    pub(super) fn record_applied(&mut self, watch: u64, now: Instant) {
        if self.is_watching && watch == self.watch {
            self.applied = Some(watch);
            self.last_contact = Some(now);
        }
    }

    /// Returns true if the replica knows the newest state.
    pub(super) fn is_connected(&self, now: Instant) -> bool {
        self.is_watching && self.is_younger_than(CONNECTED_FOR, now)
    }

    /// Returns true if the replica may miss a rollback for so long that no further instance may receive a candidate. A
    /// replica that had no contact since its start is fenced, because it does not know the age of its file.
    pub(super) fn is_fenced(&self, now: Instant) -> bool {
        !self.is_younger_than(FENCE_AFTER, now)
    }

    fn is_younger_than(&self, age: Duration, now: Instant) -> bool {
        self.last_contact.is_some_and(|at| now.saturating_duration_since(at) < age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_fenced_until_its_first_contact_and_after_ten_seconds_without_one() {
        let (mut freshness, start) = (Freshness::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(freshness.is_fenced(at(0)) && !freshness.is_connected(at(0)));
        freshness.mark_watching();
        freshness.record_message(at(0));
        assert!(freshness.is_fenced(at(0)), "nothing was applied yet");
        freshness.record_applied(freshness.present_watch(), at(0));
        assert!(!freshness.is_fenced(at(9)) && freshness.is_connected(at(4)));
        assert!(!freshness.is_connected(at(5)) && freshness.is_fenced(at(10)));
        freshness.record_message(at(10));
        assert!(!freshness.is_fenced(at(19)));
    }

    #[test]
    fn a_replica_that_returns_is_current_after_it_has_applied_what_it_missed() {
        let (mut freshness, start) = (Freshness::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        freshness.mark_watching();
        let first = freshness.present_watch();
        freshness.record_applied(first, at(0));
        freshness.mark_disconnected();
        assert!(!freshness.is_connected(at(1)) && !freshness.is_fenced(at(1)));
        freshness.mark_watching();
        freshness.record_message(at(20));
        freshness.record_applied(first, at(20));
        assert!(freshness.is_fenced(at(20)), "the read began before the watch");
        freshness.record_applied(freshness.present_watch(), at(21));
        assert!(!freshness.is_fenced(at(21)) && freshness.is_connected(at(21)));
    }
}
