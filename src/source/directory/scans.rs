//! Scans of a directory: one at a time, on a separate thread, shared by all waiting labels.
//!
//! Invariant: a label waits for a scan that begins after its request, so that the scan shows every earlier change.
//!
//! Cancellation: a dropped waiter does not end the scan. A scan that hangs, for example on a network file system, keeps its
//! one thread, and no second scan begins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::DirectoryReading;
use crate::source::SourceError;
use crate::sync::lock;

/// The result of a scan.
pub(super) type ScanResult = Result<Arc<DirectoryReading>, SourceError>;

/// The reasons for which a waiting label gets no result.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The scan under way takes too long.
    Unfinished,
    /// The system provides no thread.
    Thread(std::io::ErrorKind),
}

/// The scans of one directory, counted from one.
pub(super) struct Scans {
    state: Mutex<ScanState>,
    /// The number of the last scan that ended.
    ended: watch::Sender<u64>,
    /// The number of labels that wait for a change. Each checks again at an interval.
    pub(super) follower_count: AtomicU64,
}

#[derive(Default)]
struct ScanState {
    begun_count: u64,
    /// The highest number of a scan for which a label waits.
    wanted: u64,
    /// The beginning of the scan under way.
    running: Option<Instant>,
    /// The beginning of the last scan.
    begun: Option<Instant>,
    last: Option<ScanResult>,
    /// The reading of the last successful scan.
    latest: Option<Arc<DirectoryReading>>,
}

/// Counts a label among the followers until it is dropped.
pub(super) struct FollowerGuard<'a>(&'a AtomicU64);

impl Drop for FollowerGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Scans {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            ended: watch::Sender::new(0),
            follower_count: AtomicU64::new(0),
        }
    }
}

impl Scans {
    /// Counts the caller among the followers.
    pub(super) fn follow(&self) -> FollowerGuard<'_> {
        self.follower_count.fetch_add(1, Ordering::Relaxed);
        FollowerGuard(&self.follower_count)
    }

    /// The reading of the last successful scan.
    pub(super) fn latest(&self) -> Option<Arc<DirectoryReading>> {
        lock(&self.state).latest.clone()
    }

    /// The number of scans that have begun.
    pub(super) fn count(&self) -> u64 {
        lock(&self.state).begun_count
    }

    /// The time since the last scan began.
    pub(super) fn age(&self) -> Option<Duration> {
        lock(&self.state).begun.map(|begun| begun.elapsed())
    }

    /// The beginning of the scan under way.
    pub(super) fn running(&self) -> Option<Instant> {
        lock(&self.state).running
    }

    /// Waits for a scan that begins after this call, until `time_max` after the beginning of the scan under way.
    pub(super) async fn next(
        &self,
        time_max: Duration,
        start: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<ScanResult, ScanError> {
        let (number, since) = self.request(start).map_err(|it| ScanError::Thread(it.kind()))?;
        let mut ended = self.ended.subscribe();
        let left = time_max.saturating_sub(since.elapsed());
        let waited = timeout(left, ended.wait_for(|ended| *ended >= number)).await.is_ok();
        // The sender lives as long as this source does.
        lock(&self.state).last.clone().filter(|_| waited).ok_or(ScanError::Unfinished)
    }

    /// Requests a scan, and starts it if none is under way. Returns its number and the beginning of the scan under way.
    fn request(
        &self,
        start: impl FnOnce() -> std::io::Result<()>,
    ) -> std::io::Result<(u64, Instant)> {
        let mut state = lock(&self.state);
        if let Some(since) = state.running {
            state.wanted = state.begun_count + 1;
            return Ok((state.wanted, since));
        }
        start()?;
        let begun = state.begin();
        state.wanted = state.begun_count;
        Ok((state.begun_count, begun))
    }

    /// Scans until no label waits for another scan. Runs on the scan thread.
    pub(super) fn run(&self, mut scan: impl FnMut(Option<&Arc<DirectoryReading>>) -> ScanResult) {
        loop {
            let latest = self.latest();
            let outcome = scan(latest.as_ref());
            let mut state = lock(&self.state);
            if let Ok(reading) = &outcome {
                state.latest = Some(Arc::clone(reading));
            }
            state.last = Some(outcome);
            let ended = state.begun_count;
            let is_over = state.wanted <= ended;
            if is_over {
                state.running = None;
            } else {
                state.begin();
            }
            drop(state);
            self.ended.send_replace(ended);
            if is_over {
                return;
            }
        }
    }
}

impl ScanState {
    fn begin(&mut self) -> Instant {
        let now = Instant::now();
        self.begun_count += 1;
        self.running = Some(now);
        self.begun = Some(now);
        now
    }
}
