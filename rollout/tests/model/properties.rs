//! The properties, checked whenever something becomes durable and whenever an instance receives something.

use headwater_rollout::bucket::{Bound, bucket};
use headwater_rollout::state::{Branch, Entry, State};

use super::world::{
    APPLICATIONS, BRANCH, Model, OWNERS, Outcome, Served, View, World, commit, index_of,
};

fn bit(content: u8) -> u8 {
    1 << content
}

impl Model {
    fn branch(&self, state: u32) -> Branch {
        self.states[state as usize].branch(BRANCH).cloned().unwrap_or_default()
    }

    /// The contents of both sides of an application.
    fn sides(&self, branch: &Branch, application: usize, tip: u8) -> (u8, u8) {
        let contents = self.scenario.contents[application];
        let candidate = contents[tip as usize];
        let Some((hold, member)) = branch.hold(APPLICATIONS[application]) else {
            return (candidate, candidate);
        };
        let stable = contents[index_of(&member.stable) as usize];
        match hold {
            _ if hold.is_withheld => (stable, stable),
            _ if hold.bound == Bound::EVERYONE => (candidate, candidate),
            _ => (stable, candidate),
        }
    }

    /// The order of the publications of each application after a change.
    pub(crate) fn order_after(&self, before: View, next: u32, tip: u8) -> [u8; 2] {
        let (old, new) = (self.branch(before.state), self.branch(next));
        let mut order = before.order;
        for (index, order) in order.iter_mut().enumerate() {
            let is_same = self.sides(&old, index, before.tip) == self.sides(&new, index, tip);
            *order += u8::from(!is_same);
        }
        order
    }

    /// Makes a state and a tip durable, by a push or by a step.
    pub(crate) fn swapped(
        &mut self,
        world: &mut World,
        before: View,
        next: u32,
        tip: u8,
        push: Option<usize>,
    ) -> Result<(), String> {
        let (old, new) = (self.branch(before.state), self.branch(next));
        self.check_withheld(&old, &new, before.tip, tip, push)?;
        self.check_scope(&old, &new, before.tip, tip, push)?;
        check_bounds(&old, &new)?;
        check_dependents(&old, &new)?;
        for (index, name) in APPLICATIONS.iter().enumerate() {
            let stable = new.hold(name).map(|(_, member)| index_of(&member.stable));
            let content = stable.map(|commit| self.scenario.contents[index][commit as usize]);
            if content.is_some_and(|content| world.released[index] & bit(content) == 0) {
                return Err(format!(
                    "R1: the stable content {content:?} of {name} was a candidate"
                ));
            }
        }
        if push.is_some() {
            for (index, name) in APPLICATIONS.iter().enumerate() {
                let content = self.scenario.contents[index][tip as usize];
                let is_released = world.released[index] & bit(content) != 0;
                // An application with one instance is served at once, unless it changes with another one.
                let others = self.scenario.contents[0];
                let is_alone = index == 1 && others[before.tip as usize] == others[tip as usize];
                if new.hold(name).is_none() && !is_released && !is_alone {
                    return Err(format!("R3: {name} has content {content} and no hold"));
                }
            }
        }
        self.made_durable(world, before, next, tip);
        Ok(())
    }

    /// Makes the state after a command durable.
    pub(crate) fn ordered(
        &mut self,
        world: &mut World,
        before: View,
        next: u32,
    ) -> Result<(), String> {
        check_bounds(&self.branch(before.state), &self.branch(next))?;
        self.made_durable(world, before, next, before.tip);
        Ok(())
    }

    fn made_durable(&self, world: &mut World, before: View, next: u32, tip: u8) {
        let order = self.order_after(before, next, tip);
        world.truth = View { state: next, tip, order };
        if tip != before.tip {
            world.tip_order[tip as usize] =
                world.tip_order.iter().fold(0, |most, own| most.max(*own)) + 1;
        }
        let branch = self.branch(next);
        for (index, name) in APPLICATIONS.iter().enumerate() {
            let (stable, candidate) = self.sides(&branch, index, tip);
            world.released[index] |= bit(stable);
            let Some((hold, member)) = branch.hold(name) else { continue };
            for (instance, client) in world.instances.iter_mut().enumerate() {
                let key = self.keys[instance];
                let is_below = hold.bound.includes(bucket(key, hold.salt));
                if OWNERS[instance] == index && (is_below || member.named.contains(&key)) {
                    client.canary_of |= bit(candidate);
                }
            }
        }
    }

    /// R4: withheld content stays withheld until a push of another content.
    fn check_withheld(
        &self,
        old: &Branch,
        new: &Branch,
        before: u8,
        tip: u8,
        push: Option<usize>,
    ) -> Result<(), String> {
        for (index, name) in APPLICATIONS.iter().enumerate() {
            let is_withheld =
                |branch: &Branch| matches!(branch.entry(name), Some((Entry::Withheld(_), _)));
            let contents = self.scenario.contents[index];
            let has_changed = push.is_some() && contents[before as usize] != contents[tip as usize];
            if is_withheld(old) && !is_withheld(new) && !has_changed {
                return Err(format!("R4: {name} is not withheld any more"));
            }
        }
        Ok(())
    }

