//! The file beside a repository that says where it is shared, and how far it is.

use std::fs;
use std::path::Path;

use super::state::Mark;

/// The file, in the repository.
const FILE: &str = "headwater-shared";
/// The same while it is written: what is left of it is swept with git's own locks.
const WRITTEN: &str = "headwater-shared.lock";

/// Reads it. Nothing if the repository is not shared below this prefix.
pub(super) fn read(repository: &Path, prefix: &str) -> Option<Mark> {
    Mark::parse(&fs::read(repository.join(FILE)).ok()?, prefix)
}

/// Writes it, whole. One that is older than what it tells of after a power cut does no harm.
///
/// # Errors
/// What the system said.
pub(super) fn write(repository: &Path, mark: &Mark) -> std::io::Result<()> {
    let written = repository.join(WRITTEN);
    let file = fs::File::create(&written)?;
    std::io::Write::write_all(&mut &file, &mark.to_json())?;
    // An empty one in its place would be that of a repository that was never shared.
    file.sync_data()?;
    fs::rename(written, repository.join(FILE))
}
