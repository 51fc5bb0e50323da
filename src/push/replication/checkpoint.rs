//! The checkpoint file in a repository: where the repository is shared, and the last manifest that it has taken.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::error::ReplicationError;
use super::manifest::Checkpoint;

/// The file's name in the repository.
const FILE: &str = "headwater-shared";
/// The file's name while it is written. The next start removes a leftover together with git's own locks.
const WRITTEN: &str = "headwater-shared.lock";

/// Reads the checkpoint. Returns `None` if the repository is not shared below this prefix.
pub(super) fn read(repository: &Path, prefix: &str) -> Option<Checkpoint> {
    Checkpoint::parse(&fs::read(repository.join(FILE)).ok()?, prefix)
}

/// Writes the checkpoint to disk, unless it is there already.
///
/// # Errors
/// When the repository cannot be written.
pub(super) async fn store(
    repository: &Path,
    checkpoint: Arc<Checkpoint>,
) -> Result<(), ReplicationError> {
    let path = repository.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        if read(&path, &checkpoint.prefix).as_ref() == Some(&*checkpoint) {
            Ok(())
        } else {
            write(&path, &checkpoint)
        }
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        _ => Err(ReplicationError::Unwritable),
    }
}

/// Replaces the checkpoint as a whole. After a power failure the checkpoint may be older than the repository, which
/// does no harm.
fn write(repository: &Path, checkpoint: &Checkpoint) -> std::io::Result<()> {
    let written = repository.join(WRITTEN);
    let file = fs::File::create(&written)?;
    std::io::Write::write_all(&mut &file, &checkpoint.to_json())?;
    // An empty file in its place would mean that the repository was never shared.
    file.sync_data()?;
    fs::rename(written, repository.join(FILE))
}
