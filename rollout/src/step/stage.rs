//! The stages of a rollout: trying, canaries, and all.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{RETURN_WITHIN, TRY_WITHIN, Turn, Watch};
use crate::Name;
use crate::deal::{self, Application, Dealt};
use crate::event::{Canaries, EventKind};
use crate::evidence::Evidence;
use crate::plan::{Plan, Reach};
use crate::state::{Branch, ENTRY_COUNT_MAX, Pause, Phase, Rollout};
use crate::verdict::{Assessment, Lack, Verdict, present};

impl Turn<'_> {
    /// Waits for a report of every live replica and for the answers of tries, and begins the first stage.
    pub(super) fn try_or_begin(&mut self, branch: &Branch, watch: &mut Watch) -> Option<Branch> {
        if !self.evidence.missing.is_empty() {
            watch.interrupt();
            return self.pause_after(
                branch,
                watch,
                Duration::ZERO,
                &Lack::Replicas(self.evidence.missing.clone()),
            );
        }
        let since = *watch.complete_since.get_or_insert(self.situation.now);
        let wait = if self.evidence.is_trying { TRY_WITHIN } else { Duration::ZERO };
        if !self.has_passed(since, wait) {
            return None;
        }
        let counts = self.evidence.counts();
        if counts.instances < self.rollout.expected && !self.has_passed(since, RETURN_WITHIN) {
            return None;
        }
        let has_witness =
            counts.accepted + counts.broken > 0 || !self.rollout.plan.checks.is_empty();
        if counts.instances < 2 || !has_witness {
            return self.pause_after(branch, watch, Duration::ZERO, &Lack::Instances);
        }
        self.begin_stage(branch, 0)
    }

    /// Advances, rolls on, or pauses.
    pub(super) fn watch_stage(
        &mut self,
        branch: &Branch,
        watch: &mut Watch,
        index: usize,
    ) -> Option<Branch> {
        let bake = self.rollout.plan.stages[index].bake;
        let lack = match self.verdict(watch, bake) {
            Verdict::Suspect => {
                let assessment = Assessment::of(self.rollout, self.evidence);
                self.event(EventKind::Suspect { incidents: assessment.incidents });
                return None;
            }
            Verdict::Good { since } => {
                if !self.has_passed(since, bake) && !self.is_fix() {
                    return None;
                }
                return self.advance(branch, index);
            }
            Verdict::Inconclusive(lack) => lack,
        };
        if let Lack::Canaries { application, .. } = &lack
            && let Some(next) = self.replace(branch, application)
        {
            return Some(next);
        }
        self.pause_after(branch, watch, bake, &lack)
    }

    fn is_fix(&self) -> bool {
        Assessment::of(self.rollout, self.evidence).is_fix
    }

    /// Leaves a stage whose verdict is good. A rollout is not ahead of those it depends on.
    fn advance(&mut self, branch: &Branch, index: usize) -> Option<Branch> {
        let stages = &self.rollout.plan.stages;
        let is_last = index + 1 == stages.len();
        let is_next_last = index + 2 == stages.len();
        if (is_last || is_next_last) && !self.rollout.depends_on.is_empty() {
            return None;
        }
        if is_last {
            let mut next = branch.clone();
            self.events.extend(next.finish(&self.rollout.id, self.situation.wall));
            return Some(next);
        }
        self.begin_stage(branch, index + 1)
    }

    /// Begins a stage, or the first one after it that has a canary.
    fn begin_stage(&mut self, branch: &Branch, index: usize) -> Option<Branch> {
        let mut next = branch.clone();
        let number = self.state.number + 1;
        let evidence = self.evidence;
        let rollout = next.running_mut(&self.rollout.id)?;
        if index == 0 && self.rollout.plan.by.is_some() {
            rollout.plan = expand(&rollout.plan, evidence).into();
        }
        for index in index..rollout.plan.stages.len() - 1 {
            rollout.phase = Phase::Stage(index);
            let room = ENTRY_COUNT_MAX.saturating_sub(self.state.entry_count());
            let dealt = deal_stage(rollout, self.evidence, room);
            let wanted: u64 = dealt.values().map(|own| u64::from(own.wanted)).sum();
            if wanted > 0 {
                let canaries = canaries(&dealt, evidence);
                let count = rollout.plan.stages.len();
                rollout.enter_stage(index, dealt);
                self.event(EventKind::Stage { index, count, canaries });
                return Some(next);
            }
            if index == 0 && !rollout.plan.canaries.is_empty() {
                let why = "no instance matches canaries of the plan".into();
                rollout.phase = self.rollout.phase;
                self.events.push(rollout.pause(Pause::Deadline { why }));
                return Some(next);
            }
        }
        if !self.rollout.depends_on.is_empty() {
            return None;
        }
        rollout.enter_last_stage(number);
        self.event(EventKind::All);
        Some(next)
    }

    /// Raises the bound of an application whose canaries have vanished. `None` if no further canary is possible.
    fn replace(&mut self, branch: &Branch, application: &Name) -> Option<Branch> {
        let rollout = self.rollout;
        let member = rollout.members.get(application)?;
        let population = self.evidence.populations.get(application)?;
        let gone = population.canaries().filter(|(_, given)| given.is_gone).count() as u64;
        // A canary that has not been given the candidate yet is on its way. Only vanished ones are replaced.
        let has_checks = !rollout.plan.checks.is_empty();
        if gone == 0 || present(population, has_checks) >= u64::from(member.wanted) {
            return None;
        }
        let admitted = rollout.admitted();
        let room = ENTRY_COUNT_MAX.saturating_sub(self.state.entry_count());
        let instances = self.evidence.counts().instances;
        let stage = stage_of(rollout, &admitted, instances, room);
        let own = application_of(rollout, application, self.evidence)?;
        let dealt = deal::replace(&own, member.wanted, gone, &stage)?;
        let wanted = member.wanted;
        let mut next = branch.clone();
        next.running_mut(&rollout.id)?.deal(application, Dealt { wanted, ..dealt });
        self.event(EventKind::Replaced { application: application.clone() });
        Some(next)
    }

    /// Pauses a phase that takes longer than its deadline.
    fn pause_after(
        &mut self,
        branch: &Branch,
        watch: &Watch,
        bake: Duration,
        lack: &Lack,
    ) -> Option<Branch> {
        let deadline = self.rollout.plan.deadline(bake);
        if !self.has_passed(watch.began, deadline) {
            return None;
        }
        Some(self.paused(branch, Pause::Deadline { why: lack.to_string().into() }))
    }
}

