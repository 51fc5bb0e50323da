//! Intents: what becomes of a branch if git moves its reference.
//!
//! A state is durable before a reference moves. Until then, both outcomes are possible, and a push may supersede a rollout
//! whose hold is still needed if the reference does not move. The durable state therefore has both.

use super::{Branch, State};
use crate::Name;

/// The rollouts of a branch after a push.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Intent {
    pub(crate) from: Name,
    pub(crate) to: Name,
    /// The number of the state after the push.
    pub(crate) number: u64,
    pub(crate) next: Branch,
}

impl State {
    /// This state, with the branch of `next` in case that the reference moves. A server without a shared state writes it
    /// before git may move the reference, and a replica before it follows.
    pub fn intending(&self, branch: &str, from: &str, to: &str, next: &Self) -> Self {
        let mut state = self.clone();
        let number = next.number;
        let next = next.branches.get(branch).cloned().unwrap_or_default();
        let intent = Intent { from: from.into(), to: to.into(), number, next };
        state.intents.insert(branch.into(), intent);
        state
    }

    /// The branches whose last push may not have moved the reference.
    pub fn unsettled(&self) -> impl Iterator<Item = &Name> {
        self.intents.keys()
    }

    /// Decides an intent by the tip of the branch. `contains` returns true if the tip is the given commit or a descendant
    /// of it.
    pub fn settle(&mut self, branch: &str, tip: &str, contains: impl Fn(&str) -> bool) {
        let Some(intent) = self.intents.remove(branch) else {
            return;
        };
        // A forced push moves to an ancestor, which every tip before it contains.
        if tip != &*intent.from && (tip == &*intent.to || contains(&intent.to)) {
            self.branches.insert(branch.into(), intent.next);
            self.number = self.number.max(intent.number);
        }
    }
}
