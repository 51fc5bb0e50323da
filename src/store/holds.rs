//! The holds of one live label: the applications that a rollout keeps at an earlier revision.
//!
//! A hold belongs to a published snapshot, so that a label moves to a tip and to its holds in one publication. The stable
//! snapshot of a hold is the published one with the members of the held branches replaced. Everything else, such as the
//! other members of a composite, reaches both sides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use crate::model::{Epoch, Epochs, InstanceKey, Query};
use crate::resolve::{self, Differences};
use crate::snapshot::{BranchHolds, HoldReason, Member, RolloutHold, Snapshot};
use crate::sync::lock;
use crate::tree::TreeError;

/// The limit on composed holds that a label remembers. Clients can invent lists of applications.
const COMPOSED_COUNT_MAX: usize = 1_000;

/// The side that a reader of a held application receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The content that every client except the canaries receives.
    Stable,
    /// The content at the tip.
    Candidate,
}

/// The properties of a reader that decide its side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reader {
    /// The instance of a service. None for a reader without a name, which is a canary in the last stage only.
    pub instance: Option<InstanceKey>,
    /// The number of the hold whose candidate the reader has received. 0 for none. A reader that has the candidate keeps it
    /// until the hold gets another number, whichever bucket it is in.
    pub shown: u64,
}

/// The holds of one published snapshot.
pub(super) struct Holds {
    snapshot: Arc<Snapshot>,
    /// False for a label without any hold, which costs its readers and publishers nothing.
    is_any: bool,
    composed: Mutex<HashMap<HoldKey, Arc<Hold>>>,
}

/// The identity of a composed hold: the holds of each held member, and whether the query names several applications.
type HoldKey = (Vec<(usize, Vec<usize>)>, bool);

/// The hold of a query: the holds of every member that the query selects.
pub(super) struct Hold {
    /// The published snapshot with the held members at their stable revisions.
    pub(super) stable: Arc<Snapshot>,
    /// The epochs of the label, and behind them one for each member: the number of its holds.
    pub(super) epochs: Option<Epochs>,
    pub(super) choice: SideChoice,
    /// The differences from the stable snapshot to the published one, once they are needed.
    differences: OnceLock<Differences>,
}

/// The choice between the sides of a held application. It does not keep any snapshot alive.
#[derive(Clone)]
pub struct SideChoice(Arc<[HeldMember]>);

/// The holds of one member.
struct HeldMember {
    member: usize,
    branch: Arc<BranchHolds>,
    /// The indices in `branch`, at least one.
    holds: Vec<usize>,
    epoch: Epoch,
}

impl Holds {
    /// The holds of a snapshot.
    pub(super) fn of(snapshot: &Arc<Snapshot>) -> Self {
        let has_holds = |member: &Member| {
            member.holds.branch.as_ref().is_some_and(|branch| !branch.holds.is_empty())
        };
        let is_any = snapshot.members.iter().any(has_holds);
        Self { snapshot: Arc::clone(snapshot), is_any, composed: Mutex::default() }
    }

    /// Returns the hold of a query. None if none of its applications is held.
    pub(super) fn find(&self, query: &Query) -> Option<Arc<Hold>> {
        if !self.is_any {
            return None;
        }
        let members = &self.snapshot.members;
        let mut key: HoldKey = (Vec::new(), query.application_names().nth(1).is_some());
        for index in resolve::choose(&self.snapshot, query)? {
            let Some(branch) = &members[index].holds.branch else { continue };
            let holds = branch.of_query(query);
            if !holds.is_empty() {
                key.0.push((index, holds));
            }
        }
        if key.0.is_empty() {
            return None;
        }
        let mut composed = lock(&self.composed);
        if let Some(known) = composed.get(&key) {
            return Some(Arc::clone(known));
        }
        let hold = Arc::new(self.compose(&key));
        if composed.len() < COMPOSED_COUNT_MAX {
            composed.insert(key, Arc::clone(&hold));
        }
        Some(hold)
    }

