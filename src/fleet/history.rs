//! The history of instances: which configuration ran where at a time in the past.
//!
//! One thread compares the table of instances with what it recorded last, once a second, and appends a line for each
//! difference to the file of the day. No request waits for it. A disk that is full costs lines, which are counted, and no
//! answer.
//!
//! `records` finds the differences, `files` are the files of all days, and `recorder` connects the two.

mod files;
mod recorder;
mod records;

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use headwater_wire::FleetRecord;
use jiff::{SignedDuration, Timestamp};

use super::instances::{Instance, Instances};
use crate::faults::{FaultKind, Faults};
use crate::sync::lock;
use files::DayFiles;
use recorder::Recorder;

/// The time between two comparisons.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of intervals after which instances are compared although none has reported a change.
const IDLE_INTERVALS: u32 = 5;
/// The length of a day in UTC.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The parts in which the table of instances is copied.
const PARTS: u8 = 16;
/// The longest that a stopping server waits for the last lines.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The history of one server.
pub struct History {
    files: DayFiles,
    thread: Mutex<Option<HistoryThread>>,
}

struct HistoryThread {
    /// Dropped to stop the thread.
    stop: mpsc::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl History {
    /// Returns the last record of each instance that was present when a server stopped to record. Blocks while it reads a
    /// file.
    ///
    /// # Errors
    /// The error of the system.
    pub fn last(directory: PathBuf, days: u16) -> std::io::Result<Vec<FleetRecord>> {
        let (files, now) = (DayFiles::new(directory, days), Timestamp::now());
        let found = match files.at(now)? {
            Some(found) => Some(found),
            // Nothing was recorded since midnight.
            None => files.at_in(&files::day(now - DAY), now)?,
        };
        Ok(found.unwrap_or_default())
    }

    /// Starts to record the instances in files below a directory. Older files than `days` days are removed.
    ///
    /// # Errors
    /// The error of the system if no thread can be started.
    pub fn start(
        directory: PathBuf,
        days: u16,
        instances: Arc<Instances>,
        faults: Arc<Faults>,
    ) -> std::io::Result<Arc<Self>> {
        let files = DayFiles::new(directory, days);
        let (stop, stopping) = mpsc::channel();
        let (ended, stopped) = mpsc::channel();
        let recorder = Recorder::new(files.clone());
        thread::Builder::new().name("history".to_owned()).spawn(move || {
            run(recorder, &instances, &faults, &stopping);
            // The server may have stopped waiting.
            let _ = ended.send(());
        })?;
        let thread = Mutex::new(Some(HistoryThread { stop, stopped }));
        Ok(Arc::new(Self { files, thread }))
    }

    /// Writes the last lines and stops. Blocks for a moment.
    pub fn close(&self) {
        let Some(HistoryThread { stop, stopped }) = lock(&self.thread).take() else { return };
        drop(stop);
        // A disk that hangs must not keep the server from stopping.
        let _ = stopped.recv_timeout(CLOSE_MAX);
    }

    /// Returns the last record of each instance that was present at a time. `None` if the history does not reach back to
    /// it. Blocks while it reads a file.
    ///
    /// # Errors
    /// The error of the system.
    pub fn at(&self, time: Timestamp) -> std::io::Result<Option<Vec<FleetRecord>>> {
        self.files.at(time)
    }

    /// Returns the records of the instances with a name between two times, and the number of further ones. Blocks while it
    /// reads files.
    ///
    /// # Errors
    /// The error of the system.
    pub fn of_instance(
        &self,
        name: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> std::io::Result<(Vec<FleetRecord>, u64)> {
        self.files.of_instance(name, from, until)
    }
}

/// Records until the server stops.
fn run(
    mut recorder: Recorder,
    instances: &Instances,
    faults: &Faults,
    stopping: &mpsc::Receiver<()>,
) {
    let mut changes = instances.changes();
    let mut idle = 0;
    loop {
        let is_stopping = stopping.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
        let has_changed = changes.has_changed().unwrap_or(false);
        idle = if has_changed { 0 } else { idle + 1 };
        if has_changed || idle % IDLE_INTERVALS == 0 || is_stopping || recorder.is_behind() {
            changes.mark_unchanged();
            recorder.record(snapshot(instances), Timestamp::now());
        }
        let synced = if is_stopping { recorder.sync() } else { recorder.sync_if_due() };
        match recorder.failure().or(synced.err().map(|error| error.to_string()).as_deref()) {
            Some(reason) => {
                let lost = recorder.lost_count();
                let reason =
                    format!("{reason}. {lost} lines are missing. Answers are not affected");
                faults.begin(FaultKind::HistoryUnwritable, "history", &reason);
            }
            None => faults.end(FaultKind::HistoryUnwritable, "history"),
        }
        if is_stopping {
            return;
        }
    }
}

/// Copies the table of instances in parts, so that no request waits for a copy of the whole.
fn snapshot(instances: &Instances) -> Vec<Instance> {
    let part = |name: &str| name.bytes().fold(0, |sum: u8, byte| sum.wrapping_add(byte)) % PARTS;
    (0..PARTS).flat_map(|wanted| instances.snapshot(|name, _| part(name) == wanted)).collect()
}
