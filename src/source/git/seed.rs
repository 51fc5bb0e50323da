//! The first commit of a repository that this server hosts.

use std::fs;
use std::path::Path;

use git2::{FileMode, Oid, Repository, Signature};

use super::lookup::branch_of;
use super::{library, published};
use crate::source::beside::sync;

/// Who makes the first commit.
const NAME: &str = "Headwater";
/// The same, as an address.
const EMAIL: &str = "headwater@localhost";
/// What its message is.
const MESSAGE: &str = "First commit\n";
/// The largest file of a seed, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The deepest directory of a seed.
const DEPTH_MAX: usize = 64;

/// Why there is no first commit. For the operator: it names files of the seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A file cannot be taken.
    #[error("{path} {reason}")]
    File {
        /// Within the seed.
        path: String,
        /// What is wrong with it.
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

/// Gives a repository without any branch a first commit with the files of a directory. Blocking.
///
/// # Errors
/// When a file cannot be read, or is nothing that would be served.
pub fn seed(repository: &Path, from: &Path) -> Result<(), SeedError> {
    library::prepare();
    let opened = Repository::open_bare(repository)?;
    if opened.references_glob("refs/heads/*")?.next().is_some() {
        return Ok(());
    }
    let commit = commit(&opened, from)?;
    // A branch must not be durable before what it leads to.
    let synced = sync(repository);
    synced.map_err(|error| SeedError::Repository(error.to_string()))?;
    let head = opened.find_reference("HEAD")?;
    let branch = branch_of(&head).unwrap_or(published::DEFAULT_BRANCH);
    opened.reference(&format!("refs/heads/{branch}"), commit, false, MESSAGE)?;
    Ok(())
}

/// Makes the commit of [`seed`], with no branch that leads to it yet; gives its id. Blocking.
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

/// Writes a directory of the seed and all that is in it.
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
        return Err(refused(path, "is too deep"));
    }
    let mut builder = repository.treebuilder(None)?;
    let unreadable = |error: std::io::Error| refused(path, &error.to_string());
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(refused(path, "has a name in it that is not UTF-8"));
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
        } else if !found.is_file() {
            return Err(refused(&below, "is neither a file nor a directory"));
        } else if found.len() > FILE_BYTES_MAX {
            return Err(refused(&below, "is too large"));
        } else {
            let bytes = fs::read(entry.path()).map_err(unreadable)?;
            builder.insert(&name, repository.blob(&bytes)?, FileMode::Blob.into())?;
        }
    }
    Ok(builder.write()?)
}
