//! The data directory: what the server keeps between two starts, held by one server at a time.
//!
//! A server that is killed leaves programs behind that still work in it for a moment, such as the git of a push. The next
//! one waits until they have ended: what they do is read then, and what they leave is swept, not taken from under them.
//!
//! It is made for its owner alone. What lies in it is served to everyone, so a directory that others may write to is
//! refused, and so is one that is reached through a symbolic link: it could be another one the next moment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// The file whose lock says who holds the directory; it names the process.
const LOCK: &str = "lock";
/// The file whose lock the server shares with the programs that it starts to work here, each for as long as it runs.
const AT_WORK: &str = "at-work";
/// How long a start waits for what a server that was killed has left at work.
const AT_WORK_MAX: Duration = Duration::from_secs(30);
/// How often it looks meanwhile.
const AT_WORK_PAUSE: Duration = Duration::from_millis(10);
/// Bits of a mode that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why the data directory cannot be used. For the operator: it names the path.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another server has it.
    #[error("data directory {} is held by another server{}", path.display(), holder(*process))]
    Held {
        /// As configured.
        path: PathBuf,
        /// The id of its process, if it could be read.
        process: Option<u32>,
    },
    /// Programs of a server that was killed do not come to their end.
    #[error(
        "data directory {}: programs of a server that was killed still work in it: end them, or try again",
        path.display()
    )]
    AtWork {
        /// As configured.
        path: PathBuf,
    },
    /// It is there, and it is not safe to use.
    #[error("data directory {} {reason}", path.display())]
    Unsafe {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system does not let it be used.
    #[error("data directory {}: {reason}", path.display())]
    Unusable {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

fn holder(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(", process {process}"))
}

/// The data directory of this process, for as long as this is held.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
    at_work: File,
}

impl DataDirectory {
    /// Makes the directory if it is missing, and takes it.
    ///
    /// # Errors
    /// When another server has it, or it cannot be used safely.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unusable = |reason| DataError::Unusable { path: path.to_owned(), reason };
        let absolute = std::path::absolute(path).map_err(unusable)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&absolute).map_err(unusable)?;
        let found = fs::symlink_metadata(&absolute).map_err(unusable)?;
        let refused = |reason| Err(DataError::Unsafe { path: path.to_owned(), reason });
        if found.is_symlink() {
            return refused("is a symbolic link: name the directory that it leads to");
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return refused("belongs to another user than the one who runs the server");
        }
        if found.mode() & WRITABLE_BY_OTHERS != 0 {
            return refused("can be written to by other users: chmod go-w");
        }
        // Git names what it works in by its real path, and whoever compares the two has to have the same one.
        let absolute = fs::canonicalize(&absolute).map_err(unusable)?;
        let lock = take(path, &absolute.join(LOCK))?;
        let at_work = wait_for_others(path, &absolute.join(AT_WORK))?;
        Ok(Self { path: absolute, _lock: lock, at_work })
    }

    /// What a program has to keep open that works here: it may outlive this process, and the next one waits for it.
    /// Nothing can be written to it.
    ///
    /// # Errors
    /// What the system said.
    pub fn at_work(&self) -> std::io::Result<File> {
        self.at_work.try_clone()
    }

    /// Where it is, as an absolute path without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory below it, made if it is missing.
    ///
    /// # Errors
    /// What the system said.
    pub fn directory(&self, name: &str) -> std::io::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }
}

/// Takes part in the lock that programs have which were started here, once all those of before have ended.
fn wait_for_others(path: &Path, file: &Path) -> Result<File, DataError> {
    let unusable = |reason| DataError::Unusable { path: path.to_owned(), reason };
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).mode(0o600);
    let all = options.clone().write(true).create(true).truncate(false).open(file);
    let all = all.map_err(unusable)?;
    let begun = Instant::now();
    let mut is_told = false;
    while let Err(error) = flock(&all, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(unusable(error.into()));
        }
        if begun.elapsed() > AT_WORK_MAX {
            return Err(DataError::AtWork { path: path.to_owned() });
        }
        if !is_told {
            tracing::warn!("waiting for what a server that was killed has left at work");
            is_told = true;
        }
        std::thread::sleep(AT_WORK_PAUSE);
    }
    drop(all);
    // Nobody comes between: the directory is held already.
    let shared = options.open(file).map_err(unusable)?;
    flock(&shared, FlockOperation::NonBlockingLockShared)
        .map_err(|error| unusable(error.into()))?;
    Ok(shared)
}

fn take(path: &Path, lock: &Path) -> Result<File, DataError> {
    let unusable = |reason| DataError::Unusable { path: path.to_owned(), reason };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(lock)
        .map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Who holds it is a courtesy; that it is held is the news.
            let process =
                file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(DataError::Held { path: path.to_owned(), process });
        }
        Err(error) => return Err(unusable(error.into())),
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
    fn it_is_held_by_one_server_at_a_time_and_says_by_whom() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/data");
        let held = DataDirectory::open(&path).unwrap();
        let error = DataDirectory::open(&path).unwrap_err().to_string();
        let process = format!("held by another server, process {}", std::process::id());
        assert!(error.ends_with(&process), "{error}");
        drop(held);
        DataDirectory::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_a_server_has_left_at_work_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        let held = DataDirectory::open(&path).unwrap();
        let left = held.at_work().unwrap();
        drop(held);
        std::thread::scope(|scope| {
            let next = scope.spawn(|| DataDirectory::open(&path));
            // Long enough to have taken the directory, if nothing kept it from that.
            std::thread::sleep(3 * AT_WORK_PAUSE);
            assert!(!next.is_finished());
            drop(left);
            next.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_link_or_a_directory_that_others_write_to_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (real, link) = (place.path().join("real"), place.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let error = DataDirectory::open(&link).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o777)).unwrap();
        let error = DataDirectory::open(&real).unwrap_err().to_string();
        assert!(error.contains("can be written to by other users"), "{error}");
    }

    #[test]
    fn a_file_in_its_place_is_a_clear_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        fs::write(&path, "").unwrap();
        assert!(matches!(DataDirectory::open(&path), Err(DataError::Unusable { .. })));
    }
}
