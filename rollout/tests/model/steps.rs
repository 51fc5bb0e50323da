//! The steps of the model, and which of them are possible in a world.

use headwater_rollout::command::Command;

use super::world::{BRANCH, Flaw, Follow, Model, Outcome, Push, World, Written};

/// Later looks of a keeper have the same effect.
const CLOCK_MAX: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A push is checked at the replica with its number.
    Check(usize),
    /// Its state is swapped in etcd, or written to the disk of the only server.
    Commit(usize),
    /// The next of: read etcd and write the file, move git, publish.
    Follow(usize),
    /// An instance is notified, or asks.
    Notify(usize),
    Acknowledge(usize, Outcome),
    Connect(usize, usize),
    Report(usize),
    Tick(usize),
    Order(usize, Command),
    Crash(usize),
    Restart(usize),
    Partition(usize),
    Fence(usize),
    EndLease(usize),
    Heal(usize),
}

impl Model {
    /// All steps that are possible and may change something.
    pub(crate) fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        let replicas = if self.scenario.is_shared { 2 } else { 1 };
        for push in 0..2 {
            let at = if self.scenario.is_shared { push } else { 0 };
            let own = &world.replicas[at];
            let is_reachable = own.is_up && !own.is_partitioned && own.follow == Follow::Idle;
            if !is_reachable {
                continue;
            }
            match world.pushes[push] {
                Push::NotBegun if own.memory == world.truth && own.checked.is_none() => {
                    steps.push(Step::Check(push));
                }
                Push::Checked => steps.push(Step::Commit(push)),
                _ => {}
            }
        }
        for index in 0..replicas {
            self.replica_steps(world, index, &mut steps);
        }
        for (index, instance) in world.instances.iter().enumerate() {
            if self.has_news(world, index) {
                steps.push(Step::Notify(index));
            }
            if instance.outcome == Outcome::None {
                steps.push(Step::Acknowledge(index, Outcome::Accepted));
                if world.budget.rejections > 0 {
                    steps.push(Step::Acknowledge(index, Outcome::Rejected));
                }
            }
            for at in 0..replicas {
                let is_elsewhere = instance.at != Some(at as u8) && world.replicas[at].is_up;
                let is_lost = instance.at.is_none_or(|at| !world.replicas[at as usize].is_up);
                if is_elsewhere && (is_lost || world.budget.moves > 0) {
                    steps.push(Step::Connect(index, at));
                }
            }
        }
        steps
    }

    /// Returns true if the replica of an instance would send it an event, or learns something about it.
    fn has_news(&self, world: &World, index: usize) -> bool {
        let instance = &world.instances[index];
        let Some(at) = instance.at.map(usize::from).filter(|at| world.replicas[*at].is_up) else {
            return false;
        };
        let Some(served) = self.serve(world, at, index) else {
            return false;
        };
        let seen = &world.replicas[at].seen[index];
        let is_known =
            seen.given == served.given && (served.given == 0 || seen.outcome == instance.outcome);
        served.content != instance.content || !is_known
    }

    fn replica_steps(&self, world: &World, index: usize, steps: &mut Vec<Step>) {
        let own = &world.replicas[index];
        if !own.is_up {
            steps.push(Step::Restart(index));
            if own.has_lease && self.scenario.is_shared {
                steps.push(Step::EndLease(index));
            }
            return;
        }
        let is_behind = own.memory != world.truth;
        if own.follow != Follow::Idle || is_behind && !own.is_partitioned && own.checked.is_none() {
            steps.push(Step::Follow(index));
        }
        if world.budget.crashes > 0 {
            steps.push(Step::Crash(index));
        }
        if own.is_partitioned {
            steps.push(Step::Heal(index));
            if own.has_lease {
                steps.push(Step::EndLease(index));
            }
            if !own.is_fenced {
                steps.push(Step::Fence(index));
            }
            return;
        }
        if self.scenario.is_shared && world.budget.partitions > 0 {
            steps.push(Step::Partition(index));
        }
        let written = Written { state: own.memory.state, seen: own.seen };
        let has_running = self.states[own.memory.state as usize]
            .branch(BRANCH)
            .is_some_and(|own| !own.running.is_empty());
        if has_running && world.written[index] != Some(written) {
            steps.push(Step::Report(index));
        }
        let is_current = !is_behind || self.flaw == Flaw::SwapBlindly;
        let is_idle = own.follow == Follow::Idle && own.checked.is_none();
        if has_running && is_current && is_idle && own.clock < CLOCK_MAX {
            steps.push(Step::Tick(index));
        }
        let branch = self.states[world.truth.state as usize].branch(BRANCH);
        if world.budget.commands > 0
            && !is_behind
            && is_idle
            && branch.is_some_and(|own| own.entries().next().is_some())
        {
            for kind in [Command::Promote, Command::Abort, Command::Retry] {
                steps.push(Step::Order(index, kind));
            }
        }
    }
}
