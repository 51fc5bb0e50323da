//! The audit trail of a running server: what is recorded, and the thread that writes it.
//!
//! The crate `headwater-access` makes lines and chains them. This module decides which events become lines and which are
//! counted (`counted`, `reads`), and makes lines durable (`writer`, `destination`, `file`).
//!
//! Acts of persons and CI wait until their lines are durable, and fail if that takes too long. All other events are
//! recorded without waiting. Without space in memory they are counted, and a line `gap` has their number later.

mod counted;
mod destination;
mod file;
mod queue;
mod reading;
mod reads;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use self::counted::CountedEvents;
use self::destination::Destination;
use self::queue::Queue;
use self::reading::Reading;
use self::writer::Writer;
use crate::faults::Faults;

pub use headwater_access::audit::{AuditEvent, AuditLine, Entry, Filter, Ticket, parse_time};

pub use self::file::AuditFileError;
pub use self::reading::AuditPage;
pub use self::reads::{OpenedRead, OpenedReads, READ_REPORT_INTERVAL};

/// The longest time that an act waits until its line is durable.
const ACT_MAX: Duration = Duration::from_secs(10);
/// The longest time that a stopping server waits for its last lines.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// The bytes of lines that wait in memory at most.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The destination of the trail, and its limits.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    pub file: Option<PathBuf>,
    /// Write the lines to standard output too.
    pub stdout: bool,
    /// The size at which the file is rotated.
    pub rotate_bytes: u64,
    /// The number of rotated files that are kept.
    pub keep_count: usize,
    /// Reject reads of opened values while the trail cannot be written.
    pub is_required: bool,
    /// The name of this server in each line.
    pub replica: String,
}

/// The trail of this server.
///
/// Dropping it ends the thread that writes, after one more attempt to write the waiting lines.
pub struct Audit {
    queue: Arc<Queue>,
    counted: Arc<CountedEvents>,
    is_required: bool,
    file: Option<PathBuf>,
    /// Lets one caller at a time read the file.
    reading: tokio::sync::Mutex<()>,
}

/// The line of an act is not durable, so that the act must not take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written")]
pub struct UnwrittenError;

/// Figures for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFigures {
    /// The lines that this server has recorded.
    pub line_count: u64,
    /// The bytes of lines that are not durable yet.
    pub waiting_bytes: u64,
    /// The events that were not recorded because too many lines waited.
    pub lost_count: u64,
    /// The time since lines were made durable last, or since the start.
    pub sync_age: Duration,
}

/// The identity behind an act, as lines show it. It contains no credential.
#[derive(Debug, Clone, Default)]
pub struct AuditActor {
    pub principal: Option<String>,
    pub kind: Option<String>,
    /// The kind of credential, such as `token:ba7816bf`.
    pub proof: Option<String>,
    /// The user name that came with the credential and proves nothing.
    pub claimed: Option<String>,
    pub address: Option<String>,
}

impl AuditActor {
    /// Begins the entry of an act.
    pub fn entry(&self, event: AuditEvent) -> Entry {
        Entry {
            principal: self.principal.clone(),
            kind: self.kind.clone(),
            proof: self.proof.clone(),
            claimed: self.claimed.clone(),
            address: self.address.clone(),
            ..Entry::new(event)
        }
    }
}

impl Audit {
    /// Opens the destination, continues the chain of an earlier server, and starts the thread that writes.
    ///
    /// # Errors
    /// When the file cannot be used, or is not an audit trail.
    pub fn open(options: &AuditOptions, faults: Arc<Faults>) -> Result<Arc<Self>, AuditFileError> {
        let (destination, opened) = Destination::open(options)?;
        let boot = format!("{:016x}", fastrand::u64(..));
        let queue = Arc::new(Queue::new(opened.head, &options.replica, &boot, WAITING_BYTES_MAX));
        let counted = Arc::new(CountedEvents::default());
        let (to_write, to_count) = (Arc::clone(&queue), Arc::clone(&counted));
        let writer = Writer::new(to_write, to_count, destination, opened.head, faults);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(AuditFileError::Thread)?;
        if opened.torn_bytes > 0 {
            let bytes = opened.torn_bytes;
            tracing::warn!(bytes, "an incomplete line at the end of the audit file was removed");
        }
        Ok(Arc::new(Self {
            queue,
            counted,
            is_required: options.is_required,
            file: options.file.clone(),
            reading: tokio::sync::Mutex::default(),
        }))
    }

    /// Records an event that takes place in any case.
    pub fn record(&self, entry: &Entry) {
        self.queue.record(entry, Timestamp::now());
    }

    /// Records an act, and waits until its line is durable.
    ///
    /// Cancellation: the line stays recorded.
    ///
    /// # Errors
    /// When the line is not durable in time. The act must not take place. A line that says otherwise may become durable
    /// later, so that the caller records the failure too.
    pub async fn record_act(&self, entry: &Entry) -> Result<(), UnwrittenError> {
        let mut receipt = self.queue.record_act(entry, Timestamp::now())?;
        timeout(ACT_MAX, receipt.durable()).await.unwrap_or(Err(UnwrittenError))
    }

    /// The same on a thread that may block.
    ///
    /// # Errors
    /// As for [`Audit::record_act`].
    pub fn record_act_blocking(&self, entry: &Entry) -> Result<(), UnwrittenError> {
        let receipt = self.queue.record_act(entry, Timestamp::now())?;
        self.queue.wait_until_durable(&receipt, ACT_MAX)
    }

    /// Records a denial. The first one of its principal and object becomes a line at once, and further ones are counted.
    pub fn record_denial(&self, entry: &Entry) {
        let now = Timestamp::now();
        if self.counted.record_denial(entry, now) {
            self.queue.record(entry, now);
        }
    }

    /// Records a rejected credential. The first one of its address and kind of reason becomes a line at once, and
    /// further ones are counted.
    pub fn record_rejection(&self, entry: &Entry, reason_kind: &str) {
        let now = Timestamp::now();
        if self.counted.record_rejection(entry, reason_kind, now) {
            self.queue.record(entry, now);
        }
    }

    /// Reads the lines that satisfy a filter, of those whose number is higher than `after`. A page has at most `count_max`
    /// lines and takes a bounded time. Returns `None` if the trail has no file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn page(
        &self,
        filter: Filter,
        after: u64,
        count_max: usize,
    ) -> std::io::Result<Option<AuditPage>> {
        let Some(path) = self.file.clone() else { return Ok(None) };
        let _reading = self.reading.lock().await;
        let reading = tokio::task::spawn_blocking(move || {
            Reading { filter: &filter, after, count_max }.page(&path)
        });
        reading.await.map_err(std::io::Error::other)?.map(Some)
    }

    /// Returns false if reads of opened values have to be rejected now.
    pub fn permits_opened_reads(&self) -> bool {
        !self.is_required || !self.queue.is_failing.load(Ordering::Relaxed)
    }

    /// Records the end of the server, and waits a bounded time until the file is complete and closed.
    pub async fn close(&self, entry: &Entry) {
        // All counts come before the last line.
        let readers = self.queue.readers_gone();
        let _ = timeout(CLOSE_MAX, readers).await;
        for counted in self.counted.take_entries() {
            self.record(&counted);
        }
        self.record(entry);
        self.queue.close();
        let _ = timeout(CLOSE_MAX, self.queue.closed()).await;
    }

    pub fn figures(&self) -> AuditFigures {
        self.queue.figures()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
