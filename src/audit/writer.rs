//! The thread that makes lines durable. It is the only one that touches the destination.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_access::audit::Head;
use jiff::Timestamp;

use super::counted::CountedEvents;
use super::destination::{Destination, Written};
use super::queue::{Batch, Queue};
use crate::faults::{FaultKind, Faults};

/// The pause before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The interval at which counted events become lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The interval at which the head of the chain goes to the log.
const HEAD_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The objects of faults of the trail.
const OBJECT: &str = "the audit trail of the server";
const COPY_OBJECT: &str = "the audit trail on standard output";

pub(super) struct Writer {
    queue: Arc<Queue>,
    counted: Arc<CountedEvents>,
    destination: Destination,
    faults: Arc<Faults>,
    /// The lines that could not be written yet.
    pending: Option<Batch>,
    /// The head of all durable lines.
    synced: Head,
    head_logged_at: Instant,
    counts_reported_at: Instant,
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue>,
        counted: Arc<CountedEvents>,
        destination: Destination,
        synced: Head,
        faults: Arc<Faults>,
    ) -> Self {
        Self {
            queue,
            counted,
            destination,
            faults,
            pending: None,
            synced,
            head_logged_at: Instant::now(),
            counts_reported_at: Instant::now(),
        }
    }

    /// Writes lines until the queue is closed.
    pub(super) fn run(mut self) {
        self.log_head();
        loop {
            let is_closing = match self.pending {
                Some(_) => self.queue.wait_to_retry(RETRY_AFTER),
                None => self.queue.wait_for_lines(self.idle_time()),
            };
            if is_closing {
                break;
            }
            self.report_counts_if_due();
            self.write();
            if self.head_logged_at.elapsed() >= HEAD_INTERVAL {
                self.log_head();
            }
        }
        self.report_counts();
        // The second batch contains the line about lost events.
        self.write();
        self.write();
        self.log_head();
        drop(self.destination);
        self.queue.mark_closed();
    }

    /// The time until something has to be done without a line.
    fn idle_time(&self) -> Duration {
        let left = |interval: Duration, at: Instant| interval.saturating_sub(at.elapsed());
        left(REPORT_INTERVAL, self.counts_reported_at).min(left(HEAD_INTERVAL, self.head_logged_at))
    }

    /// Writes one batch: the one that failed before, or all waiting lines.
    fn write(&mut self) {
        let Some(batch) = self.pending.take().or_else(|| self.queue.take()) else {
            return;
        };
        match self.destination.write(&batch.bytes, batch.head) {
            Ok(written) => {
                self.synced = batch.head;
                if self.queue.mark_synced(batch.head) {
                    self.faults.end(FaultKind::AuditUnwritable, OBJECT);
                }
                self.report(written);
            }
            Err(error) => {
                // The fault comes first, so that a caller whose act has failed finds it.
                self.faults.begin(FaultKind::AuditUnwritable, OBJECT, &error.to_string());
                self.queue.mark_failed();
                self.pending = Some(batch);
            }
        }
    }

    fn report(&mut self, written: Written) {
        match written.copy_failure {
            None => self.faults.end(FaultKind::AuditUnwritable, COPY_OBJECT),
            Some(error) => {
                let reason = error.to_string();
                self.faults.begin(FaultKind::AuditUnwritable, COPY_OBJECT, &reason);
            }
        }
        if written.has_rotated {
            self.log_head();
        }
    }

    /// Logs the head, so that a trail whose end was removed can be detected.
    fn log_head(&mut self) {
        self.head_logged_at = Instant::now();
        let head = self.synced;
        tracing::info!(%head, "head of the audit trail");
    }

    fn report_counts_if_due(&mut self) {
        if self.counts_reported_at.elapsed() >= REPORT_INTERVAL {
            self.report_counts();
        }
    }

    fn report_counts(&mut self) {
        self.counts_reported_at = Instant::now();
        for entry in self.counted.take_entries() {
            self.queue.record(&entry, Timestamp::now());
        }
    }
}
