//! The lines that wait for the writer, and the progress of the writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_access::audit::{Chain, Entry, Head, Trail};
use jiff::Timestamp;
use tokio::sync::watch;

use super::{AuditFigures, UnwrittenError};
use crate::sync::lock;

/// The time for which the first line of a batch waits for further ones, unless an act waits.
const BATCH_MAX: Duration = Duration::from_millis(100);

/// The queue between those that record events and the one writer.
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Signalled when the writer has something to do.
    wake: Condvar,
    progress: watch::Sender<Progress>,
    /// The number of worker threads that still count reads.
    readers: watch::Sender<usize>,
    /// True while the destination cannot be written.
    pub(super) is_failing: AtomicBool,
}

struct QueueState {
    trail: Trail,
    /// The bytes that the writer has taken and that are not durable.
    taken_bytes: usize,
    line_count: u64,
    lost_count: u64,
    /// True while an act waits.
    is_urgent: bool,
    is_closing: bool,
    synced_at: Instant,
}

/// The progress of the writer.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// The number of the last durable line.
    synced: u64,
    /// The number of failed attempts to write.
    failure_count: u64,
    is_failing: bool,
    is_closed: bool,
}

/// The lines that a writer has taken, with the head after them.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) head: Head,
}

/// The proof that the line of an act was recorded, by which the act waits for its durability.
pub(super) struct Receipt {
    seq: u64,
    failure_count: u64,
    progress: watch::Receiver<Progress>,
}

impl Progress {
    /// Returns the outcome for a line, once there is one.
    fn outcome(&self, seq: u64, failure_count: u64) -> Option<Result<(), UnwrittenError>> {
        if self.synced >= seq {
            return Some(Ok(()));
        }
        (self.failure_count != failure_count || self.is_closed).then_some(Err(UnwrittenError))
    }
}

impl Receipt {
    /// Waits until the line is durable.
    pub(super) async fn durable(&mut self) -> Result<(), UnwrittenError> {
        let (seq, failure_count) = (self.seq, self.failure_count);
        let decided = |progress: &Progress| progress.outcome(seq, failure_count).is_some();
        let progress = self.progress.wait_for(decided).await.map_err(|_| UnwrittenError)?;
        progress.outcome(seq, failure_count).unwrap_or(Err(UnwrittenError))
    }
}

