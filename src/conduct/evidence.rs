//! The evidence of this server: what its instances report about the candidates of running rollouts.
//!
//! Each look at the table of instances has three steps. `membership` finds the members of rollouts that an instance belongs
//! to, and `observation` reads its entry in the table. `memory` compares the observation with the looks before. `group`
//! makes a report of what is remembered.
//!
//! Invariant: only an acknowledgement that names the digest of a side says that an instance has that side.
//!
//! Invariant: an instance counts only if it was connected, or made a request, within the last minute. The table keeps
//! instances that have ended for longer, and none of them can become a canary.

mod group;
mod keys;
mod membership;
mod memory;
mod observation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::evidence::{Group, Report};
use headwater_rollout::state::{Branch, Member, Phase, Rollout};
use headwater_rollout::step::RETURN_WITHIN;

use crate::fleet::Instance;
use group::SUSPECT_COUNT_MAX;
use keys::KeyCache;
use membership::Membership;
use memory::{Memory, Moment, NextChange};
use observation::Observation;

use crate::store::SideDigests as Sides;

/// An instance, with the sides of the environment that it follows.
pub struct Situated<'i> {
    pub instance: &'i Instance,
    /// `None` if the environment is not held, or if its answer is not kept.
    pub sides: Option<&'i Sides>,
}

/// The memory of this server about the instances of running rollouts of one branch. It is lost in a restart.
#[derive(Debug)]
pub struct EvidenceTracker {
    replica: Name,
    keys: KeyCache,
    /// In the order of the running rollouts.
    rollouts: Vec<RolloutMemory>,
    /// The number of looks at the table.
    look: u64,
    next_change: Option<Duration>,
}

/// The memory about the instances of one rollout.
#[derive(Debug)]
struct RolloutMemory {
    id: Name,
    phase: Phase,
    /// Until then instances come back after a restart of the server. `None` if the rollout was first seen before its
    /// first stage.
    return_until: Option<Duration>,
    members: BTreeMap<Name, MemberMemory>,
}

/// The memory about the instances of one application.
#[derive(Debug, Default)]
struct MemberMemory {
    instances: HashMap<u64, Memory>,
    /// The incidents in this stage of instances without the candidate that have left the table.
    left_incidents: u64,
}

impl EvidenceTracker {
    pub fn new(replica: Name) -> Self {
        let (keys, rollouts) = (KeyCache::default(), Vec::new());
        Self { replica, keys, rollouts, look: 0, next_change: None }
    }

