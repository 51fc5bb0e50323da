//! Appends records to the file of the day. It runs on the thread of the history, so that it may block.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use headwater_wire::{FleetChange, FleetRecord};
use jiff::Timestamp;

use super::files::{self, Day, DayFiles};
use super::records::{self, State};
use crate::fleet::instances::Instance;

/// The time between two syncs of a file with new lines.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Recorder {
    files: DayFiles,
    /// The file of the day, unless it could not be opened.
    open: Option<OpenDay>,
    state: State,
    /// The time of the last comparison.
    compared_at: Timestamp,
    /// True if differences remain that the limit of an application has left over.
    is_behind: bool,
    /// The reason for which the last lines could not be written.
    failure: Option<String>,
    lost_count: u64,
}

struct OpenDay {
    day: Day,
    file: File,
    length: u64,
    /// The time of the first line that is not synced.
    dirty_since: Option<Instant>,
}

impl Recorder {
    pub(super) fn new(files: DayFiles) -> Self {
        Self {
            files,
            open: None,
            state: State::new(),
            compared_at: Timestamp::now(),
            is_behind: false,
            failure: None,
            lost_count: 0,
        }
    }

    /// Records how the instances differ from the last comparison.
    pub(super) fn record(&mut self, instances: Vec<Instance>, now: Timestamp) {
        let before = std::mem::replace(&mut self.compared_at, now);
        let has_day = self.begin_day(before.min(now), now);
        let (records, is_complete) = records::advance(&mut self.state, instances, before, now);
        self.is_behind = !is_complete;
        self.append(has_day, &records);
    }

