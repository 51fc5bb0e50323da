//! The arrival of a push at the instances that it concerns: who is awaited, who has it, and the lines about it. Pure.
//!
//! A *witness* is an instance that has acknowledged a configuration before. The push waits for witnesses only: whether
//! any other instance applies the change cannot be known.

use std::collections::{BTreeMap, BTreeSet};

/// The most environments, and the most instances of an environment, that a line names.
const NAMED_COUNT_MAX: usize = 10;

/// One instance of an awaited environment, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    /// The position of the environment in the list.
    pub(super) environment: usize,
    /// The name of the instance.
    pub(super) name: Box<str>,
    pub(super) standing: Standing,
    /// True if the instance has acknowledged a configuration before.
    pub(super) is_witness: bool,
    /// True if a request of the instance is in progress, or was until a moment ago.
    pub(super) is_connected: bool,
}

/// The configuration that an instance acknowledged last, compared with the push.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It uses the pushed content or newer content.
    Current,
    /// It rejected the pushed content or newer content. The reason, if it gave one.
    Rejected(Option<String>),
    /// It has acknowledged older content only, or nothing.
    Behind,
}

/// A change on its way to the instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    environments: Vec<ChangedEnvironment>,
    /// The names of environments in lines on their instances: the application, or the full name where several
    /// environments of the application have instances.
    shown: Vec<String>,
    percent: usize,
    /// The awaited instances: those that were witnesses when the push was published.
    awaited: BTreeMap<InstanceId, AwaitedInstance>,
    /// The instances that are not awaited, with the reason.
    others: BTreeMap<InstanceId, Excuse>,
}

/// The names of a changed environment, in the form that messages use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangedEnvironment {
    pub(super) application: String,
    /// The application and the profiles, and the branch where the push moves several.
    pub(super) full: String,
}

/// An instance of an environment: the position of the environment, and the name.
type InstanceId = (usize, Box<str>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct AwaitedInstance {
    standing: Standing,
    is_connected: bool,
}

/// The reason why an instance is not awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    NoWitness,
    Disconnected,
}

/// Whether the share that the pusher asked for has the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Reached,
    Pending,
    /// So many instances have rejected the change that the share cannot be reached.
    Unreachable,
}

impl Arrival {
    /// Begins to wait for the witnesses among the instances.
    pub(super) fn begin(
        environments: Vec<ChangedEnvironment>,
        percent: usize,
        seen: &[Sighting],
    ) -> Self {
        let shown = shown_names(&environments, seen);
        let (awaited, others) = (BTreeMap::new(), BTreeMap::new());
        let mut arrival = Self { environments, shown, percent, awaited, others };
        for (id, sighting) in newest(seen) {
            let excuse = match (sighting.is_witness, sighting.is_connected) {
                (true, true) => {
                    let (standing, is_connected) = (sighting.standing.clone(), true);
                    arrival.awaited.insert(id, AwaitedInstance { standing, is_connected });
                    continue;
                }
                (false, _) => Excuse::NoWitness,
                (true, false) => Excuse::Disconnected,
            };
            arrival.others.insert(id, excuse);
        }
        arrival
    }

    /// Records the present state of the instances. An awaited instance that is no longer listed is disconnected.
    pub(super) fn record(&mut self, seen: &[Sighting]) {
        let mut seen = newest(seen);
        for (id, awaited) in &mut self.awaited {
            match seen.remove(id) {
                Some(sighting) => {
                    awaited.standing = sighting.standing.clone();
                    awaited.is_connected = sighting.is_connected;
                }
                None => awaited.is_connected = false,
            }
        }
    }

    /// The number of awaited instances.
    pub(super) fn count(&self) -> usize {
        self.awaited.len()
    }

    /// Returns whether the share has the change. Without an awaited instance there is nothing to wait for.
    pub(super) fn progress(&self) -> Progress {
        let needed = (self.count() * self.percent).div_ceil(100);
        if self.current_count() >= needed {
            Progress::Reached
        } else if self.count() - self.rejected_count() < needed {
            Progress::Unreachable
        } else {
            Progress::Pending
        }
    }

    fn current_count(&self) -> usize {
        self.awaited.values().filter(|it| it.standing == Standing::Current).count()
    }

    fn rejected_count(&self) -> usize {
        self.awaited.values().filter(|it| matches!(it.standing, Standing::Rejected(_))).count()
    }

    /// The first lines: the changed environments with the numbers of awaited instances, and the other instances.
    pub(super) fn opening(&self) -> Vec<String> {
        let mut counts: Vec<(usize, &str)> = (0..self.environments.len())
            .map(|at| (self.count_in(at).1, &*self.environments[at].full))
            .collect();
        counts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let named = counts.iter().take(NAMED_COUNT_MAX).enumerate();
        let mut named: Vec<String> = named
            .map(|(at, (count, name))| match at {
                0 => format!("{name} {}", plural(*count, "instance")),
                _ => format!("{name} {count}"),
            })
            .collect();
        if counts.len() > named.len() {
            let rest = &counts[named.len()..];
            let rest_count: usize = rest.iter().map(|(count, _)| count).sum();
            named.push(format!("{} more {rest_count}", rest.len()));
        }
        let environments = plural(self.environments.len(), "environment");
        let mut lines = vec![match named.is_empty() {
            true => format!("changes {environments}"),
            false => format!("changes {environments}: {}", named.join(", ")),
        }];
        for (excuse, reason) in [
            (Excuse::NoWitness, "they have never reported what they apply"),
            (Excuse::Disconnected, "they are disconnected"),
        ] {
            let others = self.others.iter().filter(|(_, it)| **it == excuse).map(|(id, _)| id);
            if let Some(names) = self.names(others) {
                lines.push(format!("not awaited, because {reason}: {names}"));
            }
        }
        lines
    }

