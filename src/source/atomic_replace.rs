//! Atomic replacement of a file or directory: it is written beside its target and moved into place in one step.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

/// The prefix of the temporary directory beside the target.
const PREFIX: &str = ".headwater-copy-";
/// The name of the new file or directory in it.
const NAME: &str = "new";

/// The permission to replace the present content of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// The target must be missing or an empty directory.
    Never,
    /// The present content is exchanged for the new one in one step, and then deleted.
    Always,
}

/// A replacement under construction. Dropping it before it is published deletes it.
pub(super) struct Replacement {
    temporary: TempDir,
    target: PathBuf,
}

impl Replacement {
    /// Prepares the replacement of a target in an existing directory. Symbolic links are followed.
    pub(super) fn of(target: &Path) -> Result<Self, Error> {
        let target = match target.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(target)?,
            Err(error) => return Err(error),
        };
        let parent = target.parent().ok_or(ErrorKind::InvalidInput)?;
        let temporary = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        Ok(Self { temporary, target })
    }

    /// The path to write the new content to.
    pub(super) fn path(&self) -> PathBuf {
        self.temporary.path().join(NAME)
    }

    /// Moves the new content into place in one step, and returns when that survives a power failure. Blocking.
    pub(super) fn publish(self, overwrite: Overwrite) -> Result<(), Error> {
        let new = self.path();
        sync(self.temporary.path())?;
        match overwrite {
            Overwrite::Always if self.target.exists() => {
                renameat_with(CWD, &new, CWD, &self.target, RenameFlags::EXCHANGE)?;
            }
            Overwrite::Never | Overwrite::Always => fs::rename(&new, &self.target)?,
        }
        sync(self.temporary.path())
    }
}

/// Returns when all earlier writes to the file system of this directory survive a power failure. Blocking.
///
/// # Errors
/// The error of the system.
pub fn sync(directory: &Path) -> Result<(), Error> {
    Ok(rustix::fs::syncfs(fs::File::open(directory)?)?)
}
