//! Walks through the model: every order up to a depth, random runs, and runs without further faults.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use headwater_rollout::Name;
use headwater_rollout::state::Rollout;

use super::steps::Step;
use super::world::{BRANCH, Budget, Model, Outcome, World};

/// A hash that is its own hash.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn hash(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Walks every order of steps up to a depth, from one world. Returns the number of worlds.
pub(crate) fn exhaustive(model: &mut Model, start: World, depth: usize) -> Result<usize, String> {
    let mut seen: HashSet<u64, BuildHasherDefault<Identity>> = HashSet::default();
    seen.insert(hash(&start));
    let mut frontier = vec![start];
    for _ in 0..depth {
        let mut next = Vec::new();
        for world in &frontier {
            for step in model.steps(world) {
                let mut after = *world;
                let result = model.apply(&mut after, step);
                result.map_err(|error| format!("{error}\n{step:?}\n{world:#?}"))?;
                if seen.insert(hash(&after)) {
                    next.push(after);
                }
            }
        }
        frontier = next;
    }
    // R9 costs more than a step, so that one of many worlds at the end is continued.
    for world in frontier.iter().filter(|world| hash(world).is_multiple_of(512)) {
        settle(model, *world)?;
    }
    Ok(seen.len())
}

/// The worlds from which orders are walked: the first one, and those in which the first push has come to a stage, to the
/// last one, to its end or to a rollback.
pub(crate) fn starts(model: &mut Model, budget: Budget) -> Result<Vec<World>, String> {
    let mut starts = vec![model.world(budget)];
    let mut world = starts[0];
    for step in [Step::Check(0), Step::Commit(0)] {
        model.apply(&mut world, step)?;
    }
    let pushed = world;
    let phase = |model: &Model, world: &World| {
        let branch = model.states[world.truth.state as usize].branch(BRANCH).cloned();
        let branch = branch.unwrap_or_default();
        (branch.running.first().map(|own| own.phase), branch.withheld.len())
    };
    for outcome in [Outcome::Accepted, Outcome::Rejected] {
        let mut world = pushed;
        let mut before = phase(model, &world);
        for number in 0..10 {
            round(model, &mut world, number, outcome)?;
            let now = phase(model, &world);
            if now != before {
                world.budget = budget;
                world.replicas.iter_mut().for_each(|own| own.clock = 0);
                starts.push(world);
            }
            before = now;
        }
    }
    Ok(starts)
}

/// Numbers without any dependency between runs and machines.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// Makes random runs. The error has the steps of the run.
pub(crate) fn random(
    model: &mut Model,
    budget: Budget,
    runs: u64,
    length: usize,
) -> Result<(), String> {
    for run in 1..=runs {
        let mut random = Random(run.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = model.world(budget);
        let mut trace = Vec::new();
        for _ in 0..length {
            let steps = model.steps(&world);
            if steps.is_empty() {
                break;
            }
            let step = steps[random.below(steps.len())];
            trace.push(step);
            model.apply(&mut world, step).map_err(|error| format!("{error}\n{trace:?}"))?;
        }
        if run % 8 == 0 {
            settle(model, world).map_err(|error| format!("{error}\n{trace:?}"))?;
        }
    }
    Ok(())
}

/// R9: with no more faults, every rollout ends in done, withheld or paused, or waits for one that is paused.
fn settle(model: &mut Model, mut world: World) -> Result<(), String> {
    let replicas = if model.scenario.is_shared { 2 } else { 1 };
    world.budget = Budget { crashes: 0, partitions: 0, moves: 0, commands: 0, rejections: 0 };
    for index in 0..replicas {
        if world.replicas[index].is_partitioned {
            model.apply(&mut world, Step::Heal(index))?;
        }
        if !world.replicas[index].is_up {
            model.apply(&mut world, Step::Restart(index))?;
        }
    }
    for number in 0..150 {
        round(model, &mut world, number, Outcome::Accepted)?;
    }
    let branch = model.states[world.truth.state as usize].branch(BRANCH);
    let running = branch.map_or(&[][..], |own| &own.running);
    let is_paused = |id: &Name| running.iter().any(|own| own.id == *id && own.paused.is_some());
    let waits = |own: &Rollout| own.paused.is_some() || own.depends_on.iter().any(is_paused);
    match running.iter().find(|own| !waits(own)) {
        Some(rollout) => Err(format!("R9: {} does not end: {rollout:?}\n{world:#?}", rollout.id)),
        None => Ok(()),
    }
}

/// Lets every instance and every replica do everything once.
fn round(model: &mut Model, world: &mut World, number: u8, outcome: Outcome) -> Result<(), String> {
    let replicas = if model.scenario.is_shared { 2 } else { 1 };
    world.replicas.iter_mut().for_each(|own| own.clock = 8 + number);
    world.budget.rejections = 3;
    for index in 0..3 {
        if world.instances[index].at.is_none() {
            model.apply(world, Step::Connect(index, index % replicas))?;
        }
        model.apply(world, Step::Notify(index))?;
        if world.instances[index].outcome == Outcome::None {
            model.apply(world, Step::Acknowledge(index, outcome))?;
        }
    }
    for index in 0..replicas {
        for push in 0..2 {
            let at = if model.scenario.is_shared { push } else { 0 };
            if at == index && world.replicas[index].checked.is_some() {
                model.apply(world, Step::Commit(push))?;
            }
        }
        while model.steps(world).contains(&Step::Follow(index)) {
            model.apply(world, Step::Follow(index))?;
        }
        model.apply(world, Step::Report(index))?;
        if world.replicas[index].memory == world.truth {
            model.apply(world, Step::Tick(index))?;
        }
    }
    Ok(())
}
