//! The data directory, which keeps state between two starts and is locked by one server at a time.
//!
//! A killed server leaves child processes behind that work in the directory for a moment longer, such as the git of a push.
//! The next server waits for their end before it reads their results and sweeps their leftovers.
//!
//! The directory belongs to its owner alone. Its content is served to every client, so a directory that other users may
//! write to is rejected. A symbolic link is rejected as well, because it may point elsewhere a moment later.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// The file whose lock belongs to the running server. It contains the process id.
const LOCK: &str = "lock";
/// The longest that a start waits for the server before it, which may be ending. A child process that this server was about
/// to start holds the lock as well until it runs its program.
const HELD_MAX: Duration = Duration::from_secs(1);
/// The file whose lock the server shares with each of its child processes that work in the directory.
const AT_WORK: &str = "at-work";
/// The longest that a start waits for the child processes of a killed server.
const AT_WORK_MAX: Duration = Duration::from_secs(30);
/// The interval between two attempts to lock a file.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The mode bits that permit writing to other users than the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The reasons for which the data directory cannot be used. The messages are for the operator and contain the path.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another server holds the lock of the directory.
    #[error(
        "data directory {} is held by another server{}. Stop that server, or configure another data directory",
        path.display(),
        holder(*process)
    )]
    Held {
        /// The path as configured.
        path: PathBuf,
        /// The process id of that server, if the lock file could be read.
        process: Option<u32>,
    },
    /// Child processes of a killed server do not end.
    #[error(
        "data directory {}: processes of a killed server still run in it. End them, or start again later",
        path.display()
    )]
    AtWork {
        /// The path as configured.
        path: PathBuf,
    },
    /// The directory exists and is not safe to use.
    #[error("data directory {} {reason}", path.display())]
    Unsafe {
        /// The path as configured.
        path: PathBuf,
        /// The reason, as the end of a sentence about the directory.
        reason: &'static str,
    },
    /// The system denies access to the directory.
    #[error("data directory {}: {reason}", path.display())]
    Unusable {
        /// The path as configured.
        path: PathBuf,
        /// The error of the system.
        reason: std::io::Error,
    },
}

fn holder(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(", process {process}"))
}

/// The locked data directory of this process. Dropping it releases the lock.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    lock: File,
    at_work: File,
}

impl DataDirectory {
    /// Creates the directory if it is missing, and locks it. Waits for the child processes of a killed server.
    /// Blocking.
    ///
    /// # Errors
    /// When another server holds it, or it cannot be used safely.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unusable = |reason| DataError::Unusable { path: path.to_owned(), reason };
        let absolute = std::path::absolute(path).map_err(unusable)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&absolute).map_err(unusable)?;
        let found = fs::symlink_metadata(&absolute).map_err(unusable)?;
        let refused = |reason| Err(DataError::Unsafe { path: path.to_owned(), reason });
        if found.is_symlink() {
            return refused("is a symbolic link: configure the directory that it points to");
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return refused(
                "is owned by another user than the one that runs the server: change its owner",
            );
        }
        if found.mode() & WRITABLE_BY_OTHERS != 0 {
            return refused("is writable by other users: run chmod go-w on it");
        }
        // Git reports its working path with symbolic links resolved, and hooks compare that path with this one.
        let absolute = fs::canonicalize(&absolute).map_err(unusable)?;
        let lock = take(path, &absolute.join(LOCK))?;
        let at_work = wait_for_others(path, &absolute.join(AT_WORK))?;
        Ok(Self { path: absolute, lock, at_work })
    }

    /// A file that a child process keeps open while it works in the directory. The child may outlive this process, and the
    /// next server waits for it. The file is open for reading only.
    ///
    /// # Errors
    /// The error of the system.
    pub fn at_work(&self) -> std::io::Result<File> {
        self.at_work.try_clone()
    }

    /// The absolute path, with symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a subdirectory, created if it is missing.
    ///
    /// # Errors
    /// The error of the system.
    pub fn directory(&self, name: &str) -> std::io::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // Closing the file releases the lock as well, unless a child process that is just starting holds a copy of it.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Waits for the child processes of an earlier server, then takes the shared lock that the child processes of this
