//! The effective difference between two policies: what principals may do under one and not under the other.
//!
//! Both policies answer the same requests. The requests use the names that the policies contain, one example for each
//! pattern with a star, and one name that no policy contains.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::area::SHARED_APPLICATION;
use super::rule::Rule;
use super::table_change::{TableChange, table_changes};
use super::{Policy, expectation};
use crate::pattern::Pattern;
use crate::principal::{ANONYMOUS, Principal};
use crate::request::{Change, Environment, RawFile, Request, ServerRight};
use crate::right::Right;

/// A name that no policy contains, because a principal or a file of this name is unlikely. It stands for all others.
const OTHER: &str = "~other";

/// The most requests of one comparison. Larger policies are compared in part, and the result says so.
const REQUEST_COUNT_MAX: usize = 200_000;

/// The names over which policies are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Universe {
    applications: Examples,
    profiles: Examples,
    labels: Examples,
    paths: Examples,
    branches: Examples,
}

/// Names that are asked for, each with the text that stands for it in the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Examples(BTreeMap<String, String>);

/// A difference: one principal may do something under one of the two policies only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessChange {
    pub principal: String,
    pub right: Right,
    /// Such as `billing/*`. Empty for rights without a target.
    pub target: String,
    /// True if the new policy allows it.
    pub is_gained: bool,
}

/// A difference in what proves an identity. A new credential opens everything that its principal may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialChange {
    pub principal: String,
    /// A description, such as `the token ba7816bf…`.
    pub credential: String,
    /// True if the new policy accepts it.
    pub is_gained: bool,
}

/// All differences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDifference {
    /// Ordered by principal, right and target.
    pub changes: Vec<AccessChange>,
    /// Ordered by principal.
    pub credentials: Vec<CredentialChange>,
    /// Areas, values to seal and expectations, ordered by object.
    pub tables: Vec<TableChange>,
    /// Set if the policies differ in it: true if the new one enforces its denials.
    pub enforcement: Option<bool>,
    /// False if the policies are too large to be compared completely.
    pub is_complete: bool,
}

impl fmt::Display for AccessChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_gained { "may now" } else { "may no longer" };
        let separator = if self.target.is_empty() { "" } else { " " };
        let Self { principal, right, target, .. } = self;
        write!(f, "{principal} {verb} {}{separator}{target}", right.phrase())
    }
}

impl fmt::Display for CredentialChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_gained { "is now" } else { "is no longer" };
        write!(f, "{} {verb} proved by {}", self.principal, self.credential)
    }
}

impl PolicyDifference {
    /// Returns true if both policies say the same about principals, credentials and files, as far as they were compared.
    pub fn is_empty(&self) -> bool {
        let is_same = self.changes.is_empty() && self.credentials.is_empty();
        is_same && self.tables.is_empty() && self.enforcement.is_none()
    }

    /// One sentence for each difference.
    pub fn lines(&self) -> Vec<String> {
        let enforcement = self.enforcement.map(|is_enforced| match is_enforced {
            true => "denials are now enforced".to_owned(),
            false => "denials are now recorded and not enforced".to_owned(),
        });
        let incomplete = "the policies are too large to be compared completely".to_owned();
        let incomplete = (!self.is_complete).then_some(incomplete);
        let changes = self.changes.iter().map(ToString::to_string);
        let credentials = self.credentials.iter().map(ToString::to_string);
        let tables = self.tables.iter().map(ToString::to_string);
        let lines = enforcement.into_iter().chain(changes).chain(credentials);
        lines.chain(tables).chain(incomplete).collect()
    }
}

impl Examples {
    /// Adds a name, or an example for a pattern with a star.
    fn add(&mut self, text: &str) {
        let name = text.replace("**", "*").replace('*', OTHER);
        self.0.entry(name).or_insert_with(|| text.to_owned());
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, shown)| (name.as_str(), shown.as_str()))
    }
}

