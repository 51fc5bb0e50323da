//! The first commit of a repository that this server hosts.

use std::fs;
use std::path::Path;

use git2::{FileMode, Oid, Repository, Signature};

use super::library;
use super::reference::{DEFAULT_BRANCH, branch_of};
use crate::regular_file;
use crate::source::atomic_replace::sync;

/// The name of the committer.
const NAME: &str = "Headwater";
/// The e-mail address of the committer.
const EMAIL: &str = "headwater@localhost";
/// The message of the commit.
const MESSAGE: &str = "First commit\n";
/// The largest file of a seed, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The deepest directory of a seed.
const DEPTH_MAX: usize = 64;

/// The reasons for which no first commit is made. For the operator: the messages contain paths of the seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A file cannot be committed.
    #[error("{path} {reason}")]
    File {
        /// The path within the seed.
        path: String,
        /// The reason, as the end of a sentence about the file.
        reason: String,
    },
    /// The repository cannot be written.
    #[error("the repository cannot be written: {0}")]
    Repository(String),
}

impl From<git2::Error> for SeedError {
    fn from(error: git2::Error) -> Self {
        Self::Repository(error.message().to_owned())
    }
}

/// Commits the files of a directory to a repository that has no branch yet. Blocking.
///
/// # Errors
/// When a file cannot be read, or would not be served.
pub fn seed(repository: &Path, from: &Path) -> Result<(), SeedError> {
    library::prepare();
    let opened = Repository::open_bare(repository)?;
    if opened.references_glob("refs/heads/*")?.next().is_some() {
        return Ok(());
    }
    let commit = commit(&opened, from)?;
    // A branch must not be durable before its objects.
    let synced = sync(repository);
    synced.map_err(|error| SeedError::Repository(error.to_string()))?;
    let head = opened.find_reference("HEAD")?;
    let branch = branch_of(&head).unwrap_or(DEFAULT_BRANCH);
    opened.reference(&format!("refs/heads/{branch}"), commit, false, MESSAGE)?;
    Ok(())
}

/// Makes the commit of [`seed`] without a branch, and returns its id. Blocking.
///
/// # Errors
/// As for [`seed`].
pub fn first_commit(repository: &Path, from: &Path) -> Result<String, SeedError> {
    library::prepare();
    Ok(commit(&Repository::open_bare(repository)?, from)?.to_string())
}

fn commit(repository: &Repository, from: &Path) -> Result<Oid, SeedError> {
    let tree = tree(repository, from, "", 0)?;
    let signature = Signature::now(NAME, EMAIL)?;
    let tree = repository.find_tree(tree)?;
    Ok(repository.commit(None, &signature, &signature, MESSAGE, &tree, &[])?)
}

/// Writes a directory of the seed with its content.
fn tree(
    repository: &Repository,
    directory: &Path,
    path: &str,
    depth: usize,
) -> Result<Oid, SeedError> {
    let refused = |path: &str, reason: &str| SeedError::File {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if depth > DEPTH_MAX {
        return Err(refused(path, "is nested more than 64 directories deep"));
    }
    let mut builder = repository.treebuilder(None)?;
    let unreadable = |error: std::io::Error| refused(path, &error.to_string());
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(refused(path, "contains a name that is not UTF-8"));
        };
        if name == ".git" {
            continue;
        }
        let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let unreadable = |error: std::io::Error| refused(&below, &error.to_string());
        let found = entry.metadata().map_err(unreadable)?;
        if found.is_dir() {
            let id = tree(repository, &entry.path(), &below, depth + 1)?;
            builder.insert(&name, id, FileMode::Tree.into())?;
        } else if found.is_symlink() {
            let target = fs::read_link(entry.path()).map_err(unreadable)?;
            let target = repository.blob(target.as_os_str().as_encoded_bytes())?;
            builder.insert(&name, target, FileMode::Link.into())?;
        } else if !found.is_file() {
            return Err(refused(&below, "is neither a file, a link nor a directory"));
        } else if found.len() > FILE_BYTES_MAX {
            return Err(refused(&below, "is larger than 16 MiB"));
        } else {
            let bytes = regular_file::read(&entry.path(), FILE_BYTES_MAX).map_err(unreadable)?;
            builder.insert(&name, repository.blob(&bytes)?, FileMode::Blob.into())?;
        }
    }
    Ok(builder.write()?)
}
