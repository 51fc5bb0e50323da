//! The rule that a change keeps the keys that running builds of a service read (docs/contracts.md).
//!
//! Invariant: a contract keeps existing keys and never requires a new one. A key counts only where the old revision has it with a
//! value of the requested type, and only after an instance with the contract has accepted a configuration. A contract that
//! lies can at most keep an existing key of its own application in place.

mod findings;
mod index;
mod names;
mod unread;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use headwater_wire::{Contract, ContractKey};

use super::impact::PropertyDifference;
use super::resolution::Resolution;
use super::{Check, FindingSeverity, Rule};
use crate::model::{Label, Origin, Query};

pub(super) use findings::{ContractFindings, Touched};
pub(super) use unread::UnreadKeys;

/// The content of one contract, by the patterns of its keys.
#[derive(Debug)]
pub struct CompiledContract {
    keys: BTreeMap<String, ContractKey>,
    /// The patterns at and below which every key is read, sorted.
    open: Vec<String>,
}

impl CompiledContract {
    /// Compiles the keys of a contract.
    pub fn new(contract: &Contract) -> Self {
        let keys = contract.keys.iter().map(|key| (names::pattern(&key.key), key.clone()));
        let open = contract.open.iter();
        let open = open.map(|open| names::pattern(open.strip_suffix('.').unwrap_or(open)));
        let mut open: Vec<String> =
            open.map(|open| if open == "." { String::new() } else { open }).collect();
        open.sort();
        Self { keys: keys.collect(), open }
    }

    /// Returns what the contract says about a key in any spelling. `None` if the build does not read it.
    pub fn reading(&self, key: &str) -> Option<Reading<'_>> {
        let parts = names::parts(key);
        let mut pattern = String::new();
        if self.is_open(&pattern) {
            return Some(Reading::Open);
        }
        for (at, part) in parts.iter().enumerate() {
            part.append_pattern(&mut pattern);
            let is_last = at + 1 == parts.len();
            if let Some(key) = self.keys.get(&pattern).filter(|_| is_last) {
                return Some(Reading::Key(key));
            }
            if self.is_open(&pattern) {
                return Some(Reading::Open);
            }
        }
        self.reads_below(&pattern).then_some(Reading::Open)
    }

    fn is_open(&self, pattern: &str) -> bool {
        self.open.binary_search_by(|open| open.as_str().cmp(pattern)).is_ok()
    }

    fn reads_below(&self, pattern: &str) -> bool {
        self.below(pattern).next().is_some()
    }

    fn requires_below(&self, pattern: &str) -> bool {
        self.below(pattern).any(|key| key.required)
    }

    fn below(&self, pattern: &str) -> impl Iterator<Item = &ContractKey> {
        let after = self.keys.range(pattern.to_owned()..);
        let below = after.map_while(move |(key, found)| Some((key.strip_prefix(pattern)?, found)));
        below.filter(|(rest, _)| rest.starts_with(['.', '['])).map(|(_, key)| key)
    }
}

/// The way in which a build reads a key.
#[derive(Debug, Clone, Copy)]
pub enum Reading<'a> {
    /// The contract lists the key.
    Key(&'a ContractKey),
    /// A map or a value of any type contains the key, or the build reads keys below it.
    Open,
}

/// A build of a service in one environment.
#[derive(Debug, Clone)]
pub struct RunningBuild {
    pub query: Query,
    pub version: Option<Arc<str>>,
    pub contract: Arc<CompiledContract>,
    /// The number of connected instances of the build in this environment.
    pub instance_count: usize,
    /// True if an instance with the contract has accepted a configuration of this environment.
    pub is_accepted: bool,
}

/// The number of connected instances of an application, and of those that report the keys that they read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reporting {
    pub instance_count: usize,
    pub reporting_count: usize,
}

impl Reporting {
    /// Returns true if every instance reports the keys that it reads.
    pub fn is_complete(self) -> bool {
        self.instance_count > 0 && self.instance_count == self.reporting_count
    }
}

/// The builds of all services that run now or ran a short time ago.
#[derive(Debug, Clone, Default)]
pub struct RunningBuilds {
    builds: HashMap<Arc<str>, Vec<RunningBuild>>,
    reporting: HashMap<Arc<str>, Reporting>,
}

