//! The data directory: what the server keeps between two starts, held by one server at a time.
//!
//! It is made for its owner alone. What lies in it is served to everyone, so a directory that others may write to is
//! refused, and so is one that is reached through a symbolic link: it could be another one the next moment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The file whose lock says who holds the directory; it names the process.
const LOCK: &str = "lock";
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
        let lock = take(path, &absolute.join(LOCK))?;
        Ok(Self { path: absolute, _lock: lock })
    }

    /// Where it is, as an absolute path.
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
