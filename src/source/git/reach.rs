//! Whether a commit is reachable from a branch or a tag, remembered for as long as history only grows.
//!
//! What was reachable stays so while every tip that went away is itself reachable from those that are there now. A
//! force-push forgets everything, so that a commit it took away is not served again.

use std::collections::HashSet;

use git2::{Oid, Repository};

use super::lookup::Lookup;

/// How many answers are remembered, of each kind.
const REMEMBERED_COUNT_MAX: usize = 4096;

/// The answers so far, with the tips for which they hold.
#[derive(Default)]
pub(super) struct Reach {
    tips: Vec<Oid>,
    reachable: HashSet<Oid>,
    unreachable: HashSet<Oid>,
}

impl Reach {
    /// Whether some branch or tag leads to this commit.
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
        // A tip that was pruned cannot be walked from, which says as much as an answer.
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

/// Walks back from the tips only until they have passed all of `ids`.
fn all_reachable(repository: &Repository, ids: &[Oid], tips: &[Oid]) -> Result<bool, git2::Error> {
    if ids.is_empty() {
        return Ok(true);
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
