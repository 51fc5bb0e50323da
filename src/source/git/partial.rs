//! Partial clones (`git clone --filter`). Git fetches their missing objects on demand, and this source never does.

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};

use crate::model::{Origin, Problem};
use crate::tree::join;

/// The most entries that are checked. A clone with so many of its files is assumed to have all of them.
const ENTRY_COUNT_MAX: usize = 200_000;

/// Returns whether the configuration of a repository permits missing objects.
pub(super) fn is_partial(repository: &Repository) -> Result<bool, git2::Error> {
    let config = repository.config()?;
    let mut entries = config.entries(Some(r"^(remote\..*\.promisor|extensions\.partialclone)$"))?;
    Ok(entries.next().transpose()?.is_some())
}

/// The path of a file or directory of a commit that is missing in the repository.
pub(super) fn missing(repository: &Repository, commit: Oid) -> Result<Option<String>, git2::Error> {
    let tree = repository.find_commit(commit)?.tree_id();
    let mut left = ENTRY_COUNT_MAX;
    missing_below(repository, tree, "", &mut left)
}

fn missing_below(
    repository: &Repository,
    tree: Oid,
    path: &str,
    left: &mut usize,
) -> Result<Option<String>, git2::Error> {
    let tree = match repository.find_tree(tree) {
        Ok(tree) => tree,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(Some(path.to_owned())),
        Err(error) => return Err(error),
    };
    missing_in(repository, &tree, path, left)
}

fn missing_in(
    repository: &Repository,
    tree: &Tree<'_>,
    path: &str,
    left: &mut usize,
) -> Result<Option<String>, git2::Error> {
    let odb = repository.odb()?;
    for entry in tree {
        let path = join(path, &String::from_utf8_lossy(entry.name_bytes()));
        *left = left.saturating_sub(1);
        let found = match entry.kind() {
            _ if *left == 0 => return Ok(None),
            Some(ObjectType::Blob) => (!odb.exists(entry.id())).then_some(path),
            Some(ObjectType::Tree) => missing_below(repository, entry.id(), &path, left)?,
            // A submodule, whose files are in another repository.
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Describes a label with a missing path, its effect, and the remedy.
pub(super) fn problem(label: &str, path: &str) -> Problem {
    let message = format!(
        "the repository is a partial clone (git clone --filter) and lacks objects of {label}. The label is not served. \
         Clone the repository without --filter, or set follow_origin = true"
    );
    Problem { origin: Origin { file: path.into(), position: None }, key: None, message }
}
