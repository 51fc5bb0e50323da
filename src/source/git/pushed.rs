//! The paths that the commits of a push change, for decisions about each of them.
//!
//! Every commit is compared with each of its parents, because it can be served by its id and can become the last good
//! one. A root commit is compared with an empty tree. A renamed file is a deleted and an added one.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{Commit, Delta, DiffOptions, ErrorCode, Oid, Repository, Sort, Tree};

use super::incoming::Incoming;
use crate::source::SourceError;

/// The most commits of one update that are compared.
const COMMIT_COUNT_MAX: usize = 2_000;
/// The most changed paths of one update.
const PATH_COUNT_MAX: usize = 100_000;

/// A path that a commit changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedPath {
    /// The full id of the commit.
    pub commit: String,
    /// The bytes of the path as git stores it.
    pub path: Vec<u8>,
    /// True if the commit does not have the path.
    pub is_deleted: bool,
    /// True if no published branch or tag leads to the commit.
    pub is_new: bool,
}

/// The paths that an update changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedPaths {
    All(Vec<ChangedPath>),
    /// The update has more commits than can be compared.
    TooManyCommits(usize),
    /// The commits change more paths than can be decided.
    TooManyPaths(usize),
}

/// The limit that a comparison has reached.
enum ComparisonError {
    Limit(ChangedPaths),
    Git(git2::Error),
}

impl From<git2::Error> for ComparisonError {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl Incoming {
    /// The paths that change in the commits that `tip` leads to and none of `known` does. `old` is the old commit of the
    /// reference. If the update is forced, the differences between both commits are included. `published` are the objects
    /// of all references.
    ///
    /// # Errors
    /// As for [`Incoming::snapshot`].
    pub fn changed_paths(
        &self,
        tip: &str,
        known: &[String],
        old: Option<&str>,
        is_forced: bool,
        published: &[String],
    ) -> Result<ChangedPaths, SourceError> {
        let found = self.pool.with(|repository| {
            let comparison = Comparison::new(repository, published);
            match comparison.and_then(|it| it.run(tip, known, old, is_forced)) {
                Ok(paths) => Ok(ChangedPaths::All(paths)),
                Err(ComparisonError::Limit(limit)) => Ok(limit),
                Err(ComparisonError::Git(error)) => Err(error),
            }
        });
        found.map_err(|error| self.unavailable(&error))
    }
}

/// A comparison in progress.
struct Comparison<'r> {
    repository: &'r Repository,
    published: Vec<Oid>,
    /// The commits that no published reference leads to.
    new: HashSet<Oid>,
    changed: Vec<ChangedPath>,
}

impl<'r> Comparison<'r> {
    fn new(repository: &'r Repository, published: &[String]) -> Result<Self, ComparisonError> {
        let published = peeled(repository, published)?;
        Ok(Self { repository, published, new: HashSet::new(), changed: Vec::new() })
    }

    fn run(
        mut self,
        tip: &str,
        known: &[String],
        old: Option<&str>,
        is_forced: bool,
    ) -> Result<Vec<ChangedPath>, ComparisonError> {
        let tip = Oid::from_str(tip)?;
        self.new = commits(self.repository, tip, &self.published)?.into_iter().collect();
        let known = peeled(self.repository, known)?;
        let old = match old {
            Some(old) => Some(self.repository.find_commit(Oid::from_str(old)?)?.tree()?),
            None => None,
        };
        for id in commits(self.repository, tip, &known)? {
            self.commit(&self.repository.find_commit(id)?, old.as_ref())?;
        }
        if let Some(old) = &old
            && is_forced
        {
            self.differences(&self.repository.find_commit(tip)?, Some(old), None)?;
        }
        Ok(self.changed)
    }

    fn commit(
        &mut self,
        commit: &Commit<'_>,
        old: Option<&Tree<'_>>,
    ) -> Result<(), ComparisonError> {
        let count = commit.parent_count();
        if count == 0 {
            return self.differences(commit, None, None);
        }
        for at in 0..count {
            // What a merge has exactly as the branch has it is no change, whatever its other parents have.
            let kept = old.filter(|_| count > 1);
            self.differences(commit, Some(&commit.parent(at)?.tree()?), kept)?;
        }
        Ok(())
    }

    /// Adds the paths that differ from a tree, unless the other tree has exactly what the commit has.
    fn differences(
        &mut self,
        commit: &Commit<'_>,
        before: Option<&Tree<'_>>,
        kept: Option<&Tree<'_>>,
    ) -> Result<(), ComparisonError> {
        let tree = commit.tree()?;
        let mut options = DiffOptions::new();
        options.include_typechange(true).skip_binary_check(true).ignore_submodules(false);
        let diff = self.repository.diff_tree_to_tree(before, Some(&tree), Some(&mut options))?;
        for delta in diff.deltas() {
            let path = delta.new_file().path_bytes().or_else(|| delta.old_file().path_bytes());
            let path = path.unwrap_or_default();
            if let Some(kept) = kept
                && entry(kept, path)? == entry(&tree, path)?
            {
                continue;
            }
            if self.changed.len() == PATH_COUNT_MAX {
                return Err(ComparisonError::Limit(ChangedPaths::TooManyPaths(PATH_COUNT_MAX)));
            }
            self.changed.push(ChangedPath {
                commit: commit.id().to_string(),
                path: path.to_owned(),
                is_deleted: delta.status() == Delta::Deleted,
                is_new: self.new.contains(&commit.id()),
            });
        }
        Ok(())
    }
}

/// The object and the mode at a path.
fn entry(tree: &Tree<'_>, path: &[u8]) -> Result<Option<(Oid, i32)>, git2::Error> {
    match tree.get_path(Path::new(OsStr::from_bytes(path))) {
        Ok(entry) => Ok(Some((entry.id(), entry.filemode_raw()))),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The commits that `tip` leads to and no hidden commit does, the oldest first.
fn commits(repository: &Repository, tip: Oid, hidden: &[Oid]) -> Result<Vec<Oid>, ComparisonError> {
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL)?;
    walk.push(tip)?;
    hidden.iter().try_for_each(|id| walk.hide(*id))?;
    let mut found = Vec::new();
    for id in walk {
        if found.len() == COMMIT_COUNT_MAX {
            return Err(ComparisonError::Limit(ChangedPaths::TooManyCommits(COMMIT_COUNT_MAX)));
        }
        found.push(id?);
    }
    found.reverse();
    Ok(found)
}

/// The commits of objects. An object that leads to no commit hides nothing.
fn peeled(repository: &Repository, ids: &[String]) -> Result<Vec<Oid>, git2::Error> {
    let mut commits = Vec::with_capacity(ids.len());
    for id in ids {
        let object = repository.find_object(Oid::from_str(id)?, None)?;
        commits.extend(object.peel_to_commit().ok().map(|commit| commit.id()));
    }
    Ok(commits)
}
