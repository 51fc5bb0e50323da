//! From a label to a commit: by name, never as an expression.

use std::path::Path;
use std::sync::Mutex;

use git2::{ErrorCode, ObjectType, Oid, Reference, Repository};

use super::lookup::{Head, Lookup};
use super::reach::Reach;
use crate::source::labels;
use crate::sync::lock;

/// What a name stands for just now.
pub(super) struct Resolved {
    pub(super) commit: Oid,
    /// The name that was found in the end: `master` where `main` was asked for and is missing.
    pub(super) name: String,
    /// Whether it is a branch, which moves along a history.
    pub(super) is_branch: bool,
}

/// Looks for a branch, then a tag, then a full commit id that one of those leads to.
pub(super) fn resolve(
    repository: &Repository,
    lookup: &Lookup,
    reach: &Mutex<Reach>,
    name: &str,
) -> Result<Option<Resolved>, git2::Error> {
    if !labels::is_name(name) {
        return Ok(None);
    }
    if let Some(found) = by_reference(repository, lookup, name)? {
        return Ok(Some(found));
    }
    if let Some(sibling) = labels::sibling(name) {
        return by_reference(repository, lookup, sibling);
    }
    by_id(repository, lookup, reach, name)
}

/// What `HEAD` stands for: its branch, or the commit that was checked out without one.
pub(super) fn resolve_head(
    repository: &Repository,
    lookup: &Lookup,
) -> Result<Option<Resolved>, git2::Error> {
    match lookup.head(repository)? {
        None => Ok(None),
        Some(Head::Branch(branch)) => {
            if let Some(found) = by_reference(repository, lookup, &branch)? {
                return Ok(Some(found));
            }
            match labels::sibling(&branch) {
                Some(sibling) => by_reference(repository, lookup, sibling),
                None => Ok(None),
            }
        }
        Some(Head::Commit(commit)) => {
            Ok(Some(Resolved { commit, name: commit.to_string(), is_branch: false }))
        }
    }
}

/// Whether this still looks like a repository; without one, a reference that is not found says nothing.
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
    for (prefix, is_branch) in [("refs/heads/", true), ("refs/tags/", false)] {
        let full = format!("{prefix}{name}");
        if !Reference::is_valid_name(&full) {
            return Ok(None);
        }
        if let Some(commit) = lookup.commit(repository, &full)? {
            return Ok(Some(Resolved { commit, name: name.to_owned(), is_branch }));
        }
    }
    Ok(None)
}

fn by_id(
    repository: &Repository,
    lookup: &Lookup,
    reach: &Mutex<Reach>,
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
    Ok(lock(reach).has(repository, lookup, id)?.then(|| Resolved {
        commit: id,
        name: name.to_owned(),
        is_branch: false,
    }))
}