impl Universe {
    /// Collects the names in policies.
    pub fn of(policies: &[&Policy]) -> Self {
        let mut universe = Self::default();
        universe.applications.add(SHARED_APPLICATION);
        universe.labels.add("@default");
        for examples in [
            &mut universe.applications,
            &mut universe.profiles,
            &mut universe.labels,
            &mut universe.branches,
            &mut universe.paths,
        ] {
            examples.0.insert(OTHER.to_owned(), "(other)".to_owned());
        }
        for policy in policies {
            for rule in policy.grants.iter().flatten().chain(&policy.anonymous_grants) {
                universe.add_rule(rule);
            }
            for application in policy.areas.known() {
                universe.applications.add(application);
                universe.paths.add(&format!("{application}.yml"));
            }
            let area_paths = policy.areas.areas.iter().flat_map(|area| &area.path);
            area_paths.for_each(|path| universe.paths.add(path.as_str()));
        }
        universe
    }

    /// Adds names that exist, such as those of a catalogue.
    pub fn add_names(&mut self, names: &super::KnownNames) {
        names.applications.iter().for_each(|name| self.applications.add(name));
        names.paths.iter().for_each(|path| self.paths.add(path));
    }

    fn add_rule(&mut self, rule: &Rule) {
        let add = |examples: &mut Examples, patterns: &[Pattern]| {
            patterns.iter().for_each(|pattern| examples.add(pattern.as_str()));
        };
        add(&mut self.applications, rule.applications());
        add(&mut self.applications, &rule.except);
        add(&mut self.profiles, &rule.profile);
        add(&mut self.paths, rule.paths());
        rule.label.iter().for_each(|label| self.labels.add(&label.to_string()));
        rule.branch.iter().for_each(|branch| self.branches.add(&branch.to_string()));
    }
}

/// Compares what two policies allow over a universe.
pub fn diff(old: &Policy, new: &Policy, universe: &Universe) -> PolicyDifference {
    let mut comparison =
        Comparison { old, new, universe, changes: Vec::new(), remaining: REQUEST_COUNT_MAX };
    let names = old.principals().chain(new.principals()).map(|principal| principal.name());
    let names: BTreeSet<&str> = names.chain([ANONYMOUS]).collect();
    let has_same_areas = old.areas == new.areas;
    let mut names =
        names.into_iter().filter(|name| !has_same_areas || !has_same_rules(old, new, name));
    let is_complete = names.try_for_each(|name| comparison.compare(name)).is_some();
    let is_enforced = new.is_enforced();
    let enforcement = (is_enforced != old.is_enforced()).then_some(is_enforced);
    let mut changes = comparison.changes;
    changes.sort();
    changes.dedup();
    let credentials = credential_changes(old, new);
    let tables = table_changes(old, new);
    PolicyDifference { changes, credentials, tables, enforcement, is_complete }
}

fn credential_changes(old: &Policy, new: &Policy) -> Vec<CredentialChange> {
    let (before, after) = (old.identities.descriptions(), new.identities.descriptions());
    let differing = before.symmetric_difference(&after).map(|one| CredentialChange {
        principal: one.0.clone(),
        credential: one.1.clone(),
        is_gained: after.contains(one),
    });
    differing.collect()
}

/// Returns true if a principal has equal rules under both policies, so that no request can tell them apart.
fn has_same_rules(old: &Policy, new: &Policy, name: &str) -> bool {
    let (Some(before), Some(after)) = (old.principal(name), new.principal(name)) else {
        return false;
    };
    let (before, after) = (old.grants(&before), new.grants(&after));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    before.len() == after.len()
        && before.iter().zip(after).all(|(one, other)| one.has_same_effect(other))
}

struct Comparison<'a> {
    old: &'a Policy,
    new: &'a Policy,
    universe: &'a Universe,
    changes: Vec<AccessChange>,
    remaining: usize,
}

/// A principal under both policies.
struct Pair<'n> {
    name: &'n str,
    old: Option<Principal>,
    new: Option<Principal>,
}