/// The plan with the values of its attribute as stages.
fn expand(plan: &Plan, evidence: &Evidence) -> Plan {
    let Some(name) = &plan.by else {
        return plan.clone();
    };
    let connected = evidence.populations.values().flat_map(|own| own.connected());
    let values = connected.filter_map(|own| own.attributes.get(name));
    plan.expanded(values.map(|value| &**value))
}

fn deal_stage(rollout: &Rollout, evidence: &Evidence, room: usize) -> BTreeMap<Name, Dealt> {
    let applications = rollout.members.keys();
    let applications: Vec<Application> =
        applications.filter_map(|name| application_of(rollout, name, evidence)).collect();
    let admitted = rollout.admitted();
    deal::deal(&stage_of(rollout, &admitted, evidence.counts().instances, room), &applications)
}

/// The stage that the rollout is in, for a deal.
fn stage_of<'s>(
    rollout: &'s Rollout,
    admitted: &'s [(Name, Name)],
    instances: u64,
    room: usize,
) -> deal::Stage<'s> {
    let index = rollout.stage().unwrap_or(0);
    deal::Stage {
        reach: rollout.plan.stages.get(index).map_or(&Reach::All, |stage| &stage.reach),
        admitted,
        filter: (index == 0).then_some(&rollout.plan.canaries),
        salt: rollout.salt,
        is_partial: instances * 2 < rollout.expected,
        room,
    }
}

/// An application with its instances and its canaries so far. `None` if no replica reports it.
fn application_of(rollout: &Rollout, name: &Name, evidence: &Evidence) -> Option<Application> {
    let (member, population) = (rollout.members.get(name)?, evidence.populations.get(name)?);
    let has_checks = !rollout.plan.checks.is_empty();
    let counts = population.counts;
    Some(Application {
        name: name.clone(),
        salt: member.salt,
        instance_count: counts.instances,
        witness_count: if has_checks { counts.instances } else { counts.accepted },
        known: population.instances(has_checks),
        bound: member.bound,
        named: member.named.clone(),
    })
}

fn canaries(dealt: &BTreeMap<Name, Dealt>, evidence: &Evidence) -> Vec<Canaries> {
    let chosen = dealt.iter().filter(|(_, own)| own.wanted > 0);
    let canaries = chosen.map(|(name, own)| Canaries {
        application: name.clone(),
        count: own.wanted.into(),
        instances: evidence.populations.get(name).map_or(0, |own| own.counts.instances),
    });
    canaries.collect()
}
