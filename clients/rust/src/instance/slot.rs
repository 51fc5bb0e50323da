//! Numbers for several clients of one application on one host, so that each has a stable name of its own.
//!
//! A number is a lock on an empty file below the directory for temporary files. The system releases it when the process
//! ends, however it ends. A restarted service therefore takes the lowest free number, which is that of its former run.

use std::env;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, lstat, mkdir};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::server::Query;

/// The most numbers of an application on a host. The search for a free one takes an attempt for each.
pub(super) const COUNT_MAX: usize = 16;

/// A number that no other client of this host has. It is released when the value is dropped.
pub(super) struct HostSlot {
    number: usize,
    _lock: File,
}

impl HostSlot {
    /// The number, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

/// The result of the search for a free number.
pub(super) enum Claim {
    Claimed(HostSlot),
    /// Other clients have all the numbers.
    AllTaken,
    /// No file can be locked here.
    Unavailable,
}

/// Takes the lowest free number. Blocks for a few operations on local files.
pub(super) fn claim(host: &str, query: &Query) -> Claim {
    let Some(directory) = directory() else { return Claim::Unavailable };
    let Query { application, profiles, label } = query;
    let label = label.as_deref().unwrap_or_default();
    let text = [host, application, profiles, label].join("\0");
    let hash = hmac_sha256::Hash::hash(text.as_bytes());
    let hash = hash[..8].iter().fold(0, |hash: u64, byte| hash << 8 | u64::from(*byte));
    for number in 1..=COUNT_MAX {
        let path = directory.join(format!("{hash:016x}-{number}"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let Ok(file) = options.open(path) else { return Claim::Unavailable };
        match file.try_lock() {
            Ok(()) => return Claim::Claimed(HostSlot { number, _lock: file }),
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(_)) => return Claim::Unavailable,
        }
    }
    Claim::AllTaken
}

/// The directory of the locks, which only this user can enter. Another user could hold all the locks otherwise.
fn directory() -> Option<PathBuf> {
    let user = geteuid();
    let directory = env::temp_dir().join(format!("headwater-instances-{}", user.as_raw()));
    match mkdir(&directory, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(_) => return None,
    }
    let stat = lstat(&directory).ok()?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let is_private = FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        && stat.st_uid == user.as_raw()
        && !mode.intersects(Mode::RWXG | Mode::RWXO);
    is_private.then_some(directory)
}