impl Comparison<'_> {
    /// Returns `None` when no more requests are permitted.
    fn compare(&mut self, name: &str) -> Option<()> {
        let pair = Pair { name, old: self.old.principal(name), new: self.new.principal(name) };
        self.compare_environments(&pair)?;
        self.compare_files(&pair)?;
        self.compare_pushes(&pair)?;
        let universe = self.universe;
        for (application, shown) in universe.applications.iter() {
            let names = || vec![Cow::Borrowed(application)];
            self.ask(&pair, &Request::Seal(names()), shown)?;
            self.ask(&pair, &Request::Rollout(names()), shown)?;
        }
        ServerRight::ALL
            .into_iter()
            .try_for_each(|right| self.ask(&pair, &Request::Server(right), ""))
    }

    fn compare_environments(&mut self, pair: &Pair<'_>) -> Option<()> {
        let universe = self.universe;
        for right in [Right::Read, Right::Open] {
            for (application, shown) in universe.applications.iter() {
                let mut differing = Vec::new();
                for (profile, shown_profile) in universe.profiles.iter() {
                    for (label, shown_label) in universe.labels.iter() {
                        let target =
                            Environment::of(application, profile, expectation::label(label));
                        let request = match right {
                            Right::Open => Request::Open(target),
                            _ => Request::Read(target),
                        };
                        if let Some(is_gained) = self.difference(pair, &request)? {
                            differing.push((is_gained, shown_profile, shown_label));
                        }
                    }
                }
                for is_gained in [false, true] {
                    let own = differing.iter().filter(|(gained, ..)| *gained == is_gained);
                    for target in self.summary(own.map(|(_, profile, label)| (*profile, *label))) {
                        let (principal, target) =
                            (pair.name.to_owned(), format!("{shown}/{target}"));
                        self.changes.push(AccessChange { principal, right, target, is_gained });
                    }
                }
            }
        }
        Some(())
    }

    /// Describes profiles and labels, one text for all profiles that have the same labels.
    fn summary<'n>(&self, combinations: impl Iterator<Item = (&'n str, &'n str)>) -> Vec<String> {
        let mut labels_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (profile, label) in combinations {
            labels_of.entry(profile).or_default().insert(label);
        }
        let mut profiles_of: BTreeMap<BTreeSet<&str>, Vec<&str>> = BTreeMap::new();
        for (profile, labels) in labels_of {
            profiles_of.entry(labels).or_default().push(profile);
        }
        let describe = |(labels, profiles): (BTreeSet<&str>, Vec<&str>)| {
            let is_every_profile = profiles.len() == self.universe.profiles.0.len();
            let profiles = if is_every_profile { "*".to_owned() } else { profiles.join(",") };
            if labels.len() == self.universe.labels.0.len() {
                format!("{profiles} at every label")
            } else if labels.iter().eq(["@default"].iter()) {
                profiles
            } else {
                format!("{profiles} at {}", labels.into_iter().collect::<Vec<_>>().join(","))
            }
        };
        profiles_of.into_iter().map(describe).collect()
    }

    fn compare_files(&mut self, pair: &Pair<'_>) -> Option<()> {
        let universe = self.universe;
        for (path, shown) in universe.paths.iter() {
            for (label, shown_label) in universe.labels.iter() {
                let labels = vec![expectation::label(label)];
                let request = Request::File(RawFile { path: path.into(), labels });
                self.ask(pair, &request, &format!("{shown} at {shown_label}"))?;
            }
        }
        Some(())
    }

    fn compare_pushes(&mut self, pair: &Pair<'_>) -> Option<()> {
        const MODES: [(bool, bool, &str); 3] =
            [(false, false, ""), (true, false, " with force"), (false, true, " with deletion")];
        let universe = self.universe;
        for (branch, shown_branch) in universe.branches.iter() {
            for path in universe.paths.iter().map(Some).chain([None]) {
                for (force, delete, mode) in MODES {
                    let change = Change {
                        reference: expectation::reference(branch),
                        path: path.map(|(path, _)| path.into()),
                        force,
                        delete,
                    };
                    let shown = path.map_or("(no path)", |(_, shown)| shown);
                    let target = format!("{shown} to {shown_branch}{mode}");
                    self.ask(pair, &Request::Push(change), &target)?;
                }
            }
        }
        Some(())
    }

    fn ask(&mut self, pair: &Pair<'_>, request: &Request<'_>, target: &str) -> Option<()> {
        if let Some(is_gained) = self.difference(pair, request)? {
            let (principal, target) = (pair.name.to_owned(), target.to_owned());
            self.changes.push(AccessChange {
                principal,
                right: request.right(),
                target,
                is_gained,
            });
        }
        Some(())
    }

    /// Returns whether the request was gained or lost, if it was one of both.
    fn difference(&mut self, pair: &Pair<'_>, request: &Request<'_>) -> Option<Option<bool>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let allows = |policy: &Policy, principal: &Option<Principal>| {
            principal.as_ref().is_some_and(|own| policy.decide(own, request).is_allowed())
        };
        let (before, after) = (allows(self.old, &pair.old), allows(self.new, &pair.new));
        Some((before != after).then_some(after))
    }
}
