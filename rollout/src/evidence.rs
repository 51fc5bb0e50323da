//! Evidence: what replicas report about the instances of a rollout, and the sum of their reports.
//!
//! Invariant: a bad report of any replica counts, also if the replica is gone or behind. Evidence for a promotion needs a
//! current report of every live replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::deal::Instance;
use crate::state::{Phase, Rollout};

/// The largest report as text.
pub const REPORT_BYTES_MAX: usize = 64 * 1024;

/// How an instance stood to the stable content before the rollout began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It has not acknowledged it, or it was not there.
    Unknown,
    /// It has rejected it, or it was down.
    Broken,
    /// It has accepted it. Its report about the candidate counts.
    Accepted,
}

/// What an instance reports about the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Accepted,
    Rejected,
    /// It was up, and two reports in sequence were `down`.
    Down,
}

/// What happened to an instance since it was given the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The number of times that the instance came with another incarnation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Disconnected for 60 s.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_gone: bool,
    /// Disconnected now, by a client that keeps a connection. A canary that is away is not watched.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_away: bool,
    /// No report within [`Plan::ack_within`](crate::plan::Plan::ack_within), although the instance acknowledges.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_silent: bool,
    /// A word and a key, never a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Name>,
}

/// One instance as a replica sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    pub key: u64,
    pub name: Name,
    /// Milliseconds since 1970, when the replica last heard from the instance. The newer of two sightings counts.
    pub seen: u64,
    /// Distinguishes one run of the instance from another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub incarnation: u32,
    pub standing: Standing,
    /// The version, and the attributes that the plan names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<Name, Name>,
    /// `None` if the instance has not been given the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
}

impl Sighting {
    /// Returns true if the instance rejected the candidate or went down with it.
    pub fn is_bad(&self) -> bool {
        let outcome = self.given.as_ref().and_then(|given| given.outcome);
        matches!(outcome, Some(Outcome::Rejected | Outcome::Down))
    }

    fn is_gone(&self) -> bool {
        self.given.as_ref().is_some_and(|given| given.is_gone)
    }

    /// Combines the sightings of two replicas. The newer one counts, and a bad report remains.
    fn merged(self, other: Self) -> Self {
        let is_newer = (self.seen, self.incarnation) >= (other.seen, other.incarnation);
        let (mut newer, older) = if is_newer { (self, other) } else { (other, self) };
        newer.standing = newer.standing.max(older.standing);
        let is_other_run = newer.incarnation != older.incarnation;
        let is_bad = older.is_bad() && !newer.is_bad();
        newer.given = match (newer.given, older.given) {
            (Some(mut given), Some(before)) => {
                given.restarts = given.restarts.max(before.restarts) + u32::from(is_other_run);
                if is_bad {
                    (given.outcome, given.reason) = (before.outcome, before.reason);
                }
                Some(given)
            }
            // The instance came to a replica that has not given it anything yet. It is not gone.
            (None, Some(before)) => {
                let restarts = before.restarts + u32::from(is_other_run);
                Some(Given { is_gone: false, is_away: false, restarts, ..before })
            }
            (given, None) => given,
        };
        newer
    }
}

/// Instances that a replica counts and does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    pub instances: u64,
    /// Those that have accepted stable.
    pub accepted: u64,
    /// Those that were bad on stable.
    pub broken: u64,
    /// Those that were given the candidate, and had accepted stable or accept the candidate.
    pub given: u64,
    /// Those of them that have accepted it.
    pub ok: u64,
    /// Those that have accepted it and were not there before the rollout.
    pub fresh: u64,
}

/// The instances of one application at one replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The instances with the lowest buckets, in that order, then up to as many that are bad or suspect.
    pub listed: Vec<Sighting>,
    #[serde(default)]
    pub unlisted: Counts,
    /// Restarts, disconnections and silences of instances that do not have the candidate, in this stage.
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub other_incidents: u64,
}

/// The answer of an instance that was asked whether it would accept the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    pub application: Name,
    pub instance: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Name>,
    pub standing: Standing,
    pub is_accepted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Name>,
}

/// What one replica reports about one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub replica: Name,
    pub rollout: Name,
    /// The number and the phase of the rollout at which the replica counted.
    pub number: u64,
    pub phase: Phase,
    pub applications: BTreeMap<Name, Group>,
    /// Set while instances of this replica may still answer a try.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_trying: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Try>,
}

impl Report {
    /// Writes the report. Instances that are neither bad nor suspect are counted instead of listed, those with the highest
    /// buckets first, until the text has at most [`REPORT_BYTES_MAX`] bytes.
    pub fn to_text(&self) -> String {
        let mut report = self.clone();
        loop {
            let text = serde_json::to_string(&report).expect("a report is JSON");
            if text.len() <= REPORT_BYTES_MAX || !report.shorten() {
                return text;
            }
        }
    }

