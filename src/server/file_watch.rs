//! Notices changes of files by watching the directories that contain them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher};

use crate::sync::lock;

/// The time without changes after which the files are read. Several files are written one after the other.
const QUIET: Duration = Duration::from_millis(100);
/// The longest delay of a read in a directory that changes all the time.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// A watch of files, which ends when this is dropped.
pub(super) struct FileWatch {
    changed: Sender<()>,
    watcher: Mutex<DirectoryWatcher>,
}

struct DirectoryWatcher {
    watcher: notify::RecommendedWatcher,
    directories: HashSet<PathBuf>,
}

/// The changes that a [`FileWatch`] notices.
pub(super) struct FileChanges(Receiver<()>);

/// The result of waiting for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// A file may have changed.
    Changed,
    /// No file has changed for the given time.
    Unchanged,
    /// The watch was dropped.
    Ended,
}

impl FileWatch {
    /// Watches the directories of files. The files need not exist.
    pub(super) fn new(files: &[&Path]) -> notify::Result<(Self, FileChanges)> {
        let (changed, changes) = std::sync::mpsc::channel();
        let noticed = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| !is_read(event.kind)) {
                // The receiver ends with the watcher, never before it.
                let _ = noticed.send(());
            }
        })?;
        let watcher = DirectoryWatcher { watcher, directories: HashSet::new() };
        let watch = Self { changed, watcher: Mutex::new(watcher) };
        for file in files {
            watch.add(file)?;
        }
        Ok((watch, FileChanges(changes)))
    }

    /// Watches the directory of a further file.
    pub(super) fn add(&self, file: &Path) -> notify::Result<()> {
        let directory = directory(file);
        let mut watcher = lock(&self.watcher);
        if !watcher.directories.contains(directory) {
            watcher.watcher.watch(directory, RecursiveMode::NonRecursive)?;
            watcher.directories.insert(directory.to_owned());
        }
        Ok(())
    }

    /// Reports a change, whether one was noticed or not.
    pub(super) fn read_again(&self) {
        // The receiver ends with the watch, never before it.
        let _ = self.changed.send(());
    }
}

impl FileChanges {
    /// Waits for a change, and then until the files are quiet.
    pub(super) fn wait(&self, time_max: Duration) -> Wait {
        match self.0.recv_timeout(time_max) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return Wait::Unchanged,
            Err(RecvTimeoutError::Disconnected) => return Wait::Ended,
        }
        let at_last = Instant::now() + QUIET_MAX;
        while Instant::now() < at_last && self.0.recv_timeout(QUIET).is_ok() {}
        Wait::Changed
    }
}

/// Returns true for an event about a read file. This server reads the files itself after each change.
fn is_read(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        _ => false,
    }
}

fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
