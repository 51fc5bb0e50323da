//! What is written beside the place where it will stand, so that nobody ever finds half of it there.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

/// What the name of a directory begins with in which something is written.
const PREFIX: &str = ".headwater-copy-";
/// The name of what is written in there.
const NAME: &str = "new";

/// What becomes of that which stands in the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing but an empty directory may stand there.
    Keep,
    /// What stands there is exchanged for the new in one step, and then deleted.
    Replace,
}

/// Something that is being written; gone when it is dropped before it took its place.
pub(super) struct Beside {
    around: TempDir,
    target: PathBuf,
}

impl Beside {
    /// For a place in a directory that is there; links are followed.
    pub(super) fn of(target: &Path) -> Result<Self, Error> {
        let target = match target.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(target)?,
            Err(error) => return Err(error),
        };
        let parent = target.parent().ok_or(ErrorKind::InvalidInput)?;
        let around = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        Ok(Self { around, target })
    }

    /// Where to write it.
    pub(super) fn path(&self) -> PathBuf {
        self.around.path().join(NAME)
    }

    /// Takes its place in one step, and returns when that will survive a power cut.
    pub(super) fn take_place(self, standing: Standing) -> Result<(), Error> {
        let new = self.path();
        sync(self.around.path())?;
        match standing {
            Standing::Replace if self.target.exists() => {
                renameat_with(CWD, &new, CWD, &self.target, RenameFlags::EXCHANGE)?;
            }
            Standing::Keep | Standing::Replace => fs::rename(&new, &self.target)?,
        }
        sync(self.around.path())
    }
}

/// Returns when everything that was written to the file system of this directory will survive a power cut. Blocking.
///
/// # Errors
/// What the system said.
pub fn sync(directory: &Path) -> Result<(), Error> {
    Ok(rustix::fs::syncfs(fs::File::open(directory)?)?)
}
