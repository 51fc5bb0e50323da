//! The changes of a branch from which pushes, commands and steps are made.
//!
//! Invariant: every change that gives a side another meaning also gives the entry a higher number, so that an instance
//! receives it as a newer publication.

use std::collections::{BTreeMap, BTreeSet};

use crate::Name;
use crate::bucket::Bound;
use crate::deal::Dealt;
use crate::event::{Event, EventKind};
use crate::plan::WallTime;
use crate::state::{Branch, Member, Pause, Phase, Rollout, Withheld};
use crate::verdict::Fault;

impl Branch {
    pub(crate) fn running_mut(&mut self, id: &str) -> Option<&mut Rollout> {
        self.running.iter_mut().find(|rollout| &*rollout.id == id)
    }

    /// Rolls a rollout back, and every rollout that depends on it.
    pub(crate) fn withhold(
        &mut self,
        id: &str,
        fault: Fault,
        number: u64,
        now: WallTime,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let mut falling = vec![(Name::from(id), fault)];
        while let Some((id, fault)) = falling.pop() {
            let Some(mut rollout) = self.remove_running(&id) else {
                continue;
            };
            let dependents = self.running.iter().filter(|own| own.depends_on.contains(&id));
            falling.extend(
                dependents.map(|own| (own.id.clone(), Fault::Dependency { rollout: id.clone() })),
            );
            rollout.number = number;
            rollout.paused = None;
            rollout.depends_on.clear();
            for member in rollout.members.values_mut() {
                (member.bound, member.wanted) = (Bound::NONE, 0);
                member.named.clear();
            }
            events.push(Event {
                rollout: id,
                kind: EventKind::Withheld {
                    fault: fault.clone(),
                    applications: rollout.applications().cloned().collect(),
                    stable: rollout.stable().clone(),
                    tip: rollout.to.clone(),
                },
            });
            self.withheld.push(Withheld { rollout, because: fault.to_string().into(), since: now });
        }
        self.forget_dependencies();
        events
    }

    /// Ends a rollout whose candidate every client has.
    pub(crate) fn finish(&mut self, id: &str, now: WallTime) -> Option<Event> {
        let rollout = self.remove_running(id)?;
        for (name, member) in &rollout.members {
            self.record_past(name, Some(rollout.number), member.content, now);
        }
        self.forget_dependencies();
        Some(Event { rollout: rollout.id, kind: EventKind::Done })
    }

    /// Removes an application from its entry. Returns its part and the id of the entry.
    pub(crate) fn take(&mut self, application: &str) -> Option<(Name, Member)> {
        let running = self.running.iter_mut();
        let withheld = self.withheld.iter_mut().map(|own| &mut own.rollout);
        let mut all = running.chain(withheld);
        let taken = all.find_map(|own| {
            let member = own.members.remove(application)?;
            Some((own.id.clone(), member))
        });
        self.running.retain(|own| !own.members.is_empty());
        self.withheld.retain(|own| !own.rollout.members.is_empty());
        self.forget_dependencies();
        taken
    }

    fn remove_running(&mut self, id: &str) -> Option<Rollout> {
        let index = self.running.iter().position(|own| &*own.id == id)?;
        Some(self.running.remove(index))
    }

    /// Drops dependencies on rollouts that have ended.
    fn forget_dependencies(&mut self) {
        let ids: BTreeSet<Name> = self.running.iter().map(|own| own.id.clone()).collect();
        for rollout in &mut self.running {
            rollout.depends_on.retain(|id| ids.contains(id));
        }
    }
}

impl Rollout {
    /// Gives every client the candidate.
    pub(crate) fn enter_last_stage(&mut self, number: u64) {
        self.phase = Phase::Stage(self.plan.stages.len() - 1);
        self.paused = None;
        self.number = number;
        for member in self.members.values_mut() {
            (member.bound, member.wanted) = (Bound::EVERYONE, 0);
            member.named.clear();
        }
    }

    /// Begins a stage with the canaries that were dealt.
    pub(crate) fn enter_stage(&mut self, index: usize, dealt: BTreeMap<Name, Dealt>) {
        self.phase = Phase::Stage(index);
        for (name, dealt) in dealt {
            self.deal(&name, dealt);
        }
    }

    /// Widens the canaries of one application. Invariant: none of them leaves.
    pub(crate) fn deal(&mut self, application: &str, dealt: Dealt) {
        if let Some(member) = self.members.get_mut(application) {
            member.bound = member.bound.max(dealt.bound);
            member.named.extend(dealt.named);
            member.wanted = dealt.wanted;
        }
    }

    /// Begins again, as a new rollout with the same salt. A freeze that is in force comes first.
    pub(crate) fn reopen(&mut self, to: Name, number: u64, now: WallTime) {
        self.id = Self::id(&self.from, &to, number);
        (self.to, self.number, self.opened) = (to, number, now);
        (self.phase, self.paused) = (Phase::Waiting, None);
    }

    pub(crate) fn pause(&mut self, pause: Pause) -> Event {
        self.paused = Some(pause.clone());
        Event { rollout: self.id.clone(), kind: EventKind::Paused { pause } }
    }
}
