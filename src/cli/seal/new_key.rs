//! Makes a seal key.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use headwater_secrets::sealed::SealKey;

/// Writes a new key to a new file that only its owner can read. An existing file is an error, because values may be sealed
/// with its key.
pub(super) fn run(path: &Path, id: Option<&str>) -> anyhow::Result<ExitCode> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let id = id.unwrap_or(&name);
    let key = SealKey::generate(id).map_err(|_| {
        anyhow!(
            "the id of a key has 1 to 64 letters, digits, dashes and underscores, got {id:?}. Set another one with --id"
        )
    })?;
    let failed = || format!("cannot write the key to {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(failed)?;
    file.write_all(key.to_text().expose().as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(failed)?;
    eprintln!(
        "{}: new seal key {id}. Name the file first in secrets.seal_key_files of every replica",
        path.display()
    );
    Ok(ExitCode::SUCCESS)
}