    /// Writes new lines to the disk if the oldest of them has waited for long enough.
    pub(super) fn sync_if_due(&mut self) -> io::Result<()> {
        let since = self.open.as_ref().and_then(|open| open.dirty_since);
        if since.is_some_and(|since| since.elapsed() >= SYNC_INTERVAL) {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Writes new lines to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.dirty_since.is_some() {
            open.file.sync_data()?;
            open.dirty_since = None;
        }
        Ok(())
    }

    /// True if the next comparison should not wait for a change.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind || self.failure.is_some()
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn lost_count(&self) -> u64 {
        self.lost_count
    }

    /// Opens the file of the day. It continues with a record that ends the former state, and with the state of every
    /// instance at the last comparison. So does a file after a failure, because lines are missing in it.
    fn begin_day(&mut self, before: Timestamp, now: Timestamp) -> io::Result<()> {
        let today = files::day(now);
        if self.failure.is_none() && self.open.as_ref().is_some_and(|open| open.day == today) {
            return Ok(());
        }
        let is_other_day = self.open.as_ref().is_some_and(|open| open.day != today);
        // The former day is complete, also if this fails.
        let _ = self.sync();
        let (file, length) = self.files.open(&today)?;
        let mut open = OpenDay { day: today.clone(), file, length, dirty_since: None };
        // A day to which the clock has returned has a file already.
        let is_next_day = is_other_day && length == 0;
        let at = if is_next_day { files::begin(&today) } else { before.to_string() };
        let mut lines = vec![started(&at)];
        let state = self.state.values();
        lines.extend(state.map(|record| FleetRecord { at: at.clone(), ..record.clone() }));
        open.append(&lines)?;
        self.open = Some(open);
        if let Err(error) = self.files.tidy(&today) {
            tracing::warn!(%error, "older files of the history cannot be compressed or removed");
        }
        Ok(())
    }

    fn append(&mut self, has_day: io::Result<()>, records: &[FleetRecord]) {
        let appended = has_day.and_then(|()| match &mut self.open {
            Some(open) => open.append(records),
            None => Ok(()),
        });
        match appended {
            Ok(()) => self.failure = None,
            Err(error) => {
                self.lost_count += records.len() as u64;
                self.failure = Some(error.to_string());
            }
        }
    }
}

impl OpenDay {
    fn append(&mut self, records: &[FleetRecord]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if !DayFiles::has_room(self.length) {
            return Err(io::Error::other("the file of the day has reached its largest size"));
        }
        let mut bytes = Vec::new();
        for record in records {
            serde_json::to_writer(&mut bytes, record)?;
            bytes.push(b'\n');
        }
        self.dirty_since.get_or_insert_with(Instant::now);
        if let Err(error) = self.file.write_all(&bytes) {
            // A part of the lines is of no use. If this fails, the file is read without the torn line.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// The line behind which the former state no longer counts.
fn started(at: &str) -> FleetRecord {
    FleetRecord {
        at: at.to_owned(),
        change: FleetChange::Started,
        replica: String::new(),
        instance: String::new(),
        incarnation: None,
        application: String::new(),
        profiles: String::new(),
        label: None,
        revision: None,
        digest: None,
        outcome: None,
        since: None,
        reason: None,
        health: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::history::records::tests::instance;

    fn instances(names: &[&str]) -> Vec<Instance> {
        let create = |name: &&str| Instance { first_seen: Timestamp::MIN, ..instance(name, "1") };
        names.iter().map(create).collect()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn names(files: &DayFiles, at: &str) -> Option<Vec<String>> {
        let records = files.at(time(at)).unwrap()?;
        Some(records.into_iter().map(|record| record.instance).collect())
    }

    fn owned(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_clock_that_goes_back_hides_no_record() {
        let place = tempfile::tempdir().unwrap();
        let files = DayFiles::new(place.path().to_owned(), 30);
        let mut recorder = Recorder::new(files.clone());
        recorder.record(instances(&["a"]), time("2026-11-20T10:00:00Z"));
        recorder.record(instances(&["a", "b"]), time("2026-11-21T10:00:00Z"));
        recorder.record(instances(&["a", "b", "c"]), time("2026-11-20T12:00:00Z"));
        let check = || {
            assert_eq!(names(&files, "2026-11-20T11:00:00Z"), owned(&["a"]));
            assert_eq!(names(&files, "2026-11-20T13:00:00Z"), owned(&["a", "b", "c"]));
            assert_eq!(names(&files, "2026-11-21T09:00:00Z"), owned(&["a"]));
            assert_eq!(names(&files, "2026-11-21T11:00:00Z"), owned(&["a", "b"]));
        };
        check();
        recorder.record(instances(&["c"]), time("2026-11-22T10:00:00Z"));
        check();
        assert_eq!(names(&files, "2026-11-22T11:00:00Z"), owned(&["c"]));
        assert_eq!(recorder.lost_count(), 0);
    }

    #[test]
    fn a_day_without_instances_is_known() {
        let place = tempfile::tempdir().unwrap();
        let files = DayFiles::new(place.path().to_owned(), 30);
        let mut recorder = Recorder::new(files.clone());
        recorder.record(Vec::new(), time("2026-11-20T10:00:00Z"));
        recorder.record(Vec::new(), time("2026-11-21T00:00:01Z"));
        assert_eq!(names(&files, "2026-11-21T09:00:00Z"), owned(&[]));
        assert_eq!(names(&files, "2026-11-19T09:00:00Z"), None);
    }

    #[test]
    fn after_a_failure_the_state_is_written_again() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("history");
        let files = DayFiles::new(directory.clone(), 30);
        let mut recorder = Recorder::new(files.clone());
        std::fs::write(&directory, "no directory").unwrap();
        recorder.record(instances(&["a"]), time("2026-11-20T10:00:00Z"));
        assert!(recorder.failure().is_some() && recorder.is_behind());
        assert_eq!(recorder.lost_count(), 1);
        std::fs::remove_file(&directory).unwrap();
        recorder.record(instances(&["a"]), time("2026-11-20T10:00:01Z"));
        assert_eq!(recorder.failure(), None);
        assert_eq!(names(&files, "2026-11-20T10:00:01Z"), owned(&["a"]));
    }
}
