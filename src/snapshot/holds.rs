//! The rollouts of a branch, as a source hands them out together with the tip of the branch.
//!
//! A rollout holds applications at an earlier revision of the branch, the stable one. A member carries the holds of its
//! branch, so that a tip and its holds are loaded, compared and published as one value.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Member;
use crate::model::{CanaryChoice, Epoch, Query, Revision};

/// The holds of one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchHolds {
    /// The record of rollouts: its lineage, and the number of its last change. The number grows whenever a hold is opened,
    /// superseded, promoted or withheld, and never decreases.
    pub record: Epoch,
    /// The holds, those with the oldest stable revision first. A hold that names an application takes precedence over one
    /// of everyone.
    pub holds: Vec<RolloutHold>,
}

/// Applications that a rollout holds at a stable revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutHold {
    /// The id of the rollout.
    pub rollout: Arc<str>,
    /// The number of the record when this hold was last opened, superseded, promoted or withheld.
    pub number: u64,
    pub reason: HoldReason,
    pub scope: HoldScope,
    /// The stable revision.
    pub stable: Revision,
    /// The first revision of the branch with the candidate.
    pub candidate: Revision,
    /// The instances that receive the candidate.
    pub canaries: CanaryChoice,
}

/// The reason for a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// A rollout is in progress. Canaries receive the candidate.
    Rollout,
    /// A rollout was rolled back. No instance receives the candidate.
    Withheld,
}

/// The applications of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldScope {
    /// Every application, including names that no file mentions.
    Everyone,
    Applications(BTreeSet<Arc<str>>),
}

impl BranchHolds {
    /// The indices of the holds of a query, those with the oldest stable revision first. A query for several applications
    /// can have several.
    pub fn of_query(&self, query: &Query) -> Vec<usize> {
        let names = query.application_names();
        let found: BTreeSet<usize> = names.filter_map(|name| self.of_application(name)).collect();
        found.into_iter().collect()
    }

    fn of_application(&self, application: &str) -> Option<usize> {
        let names_it = |hold: &RolloutHold| match &hold.scope {
            HoldScope::Everyone => false,
            HoldScope::Applications(names) => names.contains(application),
        };
        let is_of_everyone = |hold: &RolloutHold| hold.scope == HoldScope::Everyone;
        let mut holds = self.holds.iter();
        holds.position(names_it).or_else(|| self.holds.iter().position(is_of_everyone))
    }
}

/// The holds of a member's branch, with the content of each stable revision.
#[derive(Clone, Default)]
pub struct MemberHolds {
    /// None if the branch never had a rollout, or if the label is no branch.
    pub branch: Option<Arc<BranchHolds>>,
    /// Set where every rollout is recorded: without a record the branch never had one.
    pub are_recorded: bool,
    /// The member at the stable revision of each hold, in their order.
    pub stables: Arc<[Member]>,
}

impl MemberHolds {
    /// Returns true if both hold the same applications at the same revisions for the same instances.
    pub fn are_same(&self, other: &Self) -> bool {
        self.branch == other.branch
    }
}
