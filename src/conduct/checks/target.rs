//! What is measured for a rollout.

use std::collections::BTreeMap;

use headwater_rollout::Name;
use headwater_rollout::evidence::Report;
use headwater_rollout::state::Rollout;

/// The most instances in a query.
const INSTANCE_COUNT_MAX: usize = 50;

/// One stage of a running rollout, as far as checks need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckTarget {
    pub rollout: Name,
    /// The number of the rollout, which grows when it is promoted.
    pub number: u64,
    pub stage: usize,
    /// Set in the last stage, in which nothing is left to compare with.
    pub is_last: bool,
    /// The checks that the plan names.
    pub checks: Vec<Name>,
    /// By application.
    pub groups: BTreeMap<Name, TargetGroup>,
}

/// The instances of one application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetGroup {
    pub canaries: Vec<Canary>,
    pub others: Vec<Name>,
}

/// An instance with the candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    pub name: Name,
    /// The number of its restarts since it was given the candidate.
    pub restarts: u32,
}

/// One of the two groups of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Canaries,
    Others,
}

impl CheckTarget {
    /// What has to be measured for a rollout, with its instances from the reports about it. `None` if it is in no stage, or
    /// if its plan names no check.
    pub fn of(rollout: &Rollout, reports: &[Report]) -> Option<Self> {
        let stage = rollout.stage().filter(|_| !rollout.plan.checks.is_empty())?;
        let mut groups: BTreeMap<Name, TargetGroup> = BTreeMap::new();
        for report in reports.iter().filter(|own| own.rollout == rollout.id) {
            for (application, group) in &report.applications {
                let own = groups.entry(application.clone()).or_default();
                for sighting in &group.listed {
                    let name = sighting.name.clone();
                    match &sighting.given {
                        Some(given) if given.is_gone => {}
                        Some(given) => own.canaries.push(Canary { name, restarts: given.restarts }),
                        None => own.others.push(name),
                    }
                }
            }
        }
        groups.values_mut().for_each(TargetGroup::limit);
        Some(Self {
            rollout: rollout.id.clone(),
            number: rollout.number,
            stage,
            is_last: rollout.is_in_last_stage(),
            checks: rollout.plan.checks.clone(),
            groups,
        })
    }

    /// The instances of all applications.
    pub(super) fn all(&self) -> TargetGroup {
        let mut all = TargetGroup::default();
        for group in self.groups.values() {
            all.canaries.extend(group.canaries.iter().cloned());
            all.others.extend(group.others.iter().cloned());
        }
        all.limit();
        all
    }
}

impl TargetGroup {
    fn limit(&mut self) {
        self.canaries.truncate(INSTANCE_COUNT_MAX);
        self.others.truncate(INSTANCE_COUNT_MAX);
    }

    /// The names of one side.
    pub(super) fn names(&self, side: Side) -> Vec<&str> {
        match side {
            Side::Canaries => self.canaries.iter().map(|own| &*own.name).collect(),
            Side::Others => self.others.iter().map(|name| &**name).collect(),
        }
    }
}
