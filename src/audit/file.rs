//! The file of the trail: continued at the start, made durable for each batch, and rotated.
//!
//! Invariant: the file consists of durable lines and at most one batch after them. A batch that could not be written is
//! cut off before it is written again, so that a full disk leaves no half of a line.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use headwater_access::audit::{Head, RecoverError, RecoveredFile, recover};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

/// The mode of a new file.
const MODE: u32 = 0o600;
/// The permissions that would let another user than the owner change the trail.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The digits of the number of the last line in the name of a rotated file. Names sort like numbers.
const SUFFIX_DIGITS: usize = 12;
/// The time that a start waits for an earlier server to close the file.
const LOCK_MAX: Duration = Duration::from_secs(10);
/// The interval between two attempts to lock it.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The reason why an audit file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditFileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Recover(#[from] RecoverError),
    #[error("{}: {reason}", path.display())]
    Rotated {
        /// The newest rotated file.
        path: PathBuf,
        reason: RecoverError,
    },
    #[error("the thread that writes the audit trail cannot be started: {0}")]
    Thread(io::Error),
    #[error("it is not a regular file")]
    Kind,
    #[error("its mode is {0:04o}, so that other users can change it. Run chmod go-w on it")]
    Mode(u32),
    #[error("another process has locked it. Give each server an audit file of its own")]
    Locked,
}

/// The trail that an earlier server has left.
pub(super) struct OpenedTrail {
    pub(super) head: Head,
    /// The length of an incomplete line that was removed.
    pub(super) torn_bytes: u64,
}

impl OpenedTrail {
    pub(super) const EMPTY: Self = Self { head: Head::EMPTY, torn_bytes: 0 };
}

/// The open file.
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    /// The length of all durable lines.
    synced_bytes: u64,
    /// True after a failed write, whose bytes may be in the file.
    has_remains: bool,
    rotate_bytes: u64,
    keep_count: usize,
}

impl AuditFile {
    /// Opens or creates the file, and finds the end of the chain.
    pub(super) fn open(
        path: &Path,
        rotate_bytes: u64,
        keep_count: usize,
    ) -> Result<(Self, OpenedTrail), AuditFileError> {
        let (file, recovered) = match open_existing(path) {
            Ok(file) => {
                lock_exclusively(&file)?;
                let recovered = recover(&mut BufReader::new(&file))?;
                (file, recovered)
            }
            Err(AuditFileError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                let file = create(path)?;
                lock_exclusively(&file)?;
                (file, RecoveredFile { head: None, whole_bytes: 0, has_torn_line: false })
            }
            Err(error) => return Err(error),
        };
        let torn_bytes = file.metadata()?.len().saturating_sub(recovered.whole_bytes);
        if torn_bytes > 0 {
            file.set_len(recovered.whole_bytes)?;
        }
        file.sync_all()?;
        sync_directory(path)?;
        let head = match recovered.head {
            Some(head) => head,
            None => head_of_rotated(path)?,
        };
        let opened = Self {
            path: path.to_owned(),
            file,
            synced_bytes: recovered.whole_bytes,
            has_remains: false,
            rotate_bytes,
            keep_count,
        };
        Ok((opened, OpenedTrail { head, torn_bytes }))
    }

    /// Appends whole lines and makes them durable. After an error nothing of them counts.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.reopen_if_moved()?;
        if self.has_remains {
            self.file.set_len(self.synced_bytes)?;
        }
        self.has_remains = true;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.has_remains = false;
        self.synced_bytes += lines.len() as u64;
        Ok(())
    }

    /// Begins a new file if another program has moved or removed this one. The chain shows what is missing.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (own.dev(), own.ino()) => return Ok(()),
            Ok(_) => {
                let reason = "another file has taken the place of the audit file";
                return Err(io::Error::new(ErrorKind::AlreadyExists, reason));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        tracing::error!("the audit file was moved or removed by another program, a new one begins");
        self.begin_file()
    }

    /// Renames the file and begins a new one, if it is large enough. Returns true if it did.
    pub(super) fn rotate_if_due(&mut self, head: Head) -> bool {
        if self.synced_bytes < self.rotate_bytes {
            return false;
        }
        match self.rotate(head) {
            Ok(()) => true,
            Err(error) => {
                // The file grows further, and the next batch tries again.
                tracing::error!(%error, "the audit file cannot be rotated");
                false
            }
        }
    }

    fn rotate(&mut self, head: Head) -> io::Result<()> {
        let rotated = rotated_path(&self.path, head.seq);
        renameat_with(CWD, &self.path, CWD, &rotated, RenameFlags::NOREPLACE)?;
        self.begin_file()?;
        for old in rotated_files(&self.path)?.into_iter().rev().skip(self.keep_count) {
            fs::remove_file(old)?;
        }
        Ok(())
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let file = create(&self.path)?;
        file.try_lock()?;
        sync_directory(&self.path)?;
        self.file = file;
        self.synced_bytes = 0;
        self.has_remains = false;
        Ok(())
    }
}

/// Opens a file for reading and appending. A symbolic link, a pipe or a device is an error.
fn open_existing(path: &Path) -> Result<File, AuditFileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(AuditFileError::Kind);
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS == 0 { Ok(file) } else { Err(AuditFileError::Mode(mode)) }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create_new(true).mode(MODE).open(path)
}

/// Locks a file, so that no second server continues the same chain.
fn lock_exclusively(file: &File) -> Result<(), AuditFileError> {
    let until = Instant::now() + LOCK_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(AuditFileError::Locked);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in the directory of the file durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn rotated_path(path: &Path, seq: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{seq:0SUFFIX_DIGITS$}"));
    path.with_file_name(name)
}

/// The rotated files, oldest first.
pub(super) fn rotated_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory(path))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_number = |digits: &str| {
            digits.len() >= SUFFIX_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        if name.strip_prefix(&prefix).is_some_and(is_number) {
            found.push(path.with_file_name(name));
        }
    }
    found.sort();
    Ok(found)
}

/// The head of the newest rotated file, which an empty file continues.
fn head_of_rotated(path: &Path) -> Result<Head, AuditFileError> {
    let Some(newest) = rotated_files(path)?.pop() else {
        return Ok(Head::EMPTY);
    };
    let file = open_existing(&newest)?;
    match recover(&mut BufReader::new(&file)) {
        Ok(recovered) => Ok(recovered.head.unwrap_or(Head::EMPTY)),
        Err(reason) => Err(AuditFileError::Rotated { path: newest, reason }),
    }
}
