//! The verdict about a stage, as far as the evidence of one moment decides it. [`step`](crate::step) adds time and checks.
//!
//! Invariant: a fault is final. No later evidence takes it back, because the rollout is withheld at once.

use std::time::Duration;

use crate::Name;
use crate::evidence::{Evidence, Population, Sighting, Standing};
use crate::state::Rollout;

/// The share of the canaries that have to accept the candidate, in percent.
const OK_PERCENT: u64 = 95;
/// How much more frequent incidents of canaries have to be than those of other instances.
const INCIDENT_RATIO: u64 = 2;
/// The incidents that a message names.
const SHOWN_COUNT_MAX: usize = 3;

/// What happened to an instance after it was given the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncidentKind {
    Restarted(u32),
    Gone,
    Silent,
    /// Rejected or down, by an instance that has not accepted stable.
    Bad,
}

/// One suspect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Incident {
    pub instance: Name,
    pub kind: IncidentKind,
}

/// Why a rollout is rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fault {
    Rejected {
        instance: Name,
        reason: Option<Name>,
    },
    Down {
        instance: Name,
        reason: Option<Name>,
    },
    /// An instance rejected the candidate before any was given it.
    Tried {
        instance: Name,
        version: Option<Name>,
        reason: Option<Name>,
    },
    /// Incidents of canaries, beside those of other instances. `shown` has the first of them.
    Suspects {
        shown: Vec<Incident>,
        count: u64,
        canaries: u64,
        other_count: u64,
        others: u64,
    },
    /// In the last stage. `shown` has the first of them.
    Widespread {
        shown: Vec<Incident>,
        rejected: u64,
        count: u64,
        instances: u64,
    },
    Check {
        check: Name,
    },
    Dependency {
        rollout: Name,
    },
    Person {
        by: Name,
        because: Name,
    },
    /// Another replica has rolled it back. The state has its sentence and not its evidence.
    Elsewhere {
        because: Name,
    },
}

/// What is missing for a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lack {
    Replicas(Vec<Name>),
    /// Fewer than two instances are connected, or none of them provides evidence.
    Instances,
    /// Fewer canaries than the stage needs are connected and have the candidate.
    Canaries {
        application: Name,
        present: u64,
        wanted: u64,
    },
    Acknowledgements {
        ok: u64,
        given: u64,
    },
    Check {
        check: Name,
        good: u32,
        samples: u32,
        errors: u32,
    },
    /// A rollout from which this one has taken applications over still runs.
    Dependency {
        rollout: Name,
    },
    /// Only the rest of the bake.
    Time {
        seconds: u64,
    },
}

/// What a step makes of an assessment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The first incident. The bake begins again.
    Suspect,
    /// Sufficient for the whole bake, which began at the given time of the replica's clock.
    Good { since: Duration },
    /// Not sufficient yet.
    Inconclusive(Lack),
}

/// What the evidence of one moment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    pub fault: Option<Fault>,
    /// The number of incidents of canaries.
    pub incident_count: u64,
    /// The first of them.
    pub incidents: Vec<Incident>,
    /// `None` if the canaries are sufficient.
    pub lack: Option<Lack>,
    /// Set if every instance was bad on stable and one accepts the candidate. The bake is not needed.
    pub is_fix: bool,
}

impl Assessment {
    /// Assesses a rollout that is in a stage.
    pub fn of(rollout: &Rollout, evidence: &Evidence) -> Self {
        let counts = evidence.counts();
        let is_last = rollout.is_in_last_stage();
        let incidents = incidents(evidence, is_last);
        let incident_count = incidents.iter().map(|own| u64::from(own.count())).sum();
        let fault = if is_last {
            widespread(evidence, &incidents, incident_count)
        } else {
            rejection(evidence).or_else(|| suspects(evidence, &incidents, incident_count))
        };
        let acknowledging = counts.accepted + counts.broken;
        let is_broken = acknowledging > 0 && counts.accepted == 0;
        Self {
            fault,
            incident_count,
            lack: lack(rollout, evidence),
            is_fix: is_broken && counts.ok > counts.fresh,
            incidents: incidents.into_iter().take(SHOWN_COUNT_MAX).collect(),
        }
    }
}

impl Incident {
    fn count(&self) -> u32 {
        match self.kind {
            IncidentKind::Restarted(count) => count,
            IncidentKind::Gone | IncidentKind::Silent | IncidentKind::Bad => 1,
        }
    }
}

/// The rejection by any canary that has accepted stable.
fn rejection(evidence: &Evidence) -> Option<Fault> {
    let own = evidence.populations.values().flat_map(bad_witnesses).next()?;
    let given = own.given.as_ref()?;
    let (instance, reason) = (own.name.clone(), given.reason.clone());
    Some(match given.outcome {
        Some(crate::evidence::Outcome::Down) => Fault::Down { instance, reason },
        _ => Fault::Rejected { instance, reason },
    })
}

fn bad_witnesses(population: &Population) -> impl Iterator<Item = &Sighting> {
    let is_bad = |own: &&Sighting| own.is_bad() && own.standing == Standing::Accepted;
    population.listed.values().filter(is_bad)
}