    /// Reads a report. The error is a text for the log.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > REPORT_BYTES_MAX {
            let len = text.len();
            return Err(format!("the report has {len} bytes, at most {REPORT_BYTES_MAX} are read"));
        }
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// Counts an eighth of the listed instances of the longest list. Returns false if nothing is left to count.
    fn shorten(&mut self) -> bool {
        let longest = self.applications.values_mut().max_by_key(|group| group.listed.len());
        let Some(group) = longest.filter(|group| !group.listed.is_empty()) else {
            return false;
        };
        let mut surplus = group.listed.len().div_ceil(8);
        let is_plain = |own: &Sighting| {
            let given = own.given.as_ref();
            let is_suspect =
                given.is_some_and(|own| own.restarts > 0 || own.is_gone || own.is_silent);
            !own.is_bad() && !is_suspect
        };
        let before = group.listed.len();
        let mut kept = Vec::new();
        while let Some(own) = group.listed.pop() {
            if surplus > 0 && is_plain(&own) {
                group.unlisted.add(&own);
                surplus -= 1;
            } else {
                kept.push(own);
            }
        }
        kept.reverse();
        group.listed = kept;
        // A list of bad and suspect instances alone loses the last of them. Those that remain are reason enough.
        if group.listed.len() == before {
            group.listed.truncate(before - surplus);
        }
        true
    }
}

impl Counts {
    /// Counts an instance that is connected and not listed.
    pub fn add(&mut self, own: &Sighting) {
        let is_ok =
            own.given.as_ref().is_some_and(|given| given.outcome == Some(Outcome::Accepted));
        self.instances += 1;
        self.accepted += u64::from(own.standing == Standing::Accepted);
        self.broken += u64::from(own.standing == Standing::Broken);
        self.given +=
            u64::from(own.given.is_some() && (is_ok || own.standing == Standing::Accepted));
        self.ok += u64::from(is_ok);
        self.fresh += u64::from(is_ok && own.standing == Standing::Unknown);
    }

    fn sum(self, other: Self) -> Self {
        Self {
            instances: self.instances + other.instances,
            accepted: self.accepted + other.accepted,
            broken: self.broken + other.broken,
            given: self.given + other.given,
            ok: self.ok + other.ok,
            fresh: self.fresh + other.fresh,
        }
    }
}

/// The instances of one application at all replicas.
#[derive(Debug, Clone, Default)]
pub struct Population {
    /// Instances that are connected or were given the candidate, each once.
    pub listed: BTreeMap<u64, Sighting>,
    pub unlisted: Counts,
    /// All connected instances, listed or not.
    pub counts: Counts,
    pub other_incidents: u64,
}

impl Population {
    /// The listed instances that are connected.
    pub fn connected(&self) -> impl Iterator<Item = &Sighting> {
        self.listed.values().filter(|own| !own.is_gone())
    }

    /// The listed instances that were given the candidate, also those that are gone.
    pub fn canaries(&self) -> impl Iterator<Item = (&Sighting, &Given)> {
        self.listed.values().filter_map(|own| Some((own, own.given.as_ref()?)))
    }

    /// The connected instances as a deal needs them. `has_checks` makes a witness of any instance.
    pub fn instances(&self, has_checks: bool) -> Vec<Instance> {
        // If stable is broken everywhere, the candidate may be the fix, and its canaries are all that there is.
        let least = if self.counts.accepted > 0 { Standing::Accepted } else { Standing::Broken };
        let instance = |own: &Sighting| Instance {
            key: own.key,
            name: own.name.clone(),
            is_witness: has_checks || own.standing >= least,
            attributes: own.attributes.clone(),
        };
        self.connected().map(instance).collect()
    }

    /// The number of instances that acknowledge.
    pub fn acknowledging(&self) -> u64 {
        self.counts.accepted + self.counts.broken
    }
}

/// The sum of the reports about a rollout.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// By application, for each that a replica reports.
    pub populations: BTreeMap<Name, Population>,
    /// Live replicas without a current report.
    pub missing: Vec<Name>,
    pub is_trying: bool,
    pub tries: Vec<Try>,
}

impl Evidence {
    /// Sums up the reports about a rollout. `live` are the replicas that serve clients now.
    pub fn collect(rollout: &Rollout, live: &[Name], reports: &[Report]) -> Self {
        let is_about = |own: &&Report| own.rollout == rollout.id && own.number == rollout.number;
        let mut evidence = Self::default();
        for report in reports.iter().filter(is_about) {
            for (name, group) in &report.applications {
                evidence.populations.entry(name.clone()).or_default().add(group);
            }
            evidence.is_trying |= report.is_trying;
            evidence.tries.extend(report.tries.iter().cloned());
        }
        let is_current = |name: &Name| {
            let own = |report: &Report| report.replica == *name && report.phase == rollout.phase;
            reports.iter().filter(is_about).any(own)
        };
        evidence.missing = live.iter().filter(|name| !is_current(name)).cloned().collect();
        for population in evidence.populations.values_mut() {
            let mut counts = population.unlisted;
            population.connected().for_each(|own| counts.add(own));
            population.counts = counts;
        }
        evidence
    }

    /// The counts of all applications together.
    pub fn counts(&self) -> Counts {
        self.populations.values().fold(Counts::default(), |sum, own| sum.sum(own.counts))
    }
}

impl Population {
    /// Adds the instances of a replica, without the sum.
    fn add(&mut self, group: &Group) {
        for own in &group.listed {
            let merged = match self.listed.remove(&own.key) {
                Some(other) => other.merged(own.clone()),
                None => own.clone(),
            };
            self.listed.insert(own.key, merged);
        }
        self.unlisted = self.unlisted.sum(group.unlisted);
        self.other_incidents += group.other_incidents;
    }

    /// Returns true if every connected instance is listed.
    pub fn is_complete(&self) -> bool {
        self.connected().count() as u64 == self.counts.instances
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_zero_64(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests;
