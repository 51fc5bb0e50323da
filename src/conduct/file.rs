//! The file with the state of the rollouts of a hosted repository, in the directory of the repository.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

use headwater_rollout::state::{Branch, State};

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
/// A file that can be read is replaced by a state without entries. It has the same lineage and a higher number, because
/// otherwise a client that has seen a number of the old state would wait for it.
///
/// # Errors
/// The error of the system.
pub(super) fn forget(path: &Path) -> Result<Option<PathBuf>, Error> {
    let aside = path.with_extension(format!("json.{FORGOTTEN}"));
    if let Ok(Some(state)) = read(path) {
        fs::copy(path, &aside)?;
        write(path, &without_entries(&state))?;
        return Ok(Some(aside));
    }
    match fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A state of the same lineage in which every branch is served at its tip.
fn without_entries(state: &State) -> State {
    let mut next = State::new(state.lineage);
    next.number = state.number + 1;
    next.branches = state.branches.keys().map(|name| (name.clone(), Branch::default())).collect();
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_state_keeps_its_lineage_and_grows() {
        let directory = tempfile::tempdir().unwrap();
        let path = path_in(directory.path());
        assert_eq!(forget(&path).unwrap(), None);
        let mut state = State::new(7);
        state.number = 41;
        state.branches.insert("main".into(), Branch::default());
        write(&path, &state).unwrap();
        let aside = forget(&path).unwrap().unwrap();
        assert_eq!(read(&aside).unwrap(), Some(state.clone()));
        // The branch stays, because the numbers of its clients are compared with its record.
        state.number = 42;
        assert_eq!(read(&path).unwrap(), Some(state));
    }

    #[test]
    fn a_state_that_cannot_be_read_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = path_in(directory.path());
        fs::write(&path, "{").unwrap();
        let aside = forget(&path).unwrap().unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), "{");
        assert_eq!(read(&path).unwrap(), None);
    }
}