/// The incidents of canaries. In the last stage no other instances are left to compare with, so that one restart of an
/// instance is no incident, and neither are instances that others have replaced: both happen when a service is deployed.
fn incidents(evidence: &Evidence, is_last: bool) -> Vec<Incident> {
    let mut found = Vec::new();
    for population in evidence.populations.values() {
        let mut replaced = if is_last { population.counts.fresh } else { 0 };
        for (own, given) in population.canaries() {
            let mut add = |kind| found.push(Incident { instance: own.name.clone(), kind });
            let restarts = given.restarts.saturating_sub(u32::from(is_last));
            if restarts > 0 {
                add(IncidentKind::Restarted(restarts));
            }
            if given.is_gone && replaced > 0 {
                replaced -= 1;
            } else if given.is_gone {
                add(IncidentKind::Gone);
            }
            if given.is_silent && !given.is_gone {
                add(IncidentKind::Silent);
            }
            // An instance that was bad on stable as well says nothing about the candidate.
            if own.is_bad() && own.standing == Standing::Unknown {
                add(IncidentKind::Bad);
            }
        }
    }
    found
}

/// Rule 1 for suspects: at least two incidents, of more than 1 % of the canaries, and more than twice as frequent as
/// among the other instances.
fn suspects(evidence: &Evidence, incidents: &[Incident], count: u64) -> Option<Fault> {
    let listed: usize = evidence.populations.values().map(|own| own.canaries().count()).sum();
    let unlisted: u64 = evidence.populations.values().map(|own| own.unlisted.given).sum();
    let canaries = listed as u64 + unlisted;
    let is_connected = |own: &Population| own.connected().filter(|one| one.given.is_some()).count();
    let connected: usize = evidence.populations.values().map(is_connected).sum();
    let others = evidence.counts().instances.saturating_sub(connected as u64 + unlisted);
    let other_count = evidence.populations.values().map(|own| own.other_incidents).sum();
    let is_frequent = u128::from(count) * u128::from(others.max(1))
        > u128::from(INCIDENT_RATIO * other_count) * u128::from(canaries);
    let is_fault = count >= 2 && count * 100 > canaries && is_frequent;
    is_fault.then(|| Fault::Suspects {
        shown: incidents.iter().take(SHOWN_COUNT_MAX).cloned().collect(),
        count,
        canaries,
        other_count,
        others,
    })
}

/// Rule 1 in the last stage: bad reports and incidents of at least 1 % of the instances, and at least two. An application
/// of which every instance is bad needs no second one.
fn widespread(evidence: &Evidence, incidents: &[Incident], count: u64) -> Option<Fault> {
    let instances = evidence.counts().instances;
    let bad: Vec<&Sighting> = evidence.populations.values().flat_map(bad_witnesses).collect();
    let rejected = bad.len() as u64;
    let threshold = instances.div_ceil(100).max(2);
    let shown = bad
        .into_iter()
        .map(|own| Incident { instance: own.name.clone(), kind: IncidentKind::Bad })
        .chain(incidents.iter().cloned());
    let is_whole = |own: &Population| {
        let bad = bad_witnesses(own).count() as u64;
        bad > 0 && bad == own.counts.instances
    };
    let is_fault = rejected + count >= threshold || evidence.populations.values().any(is_whole);
    is_fault.then(|| Fault::Widespread {
        shown: shown.take(SHOWN_COUNT_MAX).collect(),
        rejected,
        count,
        instances,
    })
}

/// What the canaries lack for a promotion.
fn lack(rollout: &Rollout, evidence: &Evidence) -> Option<Lack> {
    if !evidence.missing.is_empty() {
        return Some(Lack::Replicas(evidence.missing.clone()));
    }
    let counts = evidence.counts();
    let has_checks = !rollout.plan.checks.is_empty();
    let is_last = rollout.is_in_last_stage();
    for (application, member) in rollout.members.iter().filter(|_| !is_last) {
        let population = evidence.populations.get(application);
        let present = population.map_or(0, |own| present(own, has_checks));
        let wanted = u64::from(member.wanted);
        if present < wanted {
            let application = application.clone();
            return Some(Lack::Canaries { application, present, wanted });
        }
    }
    // An instance that is broken on stable as well says nothing about the candidate, unless all of them are.
    let acknowledging = if counts.accepted > 0 { counts.accepted } else { counts.broken };
    let given = if is_last { acknowledging } else { counts.given };
    let is_acknowledged = counts.ok > 0 && counts.ok * 100 >= given * OK_PERCENT;
    // Checks are the only evidence of canaries that never acknowledge.
    let is_watched_by_checks = has_checks && given == 0 && counts.instances > 0;
    let is_sufficient = is_acknowledged || is_watched_by_checks;
    (!is_sufficient).then_some(Lack::Acknowledgements { ok: counts.ok, given })
}

/// The connected canaries that provide evidence.
pub(crate) fn present(population: &Population, has_checks: bool) -> u64 {
    let least = if population.counts.accepted > 0 { Standing::Accepted } else { Standing::Broken };
    let is_watched = |own: &&Sighting| own.given.as_ref().is_some_and(|given| !given.is_away);
    let is_witness = |own: &&Sighting| is_watched(own) && (has_checks || own.standing >= least);
    population.connected().filter(is_witness).count() as u64 + population.unlisted.given
}

#[cfg(test)]
mod tests;
