//! Writing the files of another source as a directory, which is replaced as a whole.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::Problem;
use crate::source::atomic_replace::{Overwrite, Replacement};
use crate::source::files::{Content, Files, problem};

/// A directory that is written and not published yet.
pub struct DirectoryDraft {
    replacement: Replacement,
    overwrite: Overwrite,
}

/// The reasons for which a directory is not written. For the operator: the messages contain paths within it.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryWriteError {
    /// The system denies a write.
    #[error("{what} cannot be written: {kind}")]
    System {
        /// A path in the directory, or the directory itself.
        what: String,
        /// The kind of the system's error.
        kind: ErrorKind,
    },
    /// The directory has files and must not be overwritten.
    #[error("the directory has files already: pass --replace to delete them")]
    NotEmpty,
    /// The path, or a part of it, is no directory.
    #[error("the path is not a directory")]
    NotADirectory,
}

/// The files that a directory would not serve as their source does.
pub fn unfit(files: &Files) -> Vec<Problem> {
    let is_hidden = |path: &&String| path.split('/').any(|name| name.starts_with(".."));
    let reason = "begins with two dots, which a directory keeps for Kubernetes";
    files.keys().filter(is_hidden).map(|path| problem(path.clone(), reason)).collect()
}

impl DirectoryDraft {
    /// Writes the files beside the directory.
    ///
    /// # Errors
    /// The error of the system, with its path.
    pub fn write(
        files: &Files,
        target: &Path,
        overwrite: Overwrite,
    ) -> Result<Self, DirectoryWriteError> {
        let whole = |error: Error| system("the directory", &error);
        match std::fs::read_dir(target) {
            Ok(mut there) => {
                if overwrite == Overwrite::Never && there.next().is_some() {
                    return Err(DirectoryWriteError::NotEmpty);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(whole(error)),
        }
        let replacement = Replacement::of(target).map_err(whole)?;
        let root = replacement.path();
        std::fs::create_dir(&root).map_err(whole)?;
        for (path, content) in files {
            put(&root.join(path), content).map_err(|error| system(path, &error))?;
        }
        Ok(Self { replacement, overwrite })
    }

    /// The present path, before it is published.
    pub fn path(&self) -> PathBuf {
        self.replacement.path()
    }

    /// Moves it into place, and returns when that survives a power failure.
    ///
    /// # Errors
    /// When the target has files, or the system denies the move. The target is unchanged then.
    pub fn publish(self) -> Result<(), DirectoryWriteError> {
        self.replacement.publish(self.overwrite).map_err(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty => DirectoryWriteError::NotEmpty,
            _ => system("the directory", &error),
        })
    }
}

fn put(path: &Path, content: &Content) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match content {
        Content::File(bytes) => std::fs::write(path, bytes),
        Content::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path),
    }
}

fn system(what: &str, error: &Error) -> DirectoryWriteError {
    match error.kind() {
        ErrorKind::NotADirectory => DirectoryWriteError::NotADirectory,
        kind => DirectoryWriteError::System { what: what.to_owned(), kind },
    }
}
