//! Reads of opened values: the first of each combination is a line, and each worker thread counts further ones.
//!
//! A worker counts without a lock, because a fleet can send 100,000 reads in a second.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_access::audit::{AuditEvent, Count, Entry, Recording, Tally, Ticket};
use jiff::Timestamp;

use super::{Audit, AuditActor};
use crate::model::{Digest, Query};

/// The interval at which a worker reports its counts.
pub const READ_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The time for which reads that are counted have one time of day. Asking for it takes as long as counting.
const SAME_TIME_MAX: Duration = Duration::from_millis(1);
/// The most combinations that one worker distinguishes in an interval.
const COMBINATION_COUNT_MAX: usize = 10_000;

/// What reads that are counted together have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedRead {
    /// The name of the principal.
    pub principal: Arc<str>,
    pub query: Query,
    /// The digest of the environment.
    pub digest: Digest,
    pub address: Option<IpAddr>,
}

/// The reads that one worker thread has counted.
pub struct OpenedReads {
    audit: Arc<Audit>,
    tally: RefCell<Tally<OpenedRead>>,
    /// The time of day, and when it was asked for.
    time: Cell<(Instant, Timestamp)>,
}

impl OpenedReads {
    pub fn new(audit: Arc<Audit>) -> Self {
        audit.queue.add_reader();
        let tally = RefCell::new(Tally::new(COMBINATION_COUNT_MAX));
        Self { audit, tally, time: Cell::new((Instant::now(), Timestamp::now())) }
    }

    /// Returns false if reads of opened values have to be rejected now.
    pub fn is_permitted(&self) -> bool {
        self.audit.permits_opened_reads()
    }

    /// Records a read. `details` returns the actor and the revision for the line of a first read. Returns the ticket for
    /// equal reads.
    pub fn record(
        &self,
        read: &OpenedRead,
        details: impl FnOnce() -> (AuditActor, String),
    ) -> Option<Ticket> {
        let now = Timestamp::now();
        // Equal reads must not seem to be earlier.
        self.time.set((Instant::now(), now));
        let mut tally = self.tally.borrow_mut();
        if tally.record(read, now) == Recording::Line {
            let (actor, revision) = details();
            let entry = read.entry(actor.entry(AuditEvent::Open));
            self.audit.queue.record(&Entry { revision: Some(revision), ..entry }, now);
        }
        tally.ticket(read)
    }

    /// Records a read that equals the one with the ticket. Returns false if the ticket is no longer valid. Nothing is
    /// recorded then.
    pub fn record_again(&self, ticket: Ticket, now: Instant) -> bool {
        self.tally.borrow_mut().record_again(ticket, self.time_of(now))
    }

    /// The time of day, which is too early by [`SAME_TIME_MAX`] at most.
    fn time_of(&self, now: Instant) -> Timestamp {
        let (asked_at, time) = self.time.get();
        if now.saturating_duration_since(asked_at) < SAME_TIME_MAX {
            return time;
        }
        let time = Timestamp::now();
        self.time.set((now, time));
        time
    }

    /// Records the counts of the last interval as lines.
    pub fn report(&self) {
        let now = Timestamp::now();
        for (read, Count { count, first, last }) in self.tally.borrow_mut().take_report() {
            let entry = Entry::new(AuditEvent::Open);
            let entry = match read {
                Some(read) => read.entry(entry),
                None => Entry { reason: Some("other combinations".to_owned()), ..entry },
            };
            let (count, first, last) = (Some(count), Some(first), Some(last));
            self.audit.queue.record(&Entry { count, first, last, ..entry }, now);
        }
    }
}

impl Hash for OpenedRead {
    /// Hashes what nearly always differs. Hashing all names would take longer than the rest of counting.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.digest.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        self.address.hash(state);
    }
}

impl OpenedRead {
    fn entry(&self, entry: Entry) -> Entry {
        Entry {
            principal: Some(self.principal.to_string()),
            application: Some(self.query.application.to_string()),
            profiles: Some(self.query.profiles.to_string()),
            label: self.query.label.name().map(str::to_owned),
            digest: Some(self.digest.to_string()),
            address: self.address.map(|address| address.to_string()),
            outcome: Some("opened".to_owned()),
            ..entry
        }
    }
}

impl Drop for OpenedReads {
    fn drop(&mut self) {
        self.report();
        self.audit.queue.remove_reader();
    }
}