impl RunningBuilds {
    /// Collects builds, and the reporting instances by application.
    pub fn new(
        builds: impl IntoIterator<Item = RunningBuild>,
        reporting: HashMap<Arc<str>, Reporting>,
    ) -> Self {
        let mut by_application = HashMap::<_, Vec<_>>::new();
        for build in builds {
            by_application.entry(Arc::clone(&build.query.application)).or_default().push(build);
        }
        Self { builds: by_application, reporting }
    }

    /// Returns true if no build is known.
    pub fn is_empty(&self) -> bool {
        self.builds.is_empty()
    }

    /// Returns the builds that follow one of the labels.
    #[must_use]
    pub fn at(&self, labels: &[Label]) -> Self {
        let mut selected = self.clone();
        for builds in selected.builds.values_mut() {
            builds.retain(|build| labels.contains(&build.query.label));
        }
        selected
    }

    /// Returns the environments whose keys builds protect.
    pub fn protected(&self) -> impl Iterator<Item = &Query> {
        let builds = self.builds.values().flatten().filter(|build| build.is_accepted);
        builds.map(|build| &build.query)
    }

    /// Returns the builds of an application, in all its environments.
    pub fn of_application(&self, application: &str) -> &[RunningBuild] {
        self.builds.get(application).map_or(&[], Vec::as_slice)
    }

    /// Returns the builds of an environment that protect its keys.
    fn protecting<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = &'a RunningBuild> {
        let builds = self.of_application(&query.application).iter();
        builds.filter(|build| build.is_accepted && build.query.profiles == query.profiles)
    }

    /// Returns how many instances of an application report the keys that they read.
    pub fn reporting(&self, application: &str) -> Reporting {
        self.reporting.get(application).copied().unwrap_or_default()
    }
}

impl Check<'_> {
    /// Compares two revisions of an environment with the contracts of the builds that run in it.
    pub(super) fn contracts(
        &mut self,
        query: &Query,
        before: &Resolution,
        after: &Resolution,
        rules: &[Rule],
        touched: Touched<'_>,
    ) {
        if rules.contains(&Rule::Contracts) {
            let environments = [&before.environment, &after.environment];
            let (builds, audience) = (&self.terms.builds, self.terms.audience.as_deref());
            self.contract_findings.compare(builds, query, environments, touched, audience);
        }
    }

    /// Notes the added and changed keys of an environment, to find those that no build reads.
    pub(super) fn find_unread(
        &mut self,
        query: &Query,
        differences: &[PropertyDifference<'_>],
        after: &Resolution,
        rules: &[Rule],
    ) {
        if !rules.contains(&Rule::Contracts) || self.terms.builds.is_empty() {
            return;
        }
        let sources = &after.environment.sources;
        for PropertyDifference { key, before, after } in differences {
            let Some(after) = after.filter(|is| before.is_none_or(|was| was.value != is.value))
            else {
                continue;
            };
            let of_file = sources.iter().find(|source| {
                source.properties().as_ptr_range().contains(&std::ptr::from_ref(after))
            });
            if let Some(file) = of_file.and_then(|source| source.file.as_ref()) {
                let origin = Origin { file: Arc::clone(file), position: Some(after.position) };
                let audience = self.terms.audience.as_deref();
                self.unread_keys.add(&self.terms.builds, query, key, &origin, audience);
            }
        }
    }

    /// Adds what all environments together have shown.
    pub(super) fn add_contract_findings(&mut self) {
        let severity = match self.terms.are_contracts_overridden {
            true => FindingSeverity::Warning,
            false => FindingSeverity::Problem,
        };
        for (problem, query) in std::mem::take(&mut self.contract_findings).finish(severity) {
            let is_shown = self.terms.audience.as_ref().is_none_or(|audience| {
                audience.reads_file(&problem.origin.file) && audience.reads_environment(&query)
            });
            let is_problem = severity == FindingSeverity::Problem;
            self.report.contract_problem_count += usize::from(is_problem && is_shown);
            self.add(severity, problem, Some(&query));
        }
        for (problem, query) in std::mem::take(&mut self.unread_keys).finish(&self.terms.builds) {
            self.add(FindingSeverity::Warning, problem, Some(&query));
        }
    }
}

/// Joins names: `a`, `a and b`, `a, b and c`.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
