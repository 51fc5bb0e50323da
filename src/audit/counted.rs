//! Denials and rejected credentials: the first of each combination is a line, and further ones are counted.
//!
//! Clients without any right can cause these events. The number of lines that they cause in a day is therefore bounded,
//! and a rejected credential never takes the place of a denial.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use headwater_access::audit::{AuditEvent, Count, Entry, Recording, Tally};
use jiff::Timestamp;

use crate::sync::lock;

/// The most combinations of each kind that become lines of their own between two resets.
const COMBINATION_COUNT_MAX: usize = 10_000;
/// The time after which a combination becomes a line again.
const RESET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The counts since the last report.
pub(super) struct CountedEvents {
    denials: Mutex<Tally<CountedKey>>,
    rejections: Mutex<Tally<CountedKey>>,
    reset_at: Mutex<Instant>,
}

/// What counted events have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CountedKey {
    event: AuditEvent,
    principal: Option<String>,
    kind: Option<String>,
    /// Only for events without an identified principal.
    address: Option<String>,
    reason: Option<String>,
}

impl CountedKey {
    fn entry(self) -> Entry {
        let Self { event, principal, kind, address, reason } = self;
        Entry { principal, kind, address, reason, ..Entry::new(event) }
    }
}

impl Default for CountedEvents {
    fn default() -> Self {
        Self {
            denials: Mutex::new(Tally::new(COMBINATION_COUNT_MAX)),
            rejections: Mutex::new(Tally::new(COMBINATION_COUNT_MAX)),
            reset_at: Mutex::new(Instant::now()),
        }
    }
}

impl CountedEvents {
    /// Counts a denial. Returns true if it becomes a line.
    pub(super) fn record_denial(&self, entry: &Entry, now: Timestamp) -> bool {
        let is_identified = entry.proof.as_deref().is_some_and(|proof| proof != "none");
        let key = CountedKey {
            event: entry.event,
            principal: entry.principal.clone(),
            kind: entry.kind.clone(),
            address: entry.address.clone().filter(|_| !is_identified),
            reason: entry.reason.clone(),
        };
        lock(&self.denials).record(&key, now) == Recording::Line
    }

    /// Counts a rejected credential. Returns true if it becomes a line.
    pub(super) fn record_rejection(
        &self,
        entry: &Entry,
        reason_kind: &str,
        now: Timestamp,
    ) -> bool {
        let key = CountedKey {
            event: entry.event,
            principal: None,
            kind: None,
            address: entry.address.clone(),
            reason: Some(reason_kind.to_owned()),
        };
        lock(&self.rejections).record(&key, now) == Recording::Line
    }

    /// Ends a period. Returns one entry for each combination that was counted, and one for all others of a kind.
    pub(super) fn take_entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let tallies = [
            (&self.denials, AuditEvent::Denied),
            (&self.rejections, AuditEvent::CredentialRejected),
        ];
        let is_reset = lock(&self.reset_at).elapsed() >= RESET_AFTER;
        for (tally, other) in tallies {
            let mut tally = lock(tally);
            let counts = tally.take_counts();
            entries.extend(counts.into_iter().map(|(key, count)| counted(key, other, count)));
            if is_reset {
                tally.forget();
            }
        }
        if is_reset {
            *lock(&self.reset_at) = Instant::now();
        }
        entries
    }
}

fn counted(key: Option<CountedKey>, other: AuditEvent, count: Count) -> Entry {
    let entry = match key {
        Some(key) => key.entry(),
        None => Entry { reason: Some("other combinations".to_owned()), ..Entry::new(other) },
    };
    Entry { count: Some(count.count), first: Some(count.first), last: Some(count.last), ..entry }
}
