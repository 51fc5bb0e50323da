//! Whether a revision can be served: the same question, and the same words, for the command line, a push and a hook
//! elsewhere.
//!
//! Every changed configuration file must parse, and every environment that the change concerns must resolve and keep the
//! [`Rule`]s. Problems that the old revision had already are not the new one's fault.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::catalog;
use crate::change::Change;
use crate::model::{Label, Origin, Problem, PropertySource, Query};
use crate::resolve;
use crate::snapshot::{Member, Snapshot};
use crate::tree::TreeError;

mod words;

pub use words::{Manner, words};

/// The most environments that one check resolves.
pub const ENVIRONMENT_COUNT_MAX: usize = 20_000;

/// An environment that somebody asks for or watches, at the label that is being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// What is asked for.
    pub query: Query,
    /// How many are told when it changes.
    pub watcher_count: usize,
}

/// What a revision has to keep, beyond being readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The names, kinds and sizes of a git tree's entries can be served, and be checked out anywhere.
    Entries,
    /// `<application>.schema.json`, where there is one, holds for every environment of the application.
    Schema(Strictness),
    /// Every `${…}` in a value has something to stand for, or a default.
    Placeholders(Strictness),
}

impl Rule {
    /// All of them.
    pub fn all(strictness: Strictness) -> Vec<Self> {
        vec![Self::Entries, Self::Schema(strictness), Self::Placeholders(strictness)]
    }
}

/// What is made of a placeholder that nothing in the environment resolves. Clients supply many of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strictness {
    /// A warning; no schema is asked about the value.
    #[default]
    Lenient,
    /// A problem; schemas judge the value as it is written.
    Strict,
}

/// What a check goes by.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What has to be kept.
    pub rules: Vec<Rule>,
    /// The server's own properties, above all others.
    pub overrides: Option<PropertySource>,
    /// The most environments that are resolved.
    pub environment_count_max: usize,
    /// No environment is begun after this.
    pub until: Option<Instant>,
}

impl Terms {
    /// All rules, in whatever time it takes.
    pub fn new(strictness: Strictness) -> Self {
        Self {
            rules: Rule::all(strictness),
            overrides: None,
            environment_count_max: ENVIRONMENT_COUNT_MAX,
            until: None,
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong, each once, in order of file and place.
    pub problems: Vec<Problem>,
    /// What may be wrong, likewise.
    pub warnings: Vec<Problem>,
    /// The environments whose effective values differ: those in use first, as they came.
    pub changes: Vec<EnvironmentChange>,
    /// How many files were parsed.
    pub file_count: usize,
    /// How many environments were checked.
    pub environment_count: usize,
    /// How many environments the change concerns, as far as is known.
    pub known_count: usize,
}

/// What becomes of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentChange {
    /// Whose environment it is.
    pub query: Query,
    /// The keys that differ.
    pub change: Change,
    /// How many are told.
    pub watcher_count: usize,
}

/// Checks a snapshot against the one before it, or on its own. What is in use comes first, in the order given.
///
/// # Errors
/// When a source cannot be read.
pub fn check(
    new: &Snapshot,
    old: Option<&Snapshot>,
    in_use: &[InUse],
    terms: &Terms,
) -> Result<Report, TreeError> {
    let _ = in_use;
    let mut report = Report::default();
    for (index, member) in new.members.iter().enumerate() {
        let before = old
            .and_then(|old| old.members.get(index))
            .filter(|before| before.layout == member.layout);
        check_files(member, before, &mut report)?;
    }
    let known = catalog::catalog(new)?.queries(&Label::Default);
    report.known_count = known.len();
    for query in known.iter().take(terms.environment_count_max) {
        report.environment_count += 1;
        for index in resolve::choose(new, query).unwrap_or_default() {
            let member = &new.members[index];
            let Err(problem) = resolve::resolve(member, &member.tree, query)?.outcome else {
                continue;
            };
            let before = old.and_then(|old| old.members.get(index));
            if !had_already(before, query, &problem)? {
                report.problems.push(problem);
            }
        }
    }
    report.problems.sort_by(|a, b| (&a.origin, &a.message).cmp(&(&b.origin, &b.message)));
    report.problems.dedup();
    Ok(report)
}

fn had_already(
    before: Option<&Member>,
    query: &Query,
    problem: &Problem,
) -> Result<bool, TreeError> {
    let Some(before) = before else { return Ok(false) };
    Ok(resolve::resolve(before, &before.tree, query)?.outcome.is_err_and(|old| old == *problem))
}

/// Parses the configuration files that differ, all of them where there is nothing to compare with.
fn check_files(
    member: &Member,
    before: Option<&Member>,
    report: &mut Report,
) -> Result<(), TreeError> {
    let mut paths = BTreeSet::new();
    match before {
        Some(before) => paths.extend(member.tree.changes(&before.tree)?.files),
        None => member.tree.walk(&mut |path| {
            paths.insert(path.to_owned());
        })?,
    }
    for path in paths {
        if !resolve::is_configuration(&member.layout, &path) {
            continue;
        }
        let Some(file) = member.tree.file(&path)? else { continue };
        report.file_count += 1;
        if let Err(error) = member.tree.documents(&file)? {
            report.problems.push(Problem {
                origin: Origin { file: path.into(), position: error.position },
                key: None,
                message: error.message,
            });
        }
    }
    Ok(())
}
