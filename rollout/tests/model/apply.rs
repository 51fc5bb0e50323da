//! What each step does. A step calls the functions of the crate where a server would.

use headwater_rollout::command::{Command, Order, command};
use headwater_rollout::open::{Change, Headcount, NowPolicy, Options, Push as Opening, open};

use super::keeper::WALL;
use super::steps::Step;
use super::world::{
    APPLICATIONS, BRANCH, Flaw, Follow, Model, OWNERS, Outcome, Push, Replica, Seen, View, World,
    Written, commit, content, index_of,
};

impl Model {
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
        let contains = |commit: &str| self.scenario.contains(to, index_of(commit));
        let is_forced = push == 1 && self.scenario.is_forced;
        if !is_forced && !self.scenario.contains(to, from) {
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
        current
            .settle(BRANCH, &commit(own.git), |to| self.scenario.contains(own.git, index_of(to)));
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
            self.scenario.contains(git, index_of(to)) || self.flaw == Flaw::AssumeMoved
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
