//! The keys that a change takes away from running builds, collected over all environments.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_wire::ContractKey;

use super::index::{IndexedProperty, RelaxedIndex};
use super::names::{self, Part};
use super::{RunningBuild, RunningBuilds, value};
use crate::check::{Audience, FindingSeverity};
use crate::model::{Environment, Origin, Problem, Query};

/// The services in environments that the reader of the report may not read.
const HIDDEN_READERS: &str = "services that you may not read";

/// The keys of an environment that a change can affect.
pub(in crate::check) enum Touched<'a> {
    Everything,
    Keys(&'a [&'a str]),
}

/// The requirements that a change breaks, by place, key and requirement. Environments and applications that share the place
/// share one finding.
#[derive(Default)]
pub(in crate::check) struct ContractFindings(BTreeMap<Finding, Readers>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    origin: Origin,
    key: Arc<str>,
    requirement: Requirement,
}

/// The part of a contract that a change breaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Requirement {
    /// The builds require the key.
    Presence,
    /// The builds read the key as this type.
    Type(&'static str),
}

/// The builds behind a finding.
#[derive(Default)]
struct Readers {
    /// The number of instances by application and version, in the environments that the reader of the report may read.
    instance_counts: BTreeMap<(Arc<str>, Option<Arc<str>>), usize>,
    /// An environment that shows the finding and that the reader of the report may read.
    shown: Option<Query>,
    /// The same of one that the reader may not read.
    hidden: Option<Query>,
}

impl ContractFindings {
    /// Adds the requirements of one environment that `after` breaks and `before` keeps.
    pub(in crate::check) fn compare(
        &mut self,
        builds: &RunningBuilds,
        query: &Query,
        [before, after]: [&Environment; 2],
        touched: Touched<'_>,
        audience: Option<&dyn Audience>,
    ) {
        let protecting: Vec<&RunningBuild> = builds.protecting(query).collect();
        if protecting.is_empty() {
            return;
        }
        let is_shown = audience.is_none_or(|audience| audience.reads_environment(query));
        let comparison = Comparison {
            before,
            after,
            before_index: OnceCell::new(),
            after_index: OnceCell::new(),
        };
        let keys = match touched {
            Touched::Keys(keys) => keys.to_vec(),
            Touched::Everything => comparison.before().keys().collect(),
        };
        for build in protecting {
            for (path, key) in wanted(&keys, build) {
                let Some((written, origin, requirement)) = comparison.broken(build, &path, key)
                else {
                    continue;
                };
                let finding = Finding { origin, key: written, requirement };
                let readers = self.0.entry(finding).or_default();
                readers.add(build, query, is_shown);
            }
        }
    }

    /// Returns each finding as a problem, with an environment that shows it: one that the reader of the report may read,
    /// if there is one. The message names the applications of such environments alone.
    pub(in crate::check) fn finish(
        self,
        severity: FindingSeverity,
    ) -> impl Iterator<Item = (Problem, Query)> {
        self.0.into_iter().filter_map(move |(finding, readers)| {
            let message = message(finding.requirement, &readers, severity);
            let Finding { origin, key, .. } = finding;
            Some((Problem { origin, key: Some(key), message }, readers.shown.or(readers.hidden)?))
        })
    }
}

impl Readers {
    fn add(&mut self, build: &RunningBuild, query: &Query, is_shown: bool) {
        if !is_shown {
            self.hidden.get_or_insert_with(|| query.clone());
            return;
        }
        self.shown.get_or_insert_with(|| query.clone());
        let name = (Arc::clone(&build.query.application), build.version.clone());
        *self.instance_counts.entry(name).or_default() += build.instance_count;
    }
}

/// Returns the contract's keys that are at, above or below the given keys, with the paths at which the keys have them.
fn wanted<'b>(keys: &[&str], build: &'b RunningBuild) -> BTreeMap<String, &'b ContractKey> {
    let mut found = BTreeMap::new();
    for key in keys {
        let (mut path, mut pattern) = (String::new(), String::new());
        for part in names::parts(key) {
            part.append(&mut path);
            part.append_pattern(&mut pattern);
            if let Some(key) = build.contract.keys.get(&pattern)
                && !found.contains_key(&path)
            {
                found.insert(path.clone(), key);
            }
        }
    }
    found
}

/// Two revisions of an environment. The indexes are built on first use.
struct Comparison<'a> {
    before: &'a Environment,
    after: &'a Environment,
    before_index: OnceCell<RelaxedIndex<'a>>,
    after_index: OnceCell<RelaxedIndex<'a>>,
}