impl Queue {
    pub(super) fn new(head: Head, replica: &str, boot: &str, waiting_bytes_max: usize) -> Self {
        let progress =
            Progress { synced: head.seq, failure_count: 0, is_failing: false, is_closed: false };
        Self {
            state: Mutex::new(QueueState {
                trail: Trail::new(Chain::new(head, replica, boot), waiting_bytes_max),
                taken_bytes: 0,
                line_count: 0,
                lost_count: 0,
                is_urgent: false,
                is_closing: false,
                synced_at: Instant::now(),
            }),
            wake: Condvar::new(),
            progress: watch::Sender::new(progress),
            readers: watch::Sender::new(0),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Adds a line, or counts the event if there is no space.
    pub(super) fn record(&self, entry: &Entry, now: Timestamp) {
        let mut state = lock(&self.state);
        let before = state.trail.head().seq;
        if !state.trail.record_or_count(entry, now) {
            state.lost_count += entry.count.unwrap_or(1);
        }
        state.line_count += state.trail.head().seq - before;
        drop(state);
        self.wake.notify_one();
    }

    /// Adds the line of an act. While the destination fails, nothing is added, so that no line claims an act that did
    /// not take place.
    pub(super) fn record_act(
        &self,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<Receipt, UnwrittenError> {
        let mut state = lock(&self.state);
        let progress = self.progress.subscribe();
        let failure_count = {
            let progress = progress.borrow();
            if progress.is_failing || progress.is_closed {
                return Err(UnwrittenError);
            }
            progress.failure_count
        };
        let before = state.trail.head().seq;
        let recorded = state.trail.record(entry, now);
        let seq = state.trail.head().seq;
        state.line_count += seq - before;
        recorded.map_err(|_| UnwrittenError)?;
        state.is_urgent = true;
        drop(state);
        self.wake.notify_one();
        Ok(Receipt { seq, failure_count, progress })
    }

    /// Blocks until a line is durable.
    pub(super) fn wait_until_durable(
        &self,
        receipt: &Receipt,
        time_max: Duration,
    ) -> Result<(), UnwrittenError> {
        /// The interval between two looks at the progress. Policies change rarely.
        const PAUSE: Duration = Duration::from_millis(5);
        let until = Instant::now() + time_max;
        loop {
            let outcome = receipt.progress.borrow().outcome(receipt.seq, receipt.failure_count);
            match outcome {
                Some(outcome) => return outcome,
                None if Instant::now() >= until => return Err(UnwrittenError),
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Waits until lines can be written, at most for a time. Lines wait for a batch, unless an act needs them. Returns
    /// true if the queue is closing.
    pub(super) fn wait_for_lines(&self, time_max: Duration) -> bool {
        let idle = |state: &QueueState| state.trail.waiting_bytes() == 0 && !state.is_closing;
        let state = self.wait_while(lock(&self.state), time_max, idle);
        let quiet = |state: &QueueState| !state.is_urgent && !state.is_closing;
        let batch_max = if state.trail.waiting_bytes() > 0 { BATCH_MAX } else { Duration::ZERO };
        self.wait_while(state, batch_max, quiet).is_closing
    }

    /// Waits before a failed write is tried again. Returns true if the queue is closing.
    pub(super) fn wait_to_retry(&self, time_max: Duration) -> bool {
        let goes_on = |state: &QueueState| !state.is_closing;
        self.wait_while(lock(&self.state), time_max, goes_on).is_closing
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, QueueState>,
        time_max: Duration,
        condition: impl Fn(&QueueState) -> bool,
    ) -> MutexGuard<'a, QueueState> {
        let waited = self.wake.wait_timeout_while(state, time_max, |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes all waiting lines. `None` if none waits.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = lock(&self.state);
        state.is_urgent = false;
        let mut bytes = Vec::new();
        // Writing to memory cannot fail.
        state.trail.flush(&mut bytes).ok()?;
        state.taken_bytes = bytes.len();
        (!bytes.is_empty()).then(|| Batch { bytes, head: state.trail.head() })
    }

    /// Records that all lines up to a head are durable. Returns true if this ends a time of failures.
    pub(super) fn mark_synced(&self, head: Head) -> bool {
        let mut state = lock(&self.state);
        state.taken_bytes = 0;
        state.synced_at = Instant::now();
        let was_failing = self.is_failing.swap(false, Ordering::Relaxed);
        self.progress.send_modify(|progress| {
            progress.synced = head.seq;
            progress.is_failing = false;
        });
        // The line about lost events comes before any later line. Without space it waits for the next one.
        let before = state.trail.head().seq;
        let _ = state.trail.report_lost(Timestamp::now());
        state.line_count += state.trail.head().seq - before;
        was_failing
    }

    /// Records that an attempt to write has failed. Acts that wait fail.
    pub(super) fn mark_failed(&self) {
        self.is_failing.store(true, Ordering::Relaxed);
        self.progress.send_modify(|progress| {
            progress.failure_count += 1;
            progress.is_failing = true;
        });
    }

    /// Asks the writer to end.
    pub(super) fn close(&self) {
        lock(&self.state).is_closing = true;
        self.wake.notify_one();
    }

    /// Records that the writer has ended.
    pub(super) fn mark_closed(&self) {
        self.progress.send_modify(|progress| progress.is_closed = true);
    }

    /// Waits until the writer has ended.
    pub(super) async fn closed(&self) {
        // The sender lives as long as this.
        let _ = self.progress.subscribe().wait_for(|progress| progress.is_closed).await;
    }

    pub(super) fn add_reader(&self) {
        self.readers.send_modify(|count| *count += 1);
    }

    pub(super) fn remove_reader(&self) {
        self.readers.send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Waits until no worker thread counts reads any more.
    pub(super) async fn readers_gone(&self) {
        // The sender lives as long as this.
        let _ = self.readers.subscribe().wait_for(|count| *count == 0).await;
    }

    pub(super) fn figures(&self) -> AuditFigures {
        let state = lock(&self.state);
        AuditFigures {
            line_count: state.line_count,
            waiting_bytes: (state.trail.waiting_bytes() + state.taken_bytes) as u64,
            lost_count: state.lost_count,
            sync_age: state.synced_at.elapsed(),
        }
    }
}
