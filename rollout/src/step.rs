//! The state machine: evidence and time in, the next state out.
//!
//! Any replica may write the next state, if it replaces exactly the state that the step has seen. The replica that loses
//! reads again.

mod stage;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Name;
use crate::check::{CheckRule, Measured};
use crate::event::{Event, EventKind, Progress};
use crate::evidence::{Evidence, Report, Standing};
use crate::plan::{Freeze, WallTime};
use crate::state::{Branch, Pause, Phase, Rollout, STATE_BYTES_MAX, State};
use crate::verdict::{Assessment, Fault, Lack, Verdict};

pub use watch::{Watch, Watches};

/// The delay of each replica after the one before it, in the order of their ids. It saves work and is not needed for
/// safety.
const RANK_DELAY: Duration = Duration::from_secs(2);
/// How long an instance has to answer a try.
pub const TRY_WITHIN: Duration = Duration::from_secs(5);

/// Everything that a step depends on, beside the state and the watches.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'s> {
    /// The replicas that serve clients now, with this one.
    pub live: &'s [Name],
    /// The place of this replica among them, from 0.
    pub rank: u32,
    pub reports: &'s [Report],
    /// The results of checks since the last step.
    pub measured: &'s [Measured],
    /// The rules of checks by their names. Others have the default.
    pub rules: &'s BTreeMap<Name, CheckRule>,
    /// The clock of this replica, which never goes back.
    pub now: Duration,
    /// The time of day, for the records and for freezes only.
    pub wall: WallTime,
    /// The freeze of the plan of the stable revision that is in force.
    pub freeze: Option<&'s Freeze>,
    /// A live replica whose version does not know rollouts.
    pub unsupported: Option<&'s Name>,
    /// Returns false while etcd is unreachable. Nothing advances then, and no bake counts.
    pub is_connected: bool,
}

/// How long a rollout waits for the instances that were connected when it was opened.
pub const RETURN_WITHIN: Duration = Duration::from_secs(60);

/// The result of a step.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The state to write. `None` if nothing changes. The caller steps again after it was written.
    pub next: Option<State>,
    /// What to report if the state was written, or at once if there is none.
    pub events: Vec<Event>,
}

/// Makes one step of one branch. The same arguments always have the same result.
///
/// The watches are the memory of this replica about the rollouts. A replica that starts has none, so that bakes begin
/// again.
pub fn step(
    state: &State,
    branch_name: &str,
    watches: &mut Watches,
    situation: &Situation<'_>,
) -> Step {
    let mut step = Step::default();
    let Some(branch) = state.branch(branch_name) else {
        return step;
    };
    watches.retain(branch);
    for rollout in &branch.running {
        let evidence = Evidence::collect(rollout, situation.live, situation.reports);
        let watch = watches.of(rollout, situation.now);
        step.events.extend(watch.record(rollout, situation));
        if !situation.is_connected {
            watch.interrupt();
            continue;
        }
        let mut turn = Turn { state, rollout, evidence: &evidence, situation, events: Vec::new() };
        if let Some(next) = turn.take(branch, watch) {
            let events = turn.events;
            step.next = Some(turn.state.replaced(branch_name, next, situation.wall));
            step.events.extend(events);
            return step;
        }
        step.events.extend(turn.events);
    }
    step
}

/// How a rollout stands by its evidence, for people who wait for it.
pub fn progress(rollout: &Rollout, evidence: &Evidence) -> Progress {
    let counts = evidence.counts();
    let lack = match rollout.stage() {
        Some(_) => Assessment::of(rollout, evidence).lack,
        None if evidence.missing.is_empty() => None,
        None => Some(Lack::Replicas(evidence.missing.clone())),
    };
    let dependency = rollout.depends_on.first();
    let waits = || dependency.map(|own| Lack::Dependency { rollout: own.clone() });
    Progress {
        rollout: rollout.id.clone(),
        stage: rollout.stage(),
        stages: rollout.plan.stages.len(),
        ok: counts.ok,
        instances: counts.instances,
        lack: lack.or_else(waits),
    }
}

