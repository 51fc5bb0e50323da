//! From the state of the rollouts to the holds that a source hands out with its branches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::bucket::Bound;
use headwater_rollout::state::{Branch, Entry, Member, OTHERS, Rollout, State};

use crate::model::{CanaryChoice, Epoch, InstanceKey, Revision};
use crate::snapshot::{BranchHolds, HoldReason, HoldScope, RolloutHold};
use crate::source::git::HoldTable;

/// The keys of instances that are canaries because of an attribute, by rollout and application.
pub(super) type AdmittedInstances = BTreeMap<(Name, Name), BTreeSet<u64>>;

/// Applications of one rollout with the same stable revision and the same canaries.
type GroupKey<'s> = (&'s Name, u64, Bound, BTreeSet<u64>, bool);

/// Returns the holds of every branch that has or had a rollout.
pub(super) fn hold_table(state: &State, admitted: &AdmittedInstances) -> HoldTable {
    let record = Epoch { lineage: state.lineage, number: state.number.max(1) };
    let branches = state.branches.iter().map(|(name, branch)| {
        let holds = BranchHolds { record, holds: holds(branch, admitted) };
        (Box::from(&**name), Arc::new(holds))
    });
    branches.collect()
}

/// Returns the holds of a server without contact to the other replicas. Only instances that have seen a candidate receive
/// it, until the last stage, which is a decision about everyone.
pub(super) fn fenced(table: HoldTable) -> HoldTable {
    let fence = |hold: &mut RolloutHold| {
        if hold.canaries.bound != CanaryChoice::EVERYONE {
            hold.canaries.bound = Bound::NONE.number();
            hold.canaries.named.clear();
        }
    };
    let branches = table.into_iter().map(|(name, mut branch)| {
        Arc::make_mut(&mut branch).holds.iter_mut().for_each(fence);
        (name, branch)
    });
    branches.collect()
}

fn holds(branch: &Branch, admitted: &AdmittedInstances) -> Vec<RolloutHold> {
    let ages = ages(branch);
    let mut holds = Vec::new();
    for entry in branch.entries() {
        for (key, names) in groups(entry.rollout(), admitted) {
            holds.push((age(&ages, key.0), hold(entry, key, names)));
        }
    }
    holds.sort_by_key(|(age, hold)| (*age, hold.number));
    holds.into_iter().map(|(_, hold)| hold).collect()
}

/// The place of each stable commit in the order of the rollouts that began at it.
fn ages(branch: &Branch) -> BTreeMap<&Name, usize> {
    let mut rollouts: Vec<&Rollout> = branch.entries().map(Entry::rollout).collect();
    rollouts.sort_by_key(|own| (own.opened, own.number));
    let mut ages = BTreeMap::new();
    for (age, rollout) in rollouts.into_iter().enumerate() {
        ages.entry(&rollout.from).or_insert(age + 1);
    }
    ages
}

/// A commit from which no present rollout began is older than all of these.
fn age(ages: &BTreeMap<&Name, usize>, stable: &Name) -> usize {
    ages.get(stable).copied().unwrap_or(0)
}

fn groups<'s>(
    rollout: &'s Rollout,
    admitted: &AdmittedInstances,
) -> BTreeMap<GroupKey<'s>, BTreeSet<Arc<str>>> {
    let mut groups = BTreeMap::new();
    for (name, member) in &rollout.members {
        let mut named = member.named.clone();
        let by_attribute = admitted.get(&(rollout.id.clone(), name.clone()));
        named.extend(by_attribute.into_iter().flatten());
        let Member { stable, salt, bound, .. } = member;
        let is_everyone = **name == *OTHERS;
        let names: &mut BTreeSet<Arc<str>> =
            groups.entry((stable, *salt, *bound, named, is_everyone)).or_default();
        names.insert(Arc::from(&**name));
    }
    groups
}

fn hold(entry: Entry<'_>, key: GroupKey<'_>, names: BTreeSet<Arc<str>>) -> RolloutHold {
    let rollout = entry.rollout();
    let (stable, salt, bound, named, is_everyone) = key;
    RolloutHold {
        rollout: Arc::from(&*rollout.id),
        number: rollout.number,
        reason: match entry {
            Entry::Running(_) => HoldReason::Rollout,
            Entry::Withheld(_) => HoldReason::Withheld,
        },
        scope: if is_everyone { HoldScope::Everyone } else { HoldScope::Applications(names) },
        stable: Revision::new(&**stable),
        candidate: Revision::new(&*rollout.to),
        canaries: CanaryChoice {
            salt,
            bound: bound.number(),
            named: named.into_iter().map(InstanceKey::from_number).collect(),
        },
    }
}