    /// How many instances have the change: of each environment in which that number differs from `before`, or of all.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        let awaited = (0..self.environments.len()).filter(|at| self.count_in(*at).1 > 0);
        let awaited: Vec<usize> = awaited.collect();
        for at in &awaited {
            let (current, count) = self.count_in(*at);
            if current != before.count_in(*at).0 && parts.len() < NAMED_COUNT_MAX {
                parts.push(format!("{}: {}", self.shown[*at], have(current, count)));
            }
        }
        if awaited.len() > 1 && !parts.is_empty() {
            parts.push(self.summary());
        }
        let counts = (!parts.is_empty()).then(|| parts.join("; "));
        counts.into_iter().chain(self.new_rejections(before)).collect()
    }

    /// A line for each environment with instances that reject the change now and did not before.
    fn new_rejections(&self, before: &Self) -> Vec<String> {
        let mut by_environment: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (id, awaited) in &self.awaited {
            let was = before.awaited.get(id).map(|it| &it.standing);
            if let Standing::Rejected(reason) = &awaited.standing
                && was != Some(&awaited.standing)
            {
                let reason = reason.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
                by_environment.entry(id.0).or_default().push(format!("{}{reason}", id.1));
            }
        }
        let lines = by_environment.into_iter();
        lines
            .map(|(at, names)| format!("{}: rejected by {}", self.shown[at], listed(&names)))
            .collect()
    }

    /// How many of all awaited instances have the change.
    pub(super) fn summary(&self) -> String {
        have(self.current_count(), self.count())
    }

    /// The lines on awaited instances without the change, by reason.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut lines = self.new_rejections(&Self { awaited: BTreeMap::new(), ..self.clone() });
        for (is_connected, words) in [(true, "not yet"), (false, "disconnected")] {
            let missing = self.awaited.iter().filter(|(_, it)| {
                it.standing == Standing::Behind && it.is_connected == is_connected
            });
            if let Some(names) = self.names(missing.map(|(id, _)| id)) {
                lines.push(format!("{words}: {names}"));
            }
        }
        lines
    }

    /// The numbers of instances of an environment that have the change, and of all.
    fn count_in(&self, environment: usize) -> (usize, usize) {
        let ids = (environment, Box::from(""))..(environment + 1, Box::from(""));
        let instances = || self.awaited.range(ids.clone()).map(|(_, it)| it);
        let current = instances().filter(|it| it.standing == Standing::Current).count();
        (current, instances().count())
    }

    /// The names of instances, by environment. `None` if there are none.
    fn names<'a>(&self, ids: impl Iterator<Item = &'a InstanceId>) -> Option<String> {
        let mut by_environment: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (environment, name) in ids {
            by_environment.entry(*environment).or_default().push(name.to_string());
        }
        let parts: Vec<String> = by_environment
            .iter()
            .take(NAMED_COUNT_MAX)
            .map(|(at, names)| format!("{}: {}", self.shown[*at], listed(names)))
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Merges the runs of each instance. A connected run counts before one that is not, because a client that left stays
/// listed for a while. Among several connected runs, the one that is furthest behind counts.
fn newest(seen: &[Sighting]) -> BTreeMap<InstanceId, &Sighting> {
    let mut merged: BTreeMap<InstanceId, &Sighting> = BTreeMap::new();
    for sighting in seen {
        let id = (sighting.environment, sighting.name.clone());
        let rank = |it: &Sighting| (it.is_connected, it.standing.clone());
        merged
            .entry(id)
            .and_modify(|known| {
                if rank(sighting) > rank(known) {
                    *known = sighting;
                }
            })
            .or_insert(sighting);
    }
    merged
}

fn shown_names(environments: &[ChangedEnvironment], seen: &[Sighting]) -> Vec<String> {
    let inhabited: BTreeSet<usize> = seen.iter().map(|sighting| sighting.environment).collect();
    let shown = environments.iter().map(|ChangedEnvironment { application, full }| {
        let is_same = |at: &&usize| environments[**at].application == *application;
        match inhabited.iter().filter(is_same).count() {
            0 | 1 => application.clone(),
            _ => full.clone(),
        }
    });
    shown.collect()
}

fn have(current: usize, count: usize) -> String {
    let verb = if current == 1 { "has" } else { "have" };
    format!("{current} of {count} {verb} it")
}

fn plural(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// The first names of a list, and the number of the others.
fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED_COUNT_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_COUNT_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
