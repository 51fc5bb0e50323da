//! Files of another source as a directory: written beside it, and put in its place whole.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::Problem;
use crate::source::beside::{Beside, Standing};
use crate::source::files::{Content, Files, problem};

/// A directory that was written and does not stand in its place yet.
pub struct Draft {
    beside: Beside,
    standing: Standing,
}

/// Why a directory is not written. For people: it names paths within it.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system does not let it be written.
    #[error("{what} cannot be written: {kind}")]
    System {
        /// A path in the directory, or the directory.
        what: String,
        /// What the system said.
        kind: ErrorKind,
    },
    /// Something is in the way.
    #[error("the directory has files already: --replace takes them away")]
    NotEmpty,
    /// There is something else.
    #[error("what stands there is no directory")]
    NotADirectory,
}

/// What cannot be in a directory so that it is served as it was.
pub fn unfit(files: &Files) -> Vec<Problem> {
    let is_hidden = |path: &&String| path.split('/').any(|name| name.starts_with(".."));
    let reason = "begins with two dots, which a directory keeps for Kubernetes";
    files.keys().filter(is_hidden).map(|path| problem(path.clone(), reason)).collect()
}

impl Draft {
    /// Writes the files beside the place of the directory.
    ///
    /// # Errors
    /// What the system said, and of which path.
    pub fn write(files: &Files, target: &Path, standing: Standing) -> Result<Self, WriteError> {
        let whole = |error: Error| system("the directory", &error);
        match std::fs::read_dir(target) {
            Ok(mut there) => {
                if standing == Standing::Keep && there.next().is_some() {
                    return Err(WriteError::NotEmpty);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(whole(error)),
        }
        let beside = Beside::of(target).map_err(whole)?;
        let root = beside.path();
        std::fs::create_dir(&root).map_err(whole)?;
        for (path, content) in files {
            put(&root.join(path), content).map_err(|error| system(path, &error))?;
        }
        Ok(Self { beside, standing })
    }

    /// Where it is for now.
    pub fn path(&self) -> PathBuf {
        self.beside.path()
    }

    /// Puts it in its place, and returns when that will survive a power cut.
    ///
    /// # Errors
    /// When something is in the way, or the system does not let it; then all is as before.
    pub fn publish(self) -> Result<(), WriteError> {
        self.beside.take_place(self.standing).map_err(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty => WriteError::NotEmpty,
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

fn system(what: &str, error: &Error) -> WriteError {
    match error.kind() {
        ErrorKind::NotADirectory => WriteError::NotADirectory,
        kind => WriteError::System { what: what.to_owned(), kind },
    }
}
