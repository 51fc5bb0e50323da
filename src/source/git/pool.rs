//! A pool of open handles to the objects of a repository. Each call borrows one.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::library;
use crate::model::ContentId;
use crate::source::content::plain_name;
use crate::sync::lock;
use crate::tree::{EntryKind, Objects, OmissionReason, OmittedEntry, RawEntry, TreeError};

/// The most idle handles that are kept. Each has a few descriptors.
const IDLE_COUNT_MAX: usize = 8;
/// The largest directory that is listed, in bytes of git's form.
const DIRECTORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The handles of one repository.
pub(super) struct Pool {
    git_directory: PathBuf,
    /// Object directories in addition to the repository's own.
    object_directories: Vec<PathBuf>,
    idle: Mutex<Vec<Repository>>,
}

impl Pool {
    /// Opens the first handle, to verify that libgit2 can read this repository.
    pub(super) fn open(git_directory: PathBuf) -> Result<Self, git2::Error> {
        Self::open_with(git_directory, Vec::new())
    }

    /// Opens a pool that also reads objects outside the repository, such as those in git's quarantine.
    pub(super) fn open_with(
        git_directory: PathBuf,
        object_directories: Vec<PathBuf>,
    ) -> Result<Self, git2::Error> {
        library::prepare();
        let pool = Self { git_directory, object_directories, idle: Mutex::default() };
        let first = pool.handle()?;
        pool.keep(first);
        Ok(pool)
    }

    fn handle(&self) -> Result<Repository, git2::Error> {
        let repository = Repository::open_bare(&self.git_directory)?;
        for directory in &self.object_directories {
            let directory = directory.to_str().ok_or_else(|| {
                git2::Error::from_str("the path of an object directory is not UTF-8")
            })?;
            repository.odb()?.add_disk_alternate(directory)?;
        }
        Ok(repository)
    }

    /// The directory with `HEAD`.
    pub(super) fn git_directory(&self) -> &Path {
        &self.git_directory
    }

    /// Reads with an idle handle, or a new one. After a failure of an idle handle, reads once more with a new one, because
    /// the repository may have been repacked since the idle one was opened.
    pub(super) fn with<T>(
        &self,
        mut read: impl FnMut(&Repository) -> Result<T, git2::Error>,
    ) -> Result<T, git2::Error> {
        let idle = lock(&self.idle).pop();
        if let Some(repository) = idle
            && let Ok(value) = read(&repository)
        {
            self.keep(repository);
            return Ok(value);
        }
        let repository = self.handle()?;
        let value = read(&repository)?;
        self.keep(repository);
        Ok(value)
    }

    fn keep(&self, repository: Repository) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_COUNT_MAX {
            idle.push(repository);
        }
    }
}

impl Objects for Pool {
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError> {
        let oid = oid_of(id)?;
        let entries = self.with(|repository| {
            check_header(repository, oid, ObjectType::Tree, DIRECTORY_BYTES_MAX)?;
            Ok(repository.find_tree(oid)?.iter().filter_map(|entry| raw_entry(&entry)).collect())
        });
        entries.map_err(|error| unreadable(oid, &error))
    }

    fn omitted(&self, id: ContentId) -> Result<Vec<OmittedEntry>, TreeError> {
        let oid = oid_of(id)?;
        let entries = self.with(|repository| {
            check_header(repository, oid, ObjectType::Tree, DIRECTORY_BYTES_MAX)?;
            Ok(repository.find_tree(oid)?.iter().filter_map(|entry| omitted(&entry)).collect())
        });
        entries.map_err(|error| unreadable(oid, &error))
    }

    fn size(&self, id: ContentId) -> Result<u64, TreeError> {
        let oid = oid_of(id)?;
        let size = self.with(|repository| {
            let (size, _) = repository.odb()?.read_header(oid)?;
            Ok(size as u64)
        });
        size.map_err(|error| unreadable(oid, &error))
    }

    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError> {
        let oid = oid_of(id)?;
        let bytes = self.with(|repository| {
            check_header(repository, oid, ObjectType::Blob, FILE_BYTES_MAX)?;
            Ok(repository.odb()?.read(oid)?.data().to_vec())
        });
        bytes.map_err(|error| unreadable(oid, &error))
    }

    fn read_at_most(&self, id: ContentId, bytes_max: u64) -> Result<Option<Vec<u8>>, TreeError> {
        let oid = oid_of(id)?;
        let bytes = self.with(|repository| {
            let bytes = check_header(repository, oid, ObjectType::Blob, usize::MAX)?;
            if bytes as u64 > bytes_max {
                return Ok(None);
            }
            Ok(Some(repository.odb()?.read(oid)?.data().to_vec()))
        });
        bytes.map_err(|error| unreadable(oid, &error))
    }
}

/// The id of a git object as a content id.
pub(super) fn content_id(oid: Oid) -> ContentId {
    ContentId::from_bytes(oid.as_bytes())
}

/// Converts an error of libgit2. Its own text may contain paths, and goes to the debug log only.
pub(super) fn unreadable(oid: Oid, error: &git2::Error) -> TreeError {
    tracing::debug!(object = %oid, error = %error, "libgit2 failed");
    TreeError(match error.code() {
        ErrorCode::NotFound => format!("git object {oid} is missing"),
        _ => format!("git object {oid} cannot be read ({:?})", error.class()),
    })
}

fn oid_of(id: ContentId) -> Result<Oid, TreeError> {
    Oid::from_bytes(&id.as_bytes()[..20])
        .map_err(|_| TreeError(format!("{id} is no git object id")))
}

/// Checks the type and the size before any decompression, and returns the size: a small pack may contain a huge object.
fn check_header(
    repository: &Repository,
    oid: Oid,
    kind: ObjectType,
    bytes_max: usize,
) -> Result<usize, git2::Error> {
    let (bytes, found) = repository.odb()?.read_header(oid)?;
    if found == kind && bytes <= bytes_max {
        return Ok(bytes);
    }
    Err(git2::Error::new(
        ErrorCode::Invalid,
        git2::ErrorClass::Object,
        "object has another type, or is too large",
    ))
}

fn raw_entry(entry: &git2::TreeEntry<'_>) -> Option<RawEntry> {
    Some(RawEntry {
        kind: kind_of(entry)?,
        name: plain_name(entry.name_bytes())?.into(),
        id: content_id(entry.id()),
    })
}

/// Converts a mode. The execute bits do not matter, because no file is checked out.
fn kind_of(entry: &git2::TreeEntry<'_>) -> Option<EntryKind> {
    match entry.filemode_raw() & 0o170_000 {
        0o040_000 => Some(EntryKind::Directory),
        0o100_000 => Some(EntryKind::File),
        0o120_000 => Some(EntryKind::Link),
        _ => None,
    }
}

fn omitted(entry: &git2::TreeEntry<'_>) -> Option<OmittedEntry> {
    let reason = match (plain_name(entry.name_bytes()), kind_of(entry)) {
        (None, _) => OmissionReason::Name,
        (_, None) => OmissionReason::Kind,
        _ => return None,
    };
    Some(OmittedEntry { name: String::from_utf8_lossy(entry.name_bytes()).into_owned(), reason })
}