impl<'a> Comparison<'a> {
    fn before(&self) -> &RelaxedIndex<'a> {
        self.before_index.get_or_init(|| RelaxedIndex::of(self.before))
    }

    fn after(&self) -> &RelaxedIndex<'a> {
        self.after_index.get_or_init(|| RelaxedIndex::of(self.after))
    }

    /// Returns the requirement of a build that the change breaks at a path, with the key as it is written and its place.
    fn broken(
        &self,
        build: &RunningBuild,
        path: &str,
        key: &ContractKey,
    ) -> Option<(Arc<str>, Origin, Requirement)> {
        let (before, after) = (self.before(), self.after());
        let was = before.at_or_below(path)?;
        let Some(is) = after.at_or_below(path) else {
            // The keys below a group tell more than the group.
            let is_broken = key.required
                && !build.contract.requires_below(&names::pattern(&key.key))
                && self.is_needed(build, path);
            let file = Arc::clone(&was.origin()?.file);
            let origin = Origin { file, position: None };
            return is_broken.then(|| (written(&was, path), origin, Requirement::Presence));
        };
        let element = build.contract.keys.get(&format!("{}[]", names::pattern(&key.key)));
        let fits = |index, environment| value::fits(key, element, path, index, environment);
        let is_broken =
            fits(before, self.before) == Some(true) && fits(after, self.after) == Some(false);
        let requirement = Requirement::Type(key.value_type.description());
        is_broken.then_some((written(&is, path), is.origin()?, requirement))
    }

    /// Returns true if the new revision has nothing below a path and at most an empty value at it.
    fn is_gone(&self, path: &str) -> bool {
        let (after, is_empty) =
            (self.after(), |it: &IndexedProperty<'_>| it.property.value.text().is_empty());
        after.get(path).as_ref().is_none_or(is_empty) && after.below(path).next().is_none()
    }

    /// Returns true unless an optional part above the path is gone as well. Without that part, the build does not need the
    /// keys below it.
    fn is_needed(&self, build: &RunningBuild, path: &str) -> bool {
        let (mut above, mut pattern) = (String::new(), String::new());
        let parts = split(path);
        for part in &parts[..parts.len().saturating_sub(1)] {
            part.append(&mut above);
            part.append_pattern(&mut pattern);
            let is_optional = matches!(part, Part::Bracket(_))
                || build.contract.keys.get(&pattern).is_some_and(|key| !key.required);
            if is_optional && self.is_gone(&above) {
                return false;
            }
        }
        true
    }
}

/// Splits a path of relaxed parts.
fn split(path: &str) -> Vec<Part<'_>> {
    names::parts(path.strip_prefix('.').unwrap_or(path))
}

/// Returns the beginning of a property's key that has as many parts as a path.
fn written(property: &IndexedProperty<'_>, path: &str) -> Arc<str> {
    let key = &property.property.key;
    let rest_count = names::parts(key).len() - split(path).len().min(names::parts(key).len());
    if rest_count == 0 {
        return Arc::clone(key);
    }
    let mut end = key.len();
    for _ in 0..rest_count {
        end = key[..end].rfind(['.', '[']).unwrap_or(0);
    }
    key[..end].into()
}

/// Describes a broken requirement: `rejected: product 1.4 (12 instances) reads it as an integer from 0 to 65535`.
fn message(requirement: Requirement, readers: &Readers, severity: FindingSeverity) -> String {
    let outcome = match severity {
        FindingSeverity::Problem => "rejected",
        FindingSeverity::Warning => "overridden",
    };
    let names = readers.instance_counts.iter().enumerate().map(|(at, ((name, version), count))| {
        let version = version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
        let count = match (at, count) {
            (0, 1) => "1 instance".to_owned(),
            (0, 0) => "no instance now".to_owned(),
            (0, count) => format!("{count} instances"),
            (_, count) => count.to_string(),
        };
        format!("{name}{version} ({count})")
    });
    let hidden = readers.hidden.iter().map(|_| HIDDEN_READERS.to_owned());
    let names: Vec<String> = names.chain(hidden).collect();
    let is_one = names.len() == 1 && readers.hidden.is_none();
    let names = super::listed(&names);
    match requirement {
        Requirement::Presence => {
            let verb = if is_one { "requires" } else { "require" };
            format!("removed: {outcome}: {names} {verb} it")
        }
        Requirement::Type(description) => {
            let verb = if is_one { "reads" } else { "read" };
            format!("{outcome}: {names} {verb} it as {description}")
        }
    }
}