    /// Reports about every running rollout of a branch. `instances` are those that follow a label of the branch, in any
    /// order. `now` is a clock that never goes back.
    pub fn report(
        &mut self,
        branch: &Branch,
        instances: &[Situated<'_>],
        now: Duration,
    ) -> Vec<Report> {
        self.look += 1;
        self.follow(branch, now);
        self.observe(branch, instances, now);
        let mut next = NextChange::default();
        let mut reports = Vec::with_capacity(branch.running.len());
        for (rollout, memory) in branch.running.iter().zip(&mut self.rollouts) {
            let moment = Moment {
                look: self.look,
                now,
                is_before: rollout.stage().is_none(),
                is_returning: memory.return_until.is_some_and(|until| now < until),
                ack_within: rollout.plan.ack_within,
                instances,
            };
            let applications = memory.settle(rollout, &moment, &mut next);
            reports.push(Report {
                replica: self.replica.clone(),
                rollout: rollout.id.clone(),
                number: rollout.number,
                phase: rollout.phase,
                applications,
                is_trying: false,
                tries: Vec::new(),
            });
        }
        self.next_change = next.0;
        self.keys.retain(self.look, instances.len());
        reports
    }

    /// The time at which the reports change although no instance does: an instance counts as silent or gone then.
    pub fn next_change(&self) -> Option<Duration> {
        self.next_change
    }

    /// Begins to watch new rollouts and new stages, and drops the memory of rollouts and members that have ended.
    fn follow(&mut self, branch: &Branch, now: Duration) {
        let mut known = std::mem::take(&mut self.rollouts);
        for rollout in &branch.running {
            let at = known.iter().position(|own| own.id == rollout.id);
            let mut memory =
                at.map_or_else(|| RolloutMemory::new(rollout, now), |at| known.swap_remove(at));
            memory.follow(rollout);
            self.rollouts.push(memory);
        }
    }

    /// Records the observations of this look with the memory of each instance.
    fn observe(&mut self, branch: &Branch, instances: &[Situated<'_>], now: Duration) {
        // The table has been read at the time of the latest request, which is still in progress in most cases.
        let latest = instances.iter().map(|own| own.instance.last_seen).max();
        let membership = Membership::of(branch);
        let memories = self.rollouts.iter_mut().flat_map(|own| own.members.values_mut());
        let mut memories: Vec<&mut MemberMemory> = memories.collect();
        let mut found = Vec::new();
        for (index, own) in instances.iter().enumerate() {
            let is_withheld = membership.find(&own.instance.query, &mut found);
            if found.is_empty() {
                continue;
            }
            let known = self.keys.find(own.instance, self.look);
            let mut seats = found.iter().map(|seat| &membership.seats()[*seat]);
            let is_canary =
                !is_withheld && seats.all(|seat| seat.includes(own.instance, known.key));
            let seen = Observation::of(own, index, is_canary);
            for seat in &found {
                let memory = memories[*seat].instances.get_mut(&known.key);
                if let Some(memory) = memory {
                    memory.observe(seen.as_ref(), self.look);
                } else if let Some(seen) = seen.as_ref().filter(|seen| seen.has_sides) {
                    let age = latest.map(|at| at.duration_since(own.instance.last_seen));
                    let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
                    let memory = Memory::new(known.name.clone(), seen, self.look, (now, age));
                    memories[*seat].instances.insert(known.key, memory);
                }
            }
        }
    }
}

impl RolloutMemory {
    fn new(rollout: &Rollout, now: Duration) -> Self {
        Self {
            id: rollout.id.clone(),
            phase: rollout.phase,
            return_until: rollout.stage().map(|_| now.saturating_add(RETURN_WITHIN)),
            members: BTreeMap::new(),
        }
    }

    /// Invariant: the members are those of the rollout, in the same order.
    fn follow(&mut self, rollout: &Rollout) {
        self.members.retain(|name, _| rollout.members.contains_key(name));
        for name in rollout.members.keys() {
            self.members.entry(name.clone()).or_default();
        }
        if self.phase != rollout.phase {
            self.phase = rollout.phase;
            self.members.values_mut().for_each(MemberMemory::begin_stage);
        }
    }

    /// Takes the observations of a look into the memory, and reports what is remembered.
    fn settle(
        &mut self,
        rollout: &Rollout,
        moment: &Moment<'_>,
        next: &mut NextChange,
    ) -> BTreeMap<Name, Group> {
        let members = self.members.iter_mut().zip(rollout.members.values());
        let group = |((name, memory), member): ((&Name, &mut MemberMemory), &Member)| {
            memory.settle(moment, next);
            (name.clone(), group::of(memory, member.salt, &rollout.plan, moment))
        };
        members.map(group).collect()
    }
}

impl MemberMemory {
    fn begin_stage(&mut self) {
        self.left_incidents = 0;
        self.instances.values_mut().for_each(Memory::begin_stage);
    }

    fn settle(&mut self, moment: &Moment<'_>, next: &mut NextChange) {
        self.instances.values_mut().for_each(|memory| memory.settle(moment, next));
        let (left_incidents, mut left) = (&mut self.left_incidents, [0; 2]);
        self.instances.retain(|_, memory| {
            let mut is_kept = memory.is_kept(moment.look);
            if is_kept && memory.has_left(moment.look) {
                let count = &mut left[usize::from(memory.is_bad())];
                *count += 1;
                is_kept = *count <= SUSPECT_COUNT_MAX;
            }
            *left_incidents += if is_kept { 0 } else { memory.incidents(moment.look) };
            is_kept
        });
    }
}
