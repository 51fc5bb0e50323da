//! The file with the state of the rollouts of a hosted repository, in the directory of the repository.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

use headwater_rollout::state::State;

use super::ledger::LedgerError;

/// The file's name in the repository.
const FILE: &str = "headwater-rollouts.json";
/// The file's name while it is written. The next start removes a leftover together with git's own locks.
const WRITTEN: &str = "headwater-rollouts.lock";
/// The suffix of a file that an operator told the server to forget.
const FORGOTTEN: &str = "forgotten";

/// The path of the file of a repository.
pub(super) fn path_in(repository: &Path) -> PathBuf {
    repository.join(FILE)
}

/// Reads the state. Returns `None` for a repository that never had a rollout.
///
/// # Errors
/// When the file exists and cannot be used.
pub(super) fn read(path: &Path) -> Result<Option<State>, LedgerError> {
    let unusable = |reason: String| LedgerError::Unusable { path: path.to_owned(), reason };
    match fs::read(path) {
        Ok(bytes) => State::parse(&bytes).map(Some).map_err(|error| unusable(error.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// Replaces the file as a whole, and returns when the new one survives a power failure. Blocking.
///
/// # Errors
/// The error of the system.
pub(super) fn write(path: &Path, state: &State) -> Result<(), Error> {
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let written = directory.join(WRITTEN);
    let mut file = File::create(&written)?;
    file.write_all(state.to_text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&written, path)?;
    File::open(directory)?.sync_all()
}

/// Puts the file aside, so that every tip is served. Returns the new path, or `None` if there was no file.
///
/// # Errors
/// The error of the system.
pub(super) fn forget(path: &Path) -> Result<Option<PathBuf>, Error> {
    let aside = path.with_extension(format!("json.{FORGOTTEN}"));
    match fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
