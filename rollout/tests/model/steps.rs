//! The steps of the model. Each calls the functions of the crate where a server would.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::command::{Command, Order, command};
use headwater_rollout::evidence::{self, Given, Group, Report, Sighting, Standing};
use headwater_rollout::open::{Change, Headcount, NowPolicy, Options, Push as Opening, open};
use headwater_rollout::plan::WallTime;
use headwater_rollout::state::Rollout;
use headwater_rollout::step::{Situation, step};

use super::world::{
    APPLICATIONS, BRANCH, Flaw, Follow, Model, OWNERS, Outcome, Push, Replica, Seen, View, World,
    Written, commit, content, name_of,
};

/// The time between two looks of a keeper: one bake of the plan `auto`.
const TICK: Duration = Duration::from_secs(10);
const WALL: WallTime = WallTime(1_000_000);
/// Later looks have the same effect.
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

/// Everything that a step of the crate depends on in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StepKey {
    state: u32,
    watches: u32,
    written: [Option<Written>; 2],
    live: [bool; 2],
    rank: u32,
    clock: u8,
    is_connected: bool,
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

    /// Makes one step. The error names the property that it violates.
    pub(crate) fn apply(&mut self, world: &mut World, step: Step) -> Result<(), String> {
        match step {
            Step::Check(push) => self.check(world, push),
            Step::Commit(push) => return self.commit(world, push),
            Step::Follow(index) => return self.follow(world, index),
            Step::Notify(index) => return self.notify(world, index),
            Step::Acknowledge(index, outcome) => acknowledge(world, index, outcome),
            Step::Connect(index, at) => connect(world, index, at),
            Step::Report(index) => {
                let own = &world.replicas[index];
                world.written[index] = Some(Written { state: own.memory.state, seen: own.seen });
            }
            Step::Tick(index) => return self.tick(world, index),
            Step::Order(index, kind) => return self.order(world, index, kind),
            Step::Crash(index) => self.crash(world, index),
            Step::Restart(index) => return self.restart(world, index),
            Step::Partition(index) => {
                world.budget.partitions -= 1;
                world.replicas[index].is_partitioned = true;
                let (_, watches) = self.step_of(world, index);
                world.replicas[index].watches = watches;
            }
            Step::Fence(index) => world.replicas[index].is_fenced = true,
            Step::EndLease(index) => {
                (world.replicas[index].has_lease, world.written[index]) = (false, None);
            }
            Step::Heal(index) => {
                let own = &mut world.replicas[index];
                (own.is_partitioned, own.is_fenced, own.has_lease) = (false, false, true);
            }
        }
        Ok(())
    }

    fn check(&mut self, world: &mut World, push: usize) {
        let at = if self.scenario.is_shared { push } else { 0 };
        let (from, to) = (world.truth.tip, push as u8 + 1);
        let contains = |commit: &str| self.scenario.contains(to, super::world::index_of(commit));
        if !self.scenario.contains(to, from) && !(push == 1 && self.scenario.is_forced) {
            world.pushes[push] = Push::Rejected;
            return;
        }
        let changes: Vec<Change> = (0..2)
            .map(|index| Change {
                application: APPLICATIONS[index].into(),
                profiles: vec!["prod".into()],
                before: Some(content(self.scenario.contents[index][from as usize])),
                after: Some(content(self.scenario.contents[index][to as usize])),
            })
            .collect();
        let headcount = |name: &str| {
            let instances = OWNERS.iter().filter(|own| APPLICATIONS[**own] == name).count() as u64;
            Headcount { instances, acknowledging: instances }
        };
        let opened = open(
            &self.states[world.truth.state as usize],
            &Opening {
                branch: BRANCH,
                from: &commit(from),
                to: &commit(to),
                changes: &changes,
                is_shared: false,
                contains: &contains,
                headcount: &headcount,
                fleet: 3,
                plans: &self.plans,
                options: &Options::default(),
                now_policy: NowPolicy::Allowed,
                by: "jo",
                now: WALL,
                unsupported: None,
            },
        );
        match opened {
            Ok(opened) => {
                let next = opened.next.map(|next| self.intern(next));
                world.replicas[at].checked = Some(next.unwrap_or(world.truth.state));
                world.pushes[push] = Push::Checked;
            }
            Err(_) => world.pushes[push] = Push::Rejected,
        }
    }

    fn commit(&mut self, world: &mut World, push: usize) -> Result<(), String> {
        let at = if self.scenario.is_shared { push } else { 0 };
        let Some(next) = world.replicas[at].checked.take() else {
            return Ok(());
        };
        if world.replicas[at].memory != world.truth && self.flaw != Flaw::SwapBlindly {
            world.pushes[push] = Push::NotBegun;
            return Ok(());
        }
        world.pushes[push] = Push::Committed;
        let before = world.truth;
        let tip = push as u8 + 1;
        if self.scenario.is_shared {
            return self.swapped(world, before, next, tip, Some(push));
        }
        let view = View { state: next, tip, order: self.order_after(before, next, tip) };
        if self.flaw == Flaw::GitBeforeFile {
            world.replicas[at].git = tip;
            world.replicas[at].follow = Follow::Filed(view);
            return self.swapped(world, before, next, tip, Some(push));
        }
        self.write_file(&mut world.replicas[at], view);
        world.replicas[at].follow = Follow::Filed(view);
        Ok(())
    }

    /// Writes the file: the view, as an intent if the reference has to move.
    fn write_file(&mut self, own: &mut Replica, view: View) {
        let next = self.states[view.state as usize].clone();
        if own.git == view.tip {
            (own.file, own.file_orders) = (view.state, [view.order; 2]);
            return;
        }
        let mut current = self.states[own.file as usize].clone();
        current.settle(BRANCH, &commit(own.git), |to| {
            self.scenario.contains(own.git, super::world::index_of(to))
        });
        let written = current.intending(BRANCH, &commit(own.git), &commit(view.tip), &next);
        own.file_orders = [own.memory.order, view.order];
        own.file = self.intern(written);
    }

    fn follow(&mut self, world: &mut World, index: usize) -> Result<(), String> {
        let truth = world.truth;
        match world.replicas[index].follow {
            Follow::Idle => {
                if self.flaw != Flaw::GitBeforeFile {
                    self.write_file(&mut world.replicas[index], truth);
                }
                world.replicas[index].follow = Follow::Filed(truth);
            }
            Follow::Filed(view) => {
                let has_moved = world.replicas[index].git != view.tip;
                world.replicas[index].git = view.tip;
                world.replicas[index].follow = Follow::Moved(view);
                if !self.scenario.is_shared && has_moved {
                    let before = world.truth;
                    let push = view.tip as usize - 1;
                    return self.swapped(world, before, view.state, view.tip, Some(push));
                }
                if self.flaw == Flaw::TipBeforeHold {
                    world.replicas[index].memory.tip = view.tip;
                }
            }
            Follow::Moved(view) => {
                if self.flaw == Flaw::GitBeforeFile {
                    self.write_file(&mut world.replicas[index], view);
                }
                let own = &mut world.replicas[index];
                (own.memory, own.follow) = (view, Follow::Idle);
                let push = usize::from(view.tip).checked_sub(1);
                let at = |push: usize| if self.scenario.is_shared { push } else { 0 };
                if let Some(push) = push.filter(|push| at(*push) == index)
                    && world.pushes[push] == Push::Committed
                {
                    world.pushes[push] = Push::Acknowledged;
                    return self.check_acknowledged(world, push);
                }
            }
        }
        Ok(())
    }

    fn notify(&mut self, world: &mut World, index: usize) -> Result<(), String> {
        let Some(at) = world.instances[index].at.map(usize::from) else {
            return Ok(());
        };
        let Some(served) = self.serve(world, at, index) else {
            return Ok(());
        };
        if served.content != world.instances[index].content {
            self.check_served(world, index, &served)?;
            let instance = &mut world.instances[index];
            instance.content = served.content;
            (instance.commit, instance.number) = (served.commit, served.number);
            (instance.rank, instance.outcome) = (served.rank, Outcome::None);
        }
        let instance = world.instances[index];
        let seen = &mut world.replicas[at].seen[index];
        let outcome = if served.given > 0 { instance.outcome } else { Outcome::None };
        *seen = Seen { is_present: true, given: served.given, outcome, epoch: instance.epoch };
        Ok(())
    }

    fn tick(&mut self, world: &mut World, index: usize) -> Result<(), String> {
        let (next, watches) = self.step_of(world, index);
        let own = &mut world.replicas[index];
        own.watches = watches;
        own.clock += 1;
        let Some(next) = next else {
            return Ok(());
        };
        if own.memory != world.truth && self.flaw != Flaw::SwapBlindly {
            return Ok(());
        }
        self.check_evidence(world, next)?;
        self.count(world.truth.state, next);
        let before = world.truth;
        self.swapped(world, before, next, before.tip, None)?;
        self.after_own_swap(world, index);
        Ok(())
    }

    /// The only server has its file as the truth.
    fn after_own_swap(&mut self, world: &mut World, index: usize) {
        if !self.scenario.is_shared {
            let truth = world.truth;
            self.write_file(&mut world.replicas[index], truth);
            world.replicas[index].follow = Follow::Moved(truth);
        }
    }

    fn order(&mut self, world: &mut World, index: usize, kind: Command) -> Result<(), String> {
        let state = &self.states[world.truth.state as usize];
        let entries = state.branch(BRANCH).into_iter().flat_map(|branch| branch.entries());
        let Some(rollout) = entries.map(|entry| entry.rollout().id.clone()).next() else {
            return Ok(());
        };
        let (tip, before) = (commit(world.truth.tip), world.truth);
        let order = Order {
            command: kind,
            branch: BRANCH,
            rollout: &rollout,
            by: "jo",
            because: "x",
            tip: &tip,
            now: WALL,
        };
        let Ok((next, _)) = command(state, &order) else {
            return Ok(());
        };
        world.budget.commands -= 1;
        let next = self.intern(next);
        self.ordered(world, before, next)?;
        self.after_own_swap(world, index);
        Ok(())
    }

    fn crash(&mut self, world: &mut World, index: usize) {
        world.budget.crashes -= 1;
        let own = &mut world.replicas[index];
        own.is_up = false;
        (own.checked, own.follow) = (None, Follow::Idle);
        (own.watches, own.clock) = (0, 0);
        own.seen.iter_mut().for_each(|seen| {
            *seen = Seen { is_present: false, given: 0, outcome: Outcome::None, epoch: 0 };
        });
        for (push, state) in world.pushes.iter_mut().enumerate() {
            let at = if self.scenario.is_shared { push } else { 0 };
            // The pusher has lost the connection. A push that was not committed can be made again.
            let is_committed = self.scenario.is_shared || world.truth.tip == push as u8 + 1;
            if at == index
                && (*state == Push::Checked || *state == Push::Committed && !is_committed)
            {
                *state = Push::NotBegun;
            }
        }
        for instance in &mut world.instances {
            if instance.at == Some(index as u8) {
                instance.at = None;
            }
        }
    }

    fn restart(&mut self, world: &mut World, index: usize) -> Result<(), String> {
        let own = world.replicas[index];
        let mut state = self.states[own.file as usize].clone();
        let before = state.clone();
        let git = if self.flaw == Flaw::AssumeMoved { 2 } else { own.git };
        state.settle(BRANCH, &commit(git), |to| {
            self.scenario.contains(git, super::world::index_of(to))
                || self.flaw == Flaw::AssumeMoved
        });
        let has_moved = state.branch(BRANCH) != before.branch(BRANCH);
        let order = own.file_orders[usize::from(has_moved)];
        let view = View { state: self.intern(state), tip: own.git, order };
        let own = &mut world.replicas[index];
        (own.is_up, own.memory, own.has_lease) = (true, view, true);
        if !own.is_partitioned {
            own.is_fenced = false;
            world.written[index] = None;
        }
        if !self.scenario.is_shared && view != world.truth {
            return Err(format!(
                "R3: after a restart the server has {view:?} of {:?}",
                world.truth
            ));
        }
        Ok(())
    }

    /// The next state that the crate proposes to a replica, and its memory after that.
    pub(crate) fn step_of(&mut self, world: &World, index: usize) -> (Option<u32>, u32) {
        let own = &world.replicas[index];
        let key = StepKey {
            state: own.memory.state,
            watches: own.watches,
            written: world.written,
            live: [0, 1].map(|index| self.is_live(world, index)),
            rank: u32::from(index == 1 && self.is_live(world, 0)),
            clock: own.clock,
            is_connected: !own.is_partitioned,
        };
        if let Some(known) = self.steps.get(&key) {
            return *known;
        }
        let state = self.states[key.state as usize].clone();
        let live: Vec<Name> = (0..2)
            .filter(|index| key.live[*index])
            .map(|index| self.replicas[index].clone())
            .collect();
        let reports =
            self.reports(&key.written, state.branch(BRANCH).map_or(&[], |own| &own.running));
        let mut watches = self.watches[key.watches as usize].clone();
        let situation = Situation {
            live: &live,
            rank: key.rank,
            reports: &reports,
            measured: &[],
            rules: &BTreeMap::new(),
            now: TICK * u32::from(key.clock),
            wall: WALL,
            freeze: None,
            unsupported: None,
            is_connected: key.is_connected,
        };
        let next = step(&state, BRANCH, &mut watches, &situation).next;
        let result = (next.map(|next| self.intern(next)), self.intern_watches(watches));
        self.steps.insert(key, result);
        result
    }

    fn is_live(&self, world: &World, index: usize) -> bool {
        let own = &world.replicas[index];
        own.has_lease && (self.flaw != Flaw::ExpectNoEvidence || world.written[index].is_some())
    }

    /// What replicas have written, as reports about the running rollouts.
    pub(crate) fn reports(
        &self,
        written: &[Option<Written>; 2],
        running: &[Rollout],
    ) -> Vec<Report> {
        let mut reports = Vec::new();
        for (index, written) in written.iter().enumerate() {
            let Some(written) = written else { continue };
            let branch = self.states[written.state as usize].branch(BRANCH);
            for rollout in running {
                let known = branch.and_then(|branch| branch.running(&rollout.id));
                reports.extend(known.map(|own| self.report(index, own, &written.seen)));
            }
        }
        reports
    }

    fn report(&self, replica: usize, rollout: &Rollout, seen: &[Seen; 3]) -> Report {
        let mut applications: BTreeMap<Name, Group> = BTreeMap::new();
        for name in rollout.applications() {
            let group = applications.entry(name.clone()).or_default();
            for (index, own) in seen.iter().enumerate().filter(|(_, own)| own.is_present) {
                if APPLICATIONS[OWNERS[index]] == &**name {
                    group.listed.push(self.sighting(rollout, index, own));
                }
            }
        }
        Report {
            replica: self.replicas[replica].clone(),
            rollout: rollout.id.clone(),
            number: rollout.number,
            phase: rollout.phase,
            applications,
            is_trying: false,
            tries: Vec::new(),
        }
    }

    fn sighting(&self, rollout: &Rollout, index: usize, own: &Seen) -> Sighting {
        let outcome = match own.outcome {
            Outcome::None => None,
            Outcome::Accepted => Some(evidence::Outcome::Accepted),
            Outcome::Rejected => Some(evidence::Outcome::Rejected),
        };
        let is_given = u64::from(own.given) == rollout.number;
        Sighting {
            key: self.keys[index],
            name: name_of(index).into(),
            seen: own.epoch.into(),
            incarnation: 1,
            standing: Standing::Accepted,
            attributes: BTreeMap::new(),
            given: is_given.then(|| Given { outcome, ..Given::default() }),
        }
    }
}

fn acknowledge(world: &mut World, index: usize, outcome: Outcome) {
    if outcome == Outcome::Rejected {
        world.budget.rejections -= 1;
    }
    world.instances[index].outcome = outcome;
    let Some(at) = world.instances[index].at.map(usize::from) else {
        return;
    };
    let seen = &mut world.replicas[at].seen[index];
    if world.replicas[at].is_up && seen.given > 0 {
        seen.outcome = outcome;
    }
}

fn connect(world: &mut World, index: usize, at: usize) {
    let instance = &mut world.instances[index];
    if let Some(before) = instance.at {
        if world.replicas[before as usize].is_up {
            world.budget.moves -= 1;
        }
        world.replicas[before as usize].seen[index].is_present = false;
    }
    instance.at = Some(at as u8);
    instance.epoch += 1;
    let seen = &mut world.replicas[at].seen[index];
    *seen = Seen { is_present: true, given: 0, outcome: Outcome::None, epoch: instance.epoch };
}
