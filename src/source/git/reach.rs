//! Reachability of commits from branches and tags, cached while history only grows.
//!
//! Invariant: a reachable commit stays reachable while every removed tip is itself reachable from a present tip. After a
//! force-push this does not hold, and the cache is cleared, so that an abandoned commit is not served again.

use std::collections::HashSet;

use git2::{ErrorCode, Oid, Repository};

use super::lookup::Lookup;

/// The most cached answers of each kind.
const REMEMBERED_COUNT_MAX: usize = 4096;

/// The cached answers, with the tips for which they are valid.
#[derive(Default)]
pub(super) struct Reachability {
    tips: Vec<Oid>,
    reachable: HashSet<Oid>,
    unreachable: HashSet<Oid>,
}

impl Reachability {
    /// Returns whether this commit is reachable from a branch or a tag.
    pub(super) fn has(
        &mut self,
        repository: &Repository,
        lookup: &Lookup,
        id: Oid,
    ) -> Result<bool, git2::Error> {
        self.follow(repository, lookup.tips(repository)?)?;
        if self.tips.binary_search(&id).is_ok() || self.reachable.contains(&id) {
            return Ok(true);
        }
        if self.unreachable.contains(&id) {
            return Ok(false);
        }
        let reachable = all_reachable(repository, &[id], &self.tips)?;
        remember(if reachable { &mut self.reachable } else { &mut self.unreachable }, id);
        Ok(reachable)
    }

    fn follow(&mut self, repository: &Repository, tips: Vec<Oid>) -> Result<(), git2::Error> {
        if tips == self.tips {
            return Ok(());
        }
        let gone: Vec<Oid> =
            self.tips.iter().filter(|tip| tips.binary_search(tip).is_err()).copied().collect();
        // A pruned tip cannot be walked from, and counts as unreachable.
        if !all_reachable(repository, &gone, &tips).unwrap_or(false) {
            self.reachable.clear();
        }
        self.unreachable.clear();
        self.tips = tips;
        Ok(())
    }
}

fn remember(answers: &mut HashSet<Oid>, id: Oid) {
    if answers.len() >= REMEMBERED_COUNT_MAX {
        answers.clear();
    }
    answers.insert(id);
}

/// Returns whether all of `ids` are reachable from the tips.
fn all_reachable(repository: &Repository, ids: &[Oid], tips: &[Oid]) -> Result<bool, git2::Error> {
    if ids.is_empty() {
        return Ok(true);
    }
    if repository.is_shallow() {
        return all_reachable_in_shallow(repository, ids, tips);
    }
    let mut walk = repository.revwalk()?;
    ids.iter().try_for_each(|id| walk.push(*id))?;
    tips.iter().try_for_each(|tip| walk.hide(*tip))?;
    match walk.next() {
        None => Ok(true),
        Some(Ok(_)) => Ok(false),
        Some(Err(error)) => Err(error),
    }
}

/// The variant for a shallow clone. Its history ends at commits with missing parents, where the walk of libgit2 fails.
fn all_reachable_in_shallow(
    repository: &Repository,
    ids: &[Oid],
    tips: &[Oid],
) -> Result<bool, git2::Error> {
    let mut wanted: HashSet<Oid> = ids.iter().copied().collect();
    let (mut seen, mut left) = (HashSet::new(), tips.to_vec());
    while let Some(id) = left.pop().filter(|_| !wanted.is_empty()) {
        wanted.remove(&id);
        if !seen.insert(id) {
            continue;
        }
        match repository.find_commit(id) {
            Ok(commit) => left.extend(commit.parent_ids()),
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted.is_empty())
}
