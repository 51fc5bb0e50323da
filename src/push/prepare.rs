//! Hosted repositories on disk. A repository is created when it is missing, cleared of files that a killed git left,
//! and made durable before it is read.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command;
use crate::source::git;

/// The directory of hosted repositories, below the data directory.
const DIRECTORY: &str = "hosted";
/// The longest name of a repository, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The branch that `HEAD` leads to.
const BRANCH: &str = "main";

/// An error that makes a hosted repository unusable. The message is for the operator and names paths.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The name is invalid.
    #[error(
        "hosted:{0}: expected the name of a repository: letters, digits, dashes, underscores and dots, beginning with a letter or digit"
    )]
    Name(String),
    /// Two sources name the same repository.
    #[error("hosted:{0}: two sources name the same repository. Remove one of them")]
    Duplicate(String),
    /// Git cannot be run, or it rejected the operation.
    #[error("hosted repository {}: git {what} failed: {reason}", path.display())]
    Git {
        /// The repository's path.
        path: PathBuf,
        /// The git subcommand.
        what: &'static str,
        /// The error that git printed, or that starting it returned.
        reason: String,
    },
    /// The system does not let the server create or read the repository.
    #[error("hosted repository {}: {reason}", path.display())]
    Unusable {
        /// The repository's path.
        path: PathBuf,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// The repository cannot be shared.
    #[error("hosted repository {} cannot be shared: {reason}", path.display())]
    Shared {
        /// The repository's path.
        path: PathBuf,
        /// The reason, for the operator.
        reason: String,
    },
    /// The files of the first commit cannot be used.
    #[error("seed {}: {reason}", path.display())]
    Seed {
        /// The path as configured.
        path: PathBuf,
        /// The reason, for the operator.
        reason: String,
    },
}

/// Returns true if this can be the name of a repository and of its directory.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !name.contains("..")
        && !name.ends_with(['.', '-'])
        && !name.ends_with(".git")
        && !name.ends_with(".lock")
}

/// Returns the path of a repository below a data directory.
///
/// # Errors
/// When the name is invalid.
pub fn path_of(data: &Path, name: &str) -> Result<PathBuf, RepositoryError> {
    if is_name(name) {
        Ok(data.join(DIRECTORY).join(format!("{name}.git")))
    } else {
        Err(RepositoryError::Name(name.to_owned()))
    }
}

/// Makes a repository ready to be served. It creates and sweeps the repository, commits the seed if there is one and no
/// commit yet, and makes the result durable.
///
/// Locking: the caller has exclusive use of the data directory.
///
/// # Errors
/// When the repository cannot be created or read.
pub fn prepare(data: &Path, name: &str, seed: Option<&Path>) -> Result<PathBuf, RepositoryError> {
    let path = path_of(data, name)?;
    let unusable = |reason| RepositoryError::Unusable { path: path.clone(), reason };
    if !path.is_dir() {
        make(&path)?;
    }
    sweep(&path).map_err(unusable)?;
    if let Some(seed) = seed {
        let failed = |reason| RepositoryError::Seed { path: seed.to_owned(), reason };
        git::seed(&path, seed).map_err(|error| failed(error.to_string()))?;
    }
    git::sync(&path).map_err(unusable)?;
    Ok(path)
}

/// Creates a repository beside its place and renames it.
///
/// Invariant: the place never has a partial repository.
fn make(path: &Path) -> Result<(), RepositoryError> {
    let unusable = |reason| RepositoryError::Unusable { path: path.to_owned(), reason };
    let making = path.with_extension("making");
    match fs::remove_dir_all(&making) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(unusable)?;
    let search = std::env::var_os("PATH").unwrap_or_default();
    let failed = |reason| RepositoryError::Git { path: path.to_owned(), what: "init", reason };
    let mut help = Command::new("git");
    command::clean(&mut help, &search, path);
    let help = help.args(["init", "-h"]).stdin(Stdio::null()).output();
    let help = help.map_err(|error| failed(error.to_string()))?;
    let mut init = Command::new("git");
    command::clean(&mut init, &search, path);
    init.args(["init", "--quiet", "--bare", "--template=", "--object-format=sha1"]);
    if String::from_utf8_lossy(&help.stdout).contains("--ref-format") {
        init.arg("--ref-format=files");
    }
    init.arg(format!("--initial-branch={BRANCH}")).arg(&making).stdin(Stdio::null());
    let made = init.output().map_err(|error| failed(error.to_string()))?;
    if !made.status.success() {
        return Err(failed(String::from_utf8_lossy(&made.stderr).trim().to_owned()));
    }
    git::sync(&making).map_err(unusable)?;
    fs::rename(&making, path).map_err(unusable)
}

/// Removes the locks of a killed git, which would stop the next push, and its unfinished files.
///
/// Locking: the caller has exclusive use of the data directory, so that no git is at work in it.
fn sweep(path: &Path) -> std::io::Result<()> {
    for entry in entries(path)? {
        if has_extension(&entry, "lock") {
            fs::remove_file(&entry)?;
        }
    }
    sweep_locks(&path.join("refs"))?;
    let objects = path.join("objects");
    sweep_quarantine(path)?;
    for entry in entries(&objects)? {
        if entry.is_dir() {
            for file in entries(&entry)? {
                let is_keep = has_extension(&file, "keep");
                if is_keep || has_extension(&file, "lock") || begins_with(&file, &["tmp_", ".tmp-"])
                {
                    fs::remove_file(&file)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes quarantine directories. Git leaves one when one of its processes still writes while another one cleans up.
///
/// Locking: no push may be received into this repository meanwhile.
pub(super) fn sweep_quarantine(path: &Path) -> std::io::Result<()> {
    for entry in entries(&path.join("objects"))? {
        if begins_with(&entry, &["tmp_objdir-", "incoming-"]) {
            fs::remove_dir_all(&entry)?;
        }
    }
    Ok(())
}

fn sweep_locks(directory: &Path) -> std::io::Result<()> {
    for entry in entries(directory)? {
        if entry.is_dir() {
            sweep_locks(&entry)?;
        } else if has_extension(&entry, "lock") {
            fs::remove_file(&entry)?;
        }
    }
    Ok(())
}

/// Returns the entries of a directory. Symbolic links in a repository are ignored.
fn entries(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_symlink() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn begins_with(path: &Path, beginnings: &[&str]) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    beginnings.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_only_safe_characters() {
        for name in ["main", "shop-2", "a.b_c", "0"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(65);
        let refused =
            ["", ".", "..", "-x", "a..b", "a/b", "a b", "x.git", "x.lock", "ä", "a.", "_", &long];
        for name in refused {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn leftovers_of_a_killed_git_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let path = prepare(place.path(), "main", None).unwrap();
        let left = [
            "HEAD.lock",
            "refs/heads/a/b.lock",
            "packed-refs.lock",
            "objects/tmp_objdir-incoming-x/pack/p",
            "objects/pack/tmp_pack_x",
            "objects/pack/pack-1.keep",
        ];
        for left in left.map(|left| path.join(left)) {
            fs::create_dir_all(left.parent().unwrap()).unwrap();
            fs::write(left, "").unwrap();
        }
        prepare(place.path(), "main", None).unwrap();
        for left in left {
            assert!(!path.join(left).exists(), "{left}");
        }
        assert!(!path.join("objects/tmp_objdir-incoming-x").exists());
    }
}
