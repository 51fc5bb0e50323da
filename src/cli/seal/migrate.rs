//! Seals the `{cipher}` values of a checkout anew, as `{sealed}` values, in place.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use headwater_secrets::Keyring;
use headwater_secrets::sealed::SealKeyring;
use tempfile::NamedTempFile;

use super::rewrite::{Rewrite, Rewritten};
use crate::cli::output;
use crate::format::{FILE_BYTES_MAX, Format};
use crate::regular_file;
use crate::reveal::areas_of;

/// The deepest directory.
const DEPTH_MAX: usize = 64;

/// Rewrites all configuration files below the paths. The exit code is 1 if a value was left as it is.
pub(super) fn run(
    paths: &[PathBuf],
    area: Option<&str>,
    cipher: &Keyring,
    bound: &SealKeyring,
) -> anyhow::Result<ExitCode> {
    if cipher.is_empty() {
        anyhow::bail!(
            "no key for {{cipher}} values: name the keys that opened them so far in [secrets] of the settings"
        );
    }
    let mut files = BTreeSet::new();
    for path in paths {
        let path =
            path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
        collect(&path, 0, &mut files).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let mut is_complete = true;
    for file in &files {
        let name = file.display().to_string();
        let area = area.map_or_else(|| area_of(file, &files), str::to_owned);
        let problems = match seal_file(file, &area, cipher, bound) {
            Ok(Rewritten { count, problems, .. }) => {
                if count > 0 {
                    output::print(&format!("{}: {count} sealed\n", output::one_line(&name)))?;
                }
                problems
            }
            Err(error) => vec![format!("{error:#}")],
        };
        is_complete &= problems.is_empty();
        problems.iter().for_each(|problem| output::complain(format!("{name}:{problem}")));
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Collects the configuration files below a path. Links, hidden files and hidden directories are left out.
fn collect(path: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if kind.is_file() && Format::of(&name).is_some() {
        files.insert(path.to_owned());
    } else if kind.is_dir() && depth < DEPTH_MAX {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                collect(&entry.path(), depth + 1, files)?;
            }
        }
    }
    Ok(())
}

/// The area of a file: the longest of its possible applications that has a file of its own in the same directory.
fn area_of(file: &Path, files: &BTreeSet<PathBuf>) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let areas = areas_of(Some(&name));
    let has_file = |area: &&&str| {
        let extensions = ["yml", "yaml", "properties", "json", "toml"];
        extensions.iter().any(|it| files.contains(&file.with_file_name(format!("{area}.{it}"))))
    };
    let shorter = areas.get(1..).unwrap_or_default();
    let area = shorter.iter().find(has_file).or(areas.first());
    area.map(|area| (*area).to_owned()).unwrap_or_default()
}

fn seal_file(
    path: &Path,
    area: &str,
    cipher: &Keyring,
    bound: &SealKeyring,
) -> anyhow::Result<Rewritten> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let format = Format::of(&name).context("no configuration file")?;
    let bytes = regular_file::read(path, FILE_BYTES_MAX as u64)?;
    let rewritten = Rewrite { format, area, cipher, bound }.apply(&bytes);
    if rewritten.count > 0 {
        replace(path, &rewritten.bytes)?;
    }
    Ok(rewritten)
}

/// Replaces a file in one step. The new one has the permissions of the old one.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().context("no directory")?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::metadata(path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
