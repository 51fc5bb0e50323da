//! Resolution of a label to a commit: by name, never as an expression.

use std::path::Path;
use std::sync::{Arc, Mutex};

use git2::{ErrorCode, ObjectType, Oid, Reference, Repository};

use super::lookup::{Head, Lookup};
use super::published::Table;
use super::reach::Reachability;
use crate::model::Epoch;
use crate::snapshot::BranchHolds;
use crate::source::labels;
use crate::sync::lock;

/// The branches that Spring Cloud Config Server serves to a request without a label. The first existing one wins.
pub(super) const USUAL_BRANCHES: [&str; 2] = ["main", "master"];

/// The present target of a name.
pub(super) struct Resolved {
    pub(super) commit: Oid,
    /// The name that exists. It differs from the requested name if `master` stands in for a missing `main`, or vice
    /// versa.
    pub(super) name: String,
    /// Set for a branch, which moves along a history.
    pub(super) is_branch: bool,
    /// The published references in which the name was resolved. `None` if the server does not publish them.
    pub(super) table: Option<Arc<Table>>,
}

impl Resolved {
    fn new(commit: Oid, name: &str, is_branch: bool) -> Self {
        Self { commit, name: name.to_owned(), is_branch, table: None }
    }

    /// The rollouts of the branch.
    pub(super) fn holds(&self) -> Option<&Arc<BranchHolds>> {
        self.table.as_ref()?.holds(&self.name).filter(|_| self.is_branch)
    }

    /// The last rewind of the label.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.table.as_ref()?.record()?.epoch(&self.name)
    }
}

/// Looks for a branch, then a tag, then a full commit id that is reachable from a branch or a tag.
pub(super) fn resolve(
    repository: &Repository,
    lookup: &Lookup,
    reach: &Mutex<Reachability>,
    name: &str,
) -> Result<Option<Resolved>, git2::Error> {
    match by_name(repository, lookup, name)? {
        None if !labels::is_name(name) => Ok(None),
        None => by_id(repository, lookup, reach, name),
        found => Ok(found),
    }
}

/// A branch or a tag, by its name.
pub(super) fn by_name(
    repository: &Repository,
    lookup: &Lookup,
    name: &str,
) -> Result<Option<Resolved>, git2::Error> {
    if !labels::is_name(name) {
        return Ok(None);
    }
    match by_reference(repository, lookup, name)? {
        None => match labels::sibling(name) {
            Some(sibling) => by_reference(repository, lookup, sibling),
            None => Ok(None),
        },
        found => Ok(found),
    }
}

/// Resolves `HEAD` to its branch, or to the commit of a detached `HEAD`. If the branch is missing, `main` or else
/// `master` stands in for it.
pub(super) fn resolve_head(
    repository: &Repository,
    lookup: &Lookup,
) -> Result<Option<Resolved>, git2::Error> {
    match lookup.head(repository)? {
        None => Ok(None),
        Some(Head::Branch(branch)) => {
            for name in std::iter::once(&*branch).chain(USUAL_BRANCHES) {
                if let Some(found) = by_reference(repository, lookup, name)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        Some(Head::Commit(commit)) => Ok(Some(Resolved::new(commit, &commit.to_string(), false))),
    }
}

/// Returns whether the directory still looks like a repository. If it does not, a missing reference proves nothing.
pub(super) fn stands(repository: &Repository, git_directory: &Path) -> bool {
    git_directory.join("HEAD").is_file()
        && repository.commondir().join("objects").is_dir()
        && repository.commondir().join("refs").is_dir()
}

fn by_reference(
    repository: &Repository,
    lookup: &Lookup,
    name: &str,
) -> Result<Option<Resolved>, git2::Error> {
    if let Some(found) = branch(repository, lookup, name)? {
        return Ok(Some(found));
    }
    at(repository, lookup, &format!("refs/tags/{name}"), name, false)
}

/// A branch by its name: a local one or, in a clone, one of its remote.
pub(super) fn branch(
    repository: &Repository,
    lookup: &Lookup,
    name: &str,
) -> Result<Option<Resolved>, git2::Error> {
    for prefix in lookup.branch_prefixes() {
        let found = at(repository, lookup, &format!("{prefix}{name}"), name, true)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn at(
    repository: &Repository,
    lookup: &Lookup,
    reference: &str,
    name: &str,
    is_branch: bool,
) -> Result<Option<Resolved>, git2::Error> {
    if !Reference::is_valid_name(reference) {
        return Ok(None);
    }
    let commit = lookup.commit(repository, reference)?;
    Ok(commit.map(|commit| Resolved::new(commit, name, is_branch)))
}

fn by_id(
    repository: &Repository,
    lookup: &Lookup,
    reach: &Mutex<Reachability>,
    name: &str,
) -> Result<Option<Resolved>, git2::Error> {
    if name.len() != 40 {
        return Ok(None);
    }
    let Ok(id) = Oid::from_str(name) else {
        return Ok(None);
    };
    match repository.odb()?.read_header(id) {
        Ok((_, ObjectType::Commit)) => {}
        Ok(_) => return Ok(None),
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(lock(reach).has(repository, lookup, id)?.then(|| Resolved::new(id, name, false)))
}