/// server will hold.
fn wait_for_others(path: &Path, file: &Path) -> Result<File, DataError> {
    let unusable = |reason| DataError::Unusable { path: path.to_owned(), reason };
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).mode(0o600);
    let all = options.clone().write(true).create(true).truncate(false).open(file);
    let all = all.map_err(unusable)?;
    let log = || {
        tracing::warn!(
            "waiting for processes that a killed server left running in the data directory"
        );
    };
    if !lock_within(AT_WORK_MAX, &all, log).map_err(unusable)? {
        return Err(DataError::AtWork { path: path.to_owned() });
    }
    // A child process that another thread is just starting holds a copy of the file until it runs its program, so that
    // closing the file would not release the lock yet.
    flock(&all, FlockOperation::Unlock).map_err(|error| unusable(error.into()))?;
    drop(all);
    // Locking: no other server can take the lock in between, because this one has locked the directory.
    let shared = options.open(file).map_err(unusable)?;
    flock(&shared, FlockOperation::NonBlockingLockShared)
        .map_err(|error| unusable(error.into()))?;
    Ok(shared)
}

/// Locks a file for this process alone. Returns false if another process still holds the lock after `wait_max`. Calls
/// `on_wait` once if the lock is not free at once.
fn lock_within(wait_max: Duration, file: &File, on_wait: impl FnOnce()) -> std::io::Result<bool> {
    let begun = Instant::now();
    let mut on_wait = Some(on_wait);
    while let Err(error) = flock(file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(error.into());
        }
        if begun.elapsed() > wait_max {
            return Ok(false);
        }
        if let Some(on_wait) = on_wait.take() {
            on_wait();
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok(true)
}

fn take(path: &Path, lock: &Path) -> Result<File, DataError> {
    let unusable = |reason| DataError::Unusable { path: path.to_owned(), reason };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(lock)
        .map_err(unusable)?;
    if !lock_within(HELD_MAX, &file, || {}).map_err(unusable)? {
        let mut text = String::new();
        // An unreadable process id is no error. The message omits it.
        let process = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
        return Err(DataError::Held { path: path.to_owned(), process });
    }
    file.set_len(0).map_err(unusable)?;
    file.rewind().map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn one_server_at_a_time_holds_it_and_the_error_has_its_process_id() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/data");
        let held = DataDirectory::open(&path).unwrap();
        let error = DataDirectory::open(&path).unwrap_err().to_string();
        let process = format!("held by another server, process {}", std::process::id());
        assert!(error.contains(&format!("{process}. ")), "{error}");
        drop(held);
        DataDirectory::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_start_waits_for_a_server_that_is_ending() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        let held = DataDirectory::open(&path).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| DataDirectory::open(&path));
            // A start that does not wait ends within this time.
            std::thread::sleep(3 * LOCK_PAUSE);
            assert!(!next.is_finished());
            drop(held);
            next.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_start_waits_for_processes_of_an_earlier_server() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        let held = DataDirectory::open(&path).unwrap();
        let left = held.at_work().unwrap();
        drop(held);
        std::thread::scope(|scope| {
            let next = scope.spawn(|| DataDirectory::open(&path));
            // A start that does not wait ends within this time.
            std::thread::sleep(3 * LOCK_PAUSE);
            assert!(!next.is_finished());
            drop(left);
            next.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_symbolic_link_and_a_directory_writable_by_others_are_rejected() {
        let place = tempfile::tempdir().unwrap();
        let (real, link) = (place.path().join("real"), place.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let error = DataDirectory::open(&link).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o777)).unwrap();
        let error = DataDirectory::open(&real).unwrap_err().to_string();
        assert!(error.contains("is writable by other users"), "{error}");
    }

    #[test]
    fn a_file_in_its_place_is_a_clear_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        fs::write(&path, "").unwrap();
        assert!(matches!(DataDirectory::open(&path), Err(DataError::Unusable { .. })));
    }
}
