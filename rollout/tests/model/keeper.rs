//! The keepers of the replicas: what they report, and what the crate proposes to them.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::evidence::{self, Given, Group, Report, Sighting, Standing};
use headwater_rollout::plan::WallTime;
use headwater_rollout::state::Rollout;
use headwater_rollout::step::{Situation, step};

use super::world::{
    APPLICATIONS, BRANCH, Flaw, Model, OWNERS, Outcome, Seen, World, Written, name_of,
};

/// The time between two looks of a keeper: one bake of the plan.
const TICK: Duration = Duration::from_secs(10);
pub(crate) const WALL: WallTime = WallTime(1_000_000);

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
