//! A hosted repository on the disk: made when missing, swept of what a killed git left, and durable before it is read.

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

/// Why a hosted repository cannot be used. For the operator: it names paths.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The name is none.
    #[error(
        "hosted:{0} is no name of a repository: letters, digits, dash, underscore and dot, beginning with a letter or digit"
    )]
    Name(String),
    /// Two sources name the same one.
    #[error("hosted:{0} is named by two sources")]
    Twice(String),
    /// Git cannot be run, or refused.
    #[error("hosted repository {}: git {what} does not work: {reason}", path.display())]
    Git {
        /// The repository.
        path: PathBuf,
        /// What git was asked to do.
        what: &'static str,
        /// What it said.
        reason: String,
    },
    /// The system does not let it be made or read.
    #[error("hosted repository {}: {reason}", path.display())]
    Unusable {
        /// The repository.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// It cannot be shared.
    #[error("hosted repository {} cannot be shared: {reason}", path.display())]
    Shared {
        /// The repository.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The files of its first commit cannot be used.
    #[error("seed {}: {reason}", path.display())]
    Seed {
        /// As configured.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Whether this can be the name of a repository, and of its directory.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !name.contains("..")
        && !name.ends_with(['.', '-'])
        && !name.ends_with(".git")
        && !name.ends_with(".lock")
}

/// Where a repository is, below a data directory.
///
/// # Errors
/// When the name is none.
pub fn path_of(data: &Path, name: &str) -> Result<PathBuf, RepositoryError> {
    match is_name(name) {
        true => Ok(data.join(DIRECTORY).join(format!("{name}.git"))),
        false => Err(RepositoryError::Name(name.to_owned())),
    }
}

/// Makes a repository ready to be served: there, swept, with a first commit if a seed is given and it has none, and
/// durable. Nobody else may be using the data directory.
///
/// # Errors
/// When it cannot be made or read.
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

/// Made beside its place and moved there, so that it is never there in part.
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

/// Takes away what a killed git left: its locks, which would stop the next push, and what nobody will ever use. Whoever
/// holds the data directory knows that no git is at work in it.
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

/// Takes away what was received and never taken in: git leaves it where one of its processes still wrote while another one
/// cleaned up. Nobody may be receiving into this repository.
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

/// What is in a directory; a symbolic link in a repository is nobody's.
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
    fn names_are_plain() {
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
    fn what_a_killed_git_left_is_swept() {
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
