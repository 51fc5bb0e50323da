//! The commits that a push brings, and the paths that they change.

use std::collections::BTreeSet;

use git2::{Commit, Oid, Repository};

use super::incoming::Incoming;
use crate::source::SourceError;

impl Incoming {
    /// The commits that `tips` lead to and `known` do not, newest first, and the paths in which each of them differs from
    /// its first parent. At most `count_max` of both.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn new_commits(
        &self,
        tips: &[&str],
        known: &[&str],
        count_max: usize,
    ) -> Result<(Vec<String>, Vec<String>), SourceError> {
        self.read(|repository| read(repository, tips, known, count_max))
    }
}

fn read(
    repository: &Repository,
    tips: &[&str],
    known: &[&str],
    count_max: usize,
) -> Result<(Vec<String>, Vec<String>), git2::Error> {
    let mut walk = repository.revwalk()?;
    let commit = |id: &&str| {
        let object = repository.find_object(Oid::from_str(id).ok()?, None).ok()?;
        Some(object.peel_to_commit().ok()?.id())
    };
    tips.iter().filter_map(commit).try_for_each(|id| walk.push(id))?;
    known.iter().filter_map(commit).try_for_each(|id| walk.hide(id))?;
    let (mut commits, mut paths) = (Vec::new(), BTreeSet::new());
    for id in walk.take(count_max) {
        let id = id?;
        add_paths(repository, &repository.find_commit(id)?, count_max, &mut paths)?;
        commits.push(id.to_string());
    }
    Ok((commits, paths.into_iter().collect()))
}

fn add_paths(
    repository: &Repository,
    commit: &Commit<'_>,
    count_max: usize,
    paths: &mut BTreeSet<String>,
) -> Result<(), git2::Error> {
    if paths.len() >= count_max {
        return Ok(());
    }
    let parent = match commit.parent_count() {
        0 => None,
        _ => Some(commit.parent(0)?.tree()?),
    };
    let diff = repository.diff_tree_to_tree(parent.as_ref(), Some(&commit.tree()?), None)?;
    for delta in diff.deltas() {
        let path = delta.new_file().path_bytes().or_else(|| delta.old_file().path_bytes());
        if let Some(path) = path.filter(|_| paths.len() < count_max) {
            paths.insert(String::from_utf8_lossy(path).into_owned());
        }
    }
    Ok(())
}