    /// R8: a push leaves applications alone whose content it does not change, and a step those without a rollout.
    fn check_scope(
        &self,
        old: &Branch,
        new: &Branch,
        before: u8,
        tip: u8,
        push: Option<usize>,
    ) -> Result<(), String> {
        for (index, name) in APPLICATIONS.iter().enumerate() {
            let contents = self.scenario.contents[index];
            let is_outside = match push {
                Some(_) => contents[before as usize] == contents[tip as usize],
                None => !matches!(old.entry(name), Some((Entry::Running(_), _))),
            };
            let part = |branch: &Branch| {
                branch.hold(name).map(|(hold, member)| {
                    (hold.bound, hold.salt, hold.is_withheld, member.stable.clone())
                })
            };
            if is_outside && part(old) != part(new) {
                return Err(format!("R8: {name} is outside the scope and has changed"));
            }
        }
        Ok(())
    }

    /// R1 and R2, when an instance receives an event.
    pub(crate) fn check_served(
        &self,
        world: &World,
        instance: usize,
        served: &Served,
    ) -> Result<(), String> {
        let client = &world.instances[instance];
        let allowed = world.released[OWNERS[instance]] | client.canary_of;
        if allowed & bit(served.content) == 0 {
            return Err(format!("R1: instance {instance} is given {served:?}"));
        }
        if served.rank < client.rank {
            return Err(format!(
                "R2: instance {instance} is given {served:?} after {:?}",
                client.rank
            ));
        }
        Ok(())
    }

    /// R3: what is durable at the replica that acknowledges has the hold.
    pub(crate) fn check_acknowledged(&self, world: &World, push: usize) -> Result<(), String> {
        let at = if self.scenario.is_shared { push } else { 0 };
        let own = &world.replicas[at];
        let mut durable = self.states[own.file as usize].clone();
        durable
            .settle(BRANCH, &commit(own.git), |to| self.scenario.contains(own.git, index_of(to)));
        let served: &State = &self.states[own.memory.state as usize];
        if durable.branch(BRANCH) != served.branch(BRANCH) {
            return Err(format!("R3: push {push} is acknowledged, and its hold is not durable"));
        }
        Ok(())
    }

    /// Counts what the steps of keepers have done, so that a walk which does nothing is noticed.
    pub(crate) fn count(&mut self, before: u32, next: u32) {
        let (old, new) = (self.branch(before), self.branch(next));
        for rollout in &old.running {
            let what = match new.running(&rollout.id) {
                Some(after) if after.is_in_last_stage() => "promoted",
                Some(after) if after.paused.is_some() => "paused",
                Some(after) if after.phase > rollout.phase => "begun",
                Some(_) => continue,
                None if new.withheld.len() > old.withheld.len() => "withheld",
                None => "done",
            };
            *self.counts.entry(what).or_default() += 1;
        }
    }

    /// R6 and R7, when a step is swapped in.
    pub(crate) fn check_evidence(&self, world: &World, next: u32) -> Result<(), String> {
        let (old, new) = (self.branch(world.truth.state), self.branch(next));
        for rollout in &old.running {
            let id = &rollout.id;
            let is_withheld = new.withheld.iter().any(|own| own.rollout.id == *id);
            let is_advanced = match new.running(id) {
                Some(after) => after.stage().is_some() && after.phase > rollout.phase,
                None => !is_withheld,
            };
            let reported = |written: &super::world::Written| {
                let branch = self.branch(written.state);
                branch
                    .running(id)
                    .is_some_and(|own| (own.number, own.phase) == (rollout.number, rollout.phase))
            };
            let is_bad = world.written.iter().flatten().any(|written| {
                written.seen.iter().enumerate().any(|(index, seen)| {
                    let is_member = rollout.members.contains_key(APPLICATIONS[OWNERS[index]]);
                    let is_given = u64::from(seen.given) == rollout.number;
                    is_member && seen.is_present && is_given && seen.outcome == Outcome::Rejected
                })
            });
            if is_bad && !is_withheld && !rollout.is_in_last_stage() {
                return Err(format!("R6: {id} is not withheld, although etcd has a bad report"));
            }
            let has_accepted = world.written.iter().flatten().any(|written| {
                let mut seen = written.seen.iter();
                seen.any(|own| {
                    u64::from(own.given) == rollout.number && own.outcome == Outcome::Accepted
                })
            });
            if is_advanced && rollout.stage().is_some() && !has_accepted {
                return Err(format!("R7: {id} advances, and no canary has accepted it"));
            }
            let live = (0..2).filter(|index| world.replicas[*index].has_lease);
            for replica in live {
                if is_advanced && !world.written[replica].as_ref().is_some_and(reported) {
                    return Err(format!("R7: {id} advances without the evidence of r{replica}"));
                }
            }
        }
        Ok(())
    }
}

/// R10: within a rollout a bound never shrinks.
fn check_bounds(old: &Branch, new: &Branch) -> Result<(), String> {
    for after in &new.running {
        let Some(before) = old.running(&after.id) else { continue };
        for (name, member) in &after.members {
            let Some(earlier) = before.members.get(name) else { continue };
            let is_wider = member.bound >= earlier.bound
                && (member.bound == Bound::EVERYONE || member.named.is_superset(&earlier.named));
            if !is_wider {
                return Err(format!("R10: the bound of {name} shrinks in {}", after.id));
            }
        }
    }
    Ok(())
}

/// R4: a rollout does not outlive the rollback of one that it depends on, because its tip has that content too.
fn check_dependents(old: &Branch, new: &Branch) -> Result<(), String> {
    let withheld = new.withheld.iter().map(|own| &own.rollout.id);
    let fallen: Vec<_> = withheld.filter(|id| old.running(id).is_some()).collect();
    for before in &old.running {
        let is_dependent = fallen.iter().any(|id| before.depends_on.contains(*id));
        if is_dependent && new.running(&before.id).is_some() {
            return Err(format!("R4: {} runs, and what it depends on is withheld", before.id));
        }
    }
    Ok(())
}