impl State {
    /// The state after this one, with another value of a branch.
    pub(crate) fn replaced(&self, branch_name: &str, mut branch: Branch, now: WallTime) -> Self {
        branch.forget_past(now);
        let mut next = self.clone();
        next.number += 1;
        next.branches.insert(branch_name.into(), branch);
        next.fit(STATE_BYTES_MAX);
        next
    }
}

/// One rollout in one step.
struct Turn<'s> {
    state: &'s State,
    rollout: &'s Rollout,
    evidence: &'s Evidence,
    situation: &'s Situation<'s>,
    events: Vec<Event>,
}

impl Turn<'_> {
    /// The next value of the branch. `None` if the rollout stays where it is.
    fn take(&mut self, branch: &Branch, watch: &mut Watch) -> Option<Branch> {
        if let Some(fault) = self.fault(watch) {
            let mut next = branch.clone();
            let number = self.state.number + 1;
            let wall = self.situation.wall;
            self.events.extend(next.withhold(&self.rollout.id, fault, number, wall));
            return Some(next);
        }
        if self.rollout.paused.is_some() {
            watch.interrupt();
            return None;
        }
        if let Some(replica) = self.situation.unsupported {
            return Some(self.paused(branch, Pause::Unsupported { replica: replica.clone() }));
        }
        match self.rollout.phase {
            Phase::Waiting => self.leave_freeze(branch),
            Phase::Trying => self.try_or_begin(branch, watch),
            Phase::Stage(index) => self.watch_stage(branch, watch, index),
        }
    }

    /// A fault rolls back in every phase, also while the rollout is paused.
    fn fault(&self, watch: &Watch) -> Option<Fault> {
        let is_witness = |standing| standing == Standing::Accepted;
        match self.rollout.phase {
            Phase::Waiting => None,
            Phase::Trying => {
                let mut tries = self.evidence.tries.iter();
                let rejected = tries.find(|own| !own.is_accepted && is_witness(own.standing))?;
                Some(Fault::Tried {
                    instance: rejected.instance.clone(),
                    version: rejected.version.clone(),
                    reason: rejected.reason.clone(),
                })
            }
            Phase::Stage(_) => {
                let fault = Assessment::of(self.rollout, self.evidence).fault;
                fault.or_else(|| watch.bad_check(self.rollout, self.situation.rules))
            }
        }
    }

    fn leave_freeze(&mut self, branch: &Branch) -> Option<Branch> {
        if self.situation.freeze.is_some() {
            return None;
        }
        let mut next = branch.clone();
        next.running_mut(&self.rollout.id)?.phase = Phase::Trying;
        Some(next)
    }

    /// Returns true if a time has passed, and the delay of this replica.
    fn has_passed(&self, since: Duration, time: Duration) -> bool {
        let delay = RANK_DELAY.saturating_mul(self.situation.rank);
        self.situation.now.saturating_sub(since) >= time.saturating_add(delay)
    }

    fn paused(&mut self, branch: &Branch, pause: Pause) -> Branch {
        let mut next = branch.clone();
        if let Some(rollout) = next.running_mut(&self.rollout.id) {
            self.events.push(rollout.pause(pause));
        }
        next
    }

    fn event(&mut self, kind: EventKind) {
        self.events.push(Event { rollout: self.rollout.id.clone(), kind });
    }

    /// The assessment with what time and checks add to it.
    fn verdict(&self, watch: &mut Watch, bake: Duration) -> Verdict {
        let assessment = Assessment::of(self.rollout, self.evidence);
        let rules = self.situation.rules;
        watch.judge(self.rollout, &assessment, bake, self.situation.now, rules)
    }
}

#[cfg(test)]
mod tests;