    fn compose(&self, (held, is_list): &HoldKey) -> Hold {
        let mut stable = Snapshot::clone(&self.snapshot);
        let mut parts: Vec<HeldMember> = Vec::new();
        for (index, holds) in held {
            let member = &mut stable.members[*index];
            let (Some(branch), Some(first)) = (member.holds.branch.clone(), holds.first()) else {
                continue;
            };
            // The number of a list would decrease when one of its applications is released.
            let number = if *is_list { branch.record.number } else { branch.holds[*first].number };
            let epoch = Epoch { number, ..branch.record };
            if let Some(earlier) = member.holds.stables.get(*first) {
                *member = Member {
                    group: member.group,
                    areas: member.areas.clone(),
                    rewinds: member.rewinds.clone(),
                    ..earlier.clone()
                };
            }
            parts.push(HeldMember { member: *index, branch, holds: holds.clone(), epoch });
        }
        let stable = Arc::new(stable.with_revisions_of(&self.snapshot));
        let epochs = self.epochs(&parts);
        Hold { stable, epochs, choice: SideChoice(parts.into()), differences: OnceLock::new() }
    }

    fn epochs(&self, parts: &[HeldMember]) -> Option<Epochs> {
        let members = 0..self.snapshot.members.len();
        let rewinds = self.snapshot.members.iter().map(|member| member.rewinds.epoch);
        let of_member =
            |index| parts.iter().find(|part| part.member == index).map(|part| part.epoch);
        Epochs::of(rewinds.chain(members.map(of_member)))
    }
}

impl Hold {
    /// The differences from the stable snapshot to the published one. Blocking.
    ///
    /// # Errors
    /// When a tree cannot be read.
    pub(super) fn differences(&self, published: &Snapshot) -> Result<&Differences, TreeError> {
        if let Some(known) = self.differences.get() {
            return Ok(known);
        }
        let differences = Differences::between(&self.stable, published)?;
        Ok(self.differences.get_or_init(|| differences))
    }
}

impl SideChoice {
    /// Chooses the side of a reader. With several holds, only a canary of each of them receives the candidate.
    pub fn choose(&self, reader: &Reader) -> Side {
        if self.reason() == HoldReason::Withheld {
            return Side::Stable;
        }
        let has_it = reader.shown != 0 && reader.shown == self.number();
        let mut holds = self.holds();
        if has_it || holds.all(|(_, hold)| hold.canaries.is_canary(reader.instance)) {
            Side::Candidate
        } else {
            Side::Stable
        }
    }

    /// A number that changes when the hold is opened, superseded, promoted or withheld.
    pub fn number(&self) -> u64 {
        self.0.iter().map(|held| held.epoch.number).max().unwrap_or_default()
    }

    /// Returns false if the candidate is withheld, so that no reader receives it.
    pub fn has_candidate(&self) -> bool {
        self.reason() == HoldReason::Rollout
    }

    /// Withheld if any of the holds is.
    pub(super) fn reason(&self) -> HoldReason {
        let is_withheld = self.holds().any(|(_, hold)| hold.reason == HoldReason::Withheld);
        if is_withheld { HoldReason::Withheld } else { HoldReason::Rollout }
    }

    /// The rollout. With several holds, the one with the oldest stable revision.
    pub(super) fn rollout(&self) -> &Arc<str> {
        let held = &self.0[0];
        &held.branch.holds[held.holds[0]].rollout
    }

    /// The holds, each with its member.
    pub(super) fn holds(&self) -> impl Iterator<Item = (usize, &RolloutHold)> {
        self.0.iter().flat_map(|held| {
            held.holds.iter().map(|index| (held.member, &held.branch.holds[*index]))
        })
    }

    /// The number of a member's holds. None if the member is not held.
    pub(super) fn number_of(&self, member: usize) -> Option<u64> {
        let held = self.0.iter().find(|held| held.member == member)?;
        Some(held.epoch.number)
    }

    /// Returns true if another choice is the same for every reader.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let canaries = |(_, hold): (usize, &RolloutHold)| hold.canaries.clone();
        (self.number(), self.reason()) == (other.number(), other.reason())
            && self.holds().map(canaries).eq(other.holds().map(canaries))
    }
}
