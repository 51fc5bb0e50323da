//! The state of a replica that is about to follow another state and its references.

use headwater_rollout::state::State;

use crate::source::git::MovedReference;

/// The state to write before git moves references. Each branch that moves and has other rollouts after it has those from
/// before, and an intent with the others. All other branches have their next rollouts.
pub fn intended(before: &State, next: &State, moves: &[MovedReference]) -> State {
    let mut state = next.clone();
    // Numbers of another lineage may be higher, and a state has the highest of its numbers.
    state.number = state.number.max(before.number);
    for MovedReference { name, old, new } in moves {
        let Some(branch) = name.strip_prefix("refs/heads/") else { continue };
        // A branch that is created has no clients yet.
        let Some(old) = old else { continue };
        if before.branches.get(branch) == next.branches.get(branch) {
            continue;
        }
        match before.branches.get(branch) {
            Some(own) => drop(state.branches.insert(branch.into(), own.clone())),
            None => drop(state.branches.remove(branch)),
        }
        if let Some(new) = new {
            state = state.intending(branch, old, new, next);
        }
    }
    state
}

#[cfg(test)]
mod tests;
