//! Whether a revision can be served: the same question, and the same words, for the command line, a push and a hook
//! elsewhere.
//!
//! Every changed configuration file must parse, and every environment that the change concerns must resolve and keep the
//! [`Rule`]s. Problems that the old revision had already are not the new one's fault.

mod effective;
mod entries;
mod placeholders;
mod reach;
mod resolution;
mod schema;
mod words;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use self::resolution::Resolution;
use self::schema::Schemas;
use crate::catalog;
use crate::change::{self, Change};
use crate::model::{Label, Origin, Problem, PropertySource, Query};
use crate::resolve::{self, Differences, Searched};
use crate::snapshot::{Member, Snapshot};
use crate::tree::{File, TreeError};

pub use words::{Manner, findings, outcome, words};

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
    /// No file and no environment is begun after this.
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
    /// How many files were to be parsed: more than were if time ran out.
    pub known_file_count: usize,
    /// How many environments were checked.
    pub environment_count: usize,
    /// How many environments the change concerns, as far as is known: more than were checked if time ran out.
    pub known_count: usize,
    /// Whether there was an older revision to compare with.
    pub is_compared: bool,
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

/// Checks a snapshot against the one before it, or on its own. What is in use comes first, in the order given; whoever knows
/// what was asked for to make it leaves out what the change cannot touch. The older one is read as though it stood at the
/// label of the new one.
///
/// # Errors
/// When a source cannot be read.
pub fn check(
    new: &Snapshot,
    old: Option<&Snapshot>,
    in_use: &[InUse],
    terms: &Terms,
) -> Result<Report, TreeError> {
    let old = old.map(|old| at_label_of(new, old));
    let old = old.as_ref();
    let mut check = Check {
        new,
        old,
        differences: match old {
            Some(old) => Differences::between(old, new)?,
            None => Differences::Everything,
        },
        terms,
        schemas: Schemas::default(),
        problems: Findings::default(),
        warnings: Findings::default(),
        report: Report { is_compared: old.is_some(), ..Report::default() },
    };
    for (index, member) in new.members.iter().enumerate() {
        check.member(index, member)?;
    }
    check.environments(in_use)?;
    Ok(check.finish())
}

fn at_label_of(new: &Snapshot, old: &Snapshot) -> Snapshot {
    let mut old = old.clone();
    for (old, new) in old.members.iter_mut().zip(&new.members) {
        old.label.clone_from(&new.label);
    }
    old
}

/// The most problems, and the most warnings, that one report holds.
const FINDING_COUNT_MAX: usize = 1_000;

/// Problems, each once.
#[derive(Default)]
struct Findings(BTreeSet<(Origin, Option<Arc<str>>, String)>);

impl Findings {
    fn add(&mut self, problem: Problem) {
        if self.0.len() < FINDING_COUNT_MAX {
            self.0.insert((problem.origin, problem.key, problem.message));
        }
    }

    fn finish(self) -> Vec<Problem> {
        let problem = |(origin, key, message)| Problem { origin, key, message };
        self.0.into_iter().map(problem).collect()
    }
}

/// A check under way.
struct Check<'a> {
    new: &'a Snapshot,
    old: Option<&'a Snapshot>,
    differences: Differences,
    terms: &'a Terms,
    schemas: Schemas,
    problems: Findings,
    warnings: Findings,
    report: Report,
}

impl<'a> Check<'a> {
    /// The files of one member that differ from what it was before.
    fn member(&mut self, index: usize, member: &Member) -> Result<(), TreeError> {
        let before = self
            .old
            .and_then(|old| old.members.get(index))
            .filter(|before| before.layout == member.layout);
        if self.terms.rules.contains(&Rule::Entries) {
            let unfit = entries::unfit(member, before.map(|before| &before.tree))?;
            unfit.into_iter().for_each(|problem| self.problems.add(problem));
        }
        let paths = match (&self.differences, before) {
            (Differences::Members(changes), Some(_)) => changes[index].files.clone(),
            (_, Some(before)) => member.tree.changes(&before.tree)?.files,
            (_, None) => {
                let mut paths = Vec::new();
                member.tree.walk(&mut |path| paths.push(path.to_owned()))?;
                paths
            }
        };
        for path in paths.into_iter().filter(|path| is_looked_for(member, path)) {
            self.file(member, before, &path)?;
        }
        Ok(())
    }

    /// A configuration file has to parse.
    fn file(
        &mut self,
        member: &Member,
        before: Option<&Member>,
        path: &str,
    ) -> Result<(), TreeError> {
        let Some(file) = member.tree.file(path)? else {
            return Ok(());
        };
        self.report.known_file_count += 1;
        if self.is_late() {
            return Ok(());
        }
        self.report.file_count += 1;
        let Some(problem) = parse_problem(member, path, &file)? else {
            return Ok(());
        };
        let was = match before {
            Some(before) => match before.tree.file(path)? {
                Some(file) => parse_problem(before, path, &file)?,
                None => None,
            },
            None => None,
        };
        if !was.is_some_and(|was| is_same(&was, &problem)) {
            self.problems.add(problem);
        }
        Ok(())
    }

    /// Those in use first, then the known ones that the change may concern.
    fn environments(&mut self, in_use: &[InUse]) -> Result<(), TreeError> {
        let terms: &'a Terms = self.terms;
        let mut seen: HashSet<Query> = HashSet::new();
        let mut left: usize = in_use.len();
        for InUse { query, watcher_count } in in_use {
            let known = Query { label: Label::Default, ..query.clone() };
            if !seen.insert(known) {
                left -= 1;
                continue;
            }
            if self.is_over() {
                self.report.known_count += left;
                return Ok(());
            }
            self.environment(query, *watcher_count, &terms.rules)?;
            left -= 1;
        }
        if self.is_over() {
            return Ok(());
        }
        let mut known = match self.old {
            Some(old) => reach::concerned(self.new, old, &self.differences)?,
            None => catalog::catalog(self.new)?.queries(&Label::Default),
        };
        known.retain(|query| !seen.contains(query));
        // What all share need not be whole by itself: the applications add to it. Nobody asks for it alone.
        let is_all = known.iter().all(is_everyone);
        for (at, query) in known.iter().enumerate() {
            if self.is_over() {
                self.report.known_count += known.len() - at;
                return Ok(());
            }
            let rules = match is_everyone(query) && !is_all {
                true => &[],
                false => &terms.rules[..],
            };
            self.environment(query, 0, rules)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.report.environment_count >= self.terms.environment_count_max || self.is_late()
    }

    fn is_late(&self) -> bool {
        self.terms.until.is_some_and(|until| Instant::now() >= until)
    }

    /// One environment, unless the change cannot touch it.
    fn environment(
        &mut self,
        query: &Query,
        watcher_count: usize,
        rules: &[Rule],
    ) -> Result<(), TreeError> {
        let overrides = self.terms.overrides.as_ref();
        let before = match self.old {
            Some(old) => Some(Resolution::of(old, query, overrides)?),
            None => None,
        };
        if before.as_ref().is_some_and(|before| !before.is_touched(&self.differences)) {
            return Ok(());
        }
        self.report.environment_count += 1;
        self.report.known_count += 1;
        let after = Resolution::of(self.new, query, overrides)?;
        if let Some(before) = &before
            && before.problems.is_empty()
            && after.problems.is_empty()
        {
            let change = change::change(&before.environment, &after.environment);
            if !change.is_empty() {
                let query = query.clone();
                self.report.changes.push(EnvironmentChange { query, change, watcher_count });
            }
        }
        self.judge(before.as_ref(), &after, rules)
    }

    /// Adds what is wrong with an environment and was not wrong with it before.
    fn judge(
        &mut self,
        before: Option<&Resolution>,
        after: &Resolution,
        rules: &[Rule],
    ) -> Result<(), TreeError> {
        let mut found = after.judge(rules, &mut self.schemas)?;
        if found.is_empty() {
            return Ok(());
        }
        if let Some(before) = before {
            let had = before.judge(rules, &mut self.schemas)?;
            found.retain(|(_, problem)| !had.iter().any(|(_, had)| is_same(had, problem)));
        }
        for (severity, problem) in found {
            match severity {
                Severity::Problem => self.problems.add(problem),
                Severity::Warning => self.warnings.add(problem),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Report {
        self.report.problems = self.problems.finish();
        self.report.warnings = self.warnings.finish();
        self.report
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Problem,
    Warning,
}

fn is_everyone(query: &Query) -> bool {
    &*query.application == catalog::EVERYONE
}

/// Whether two problems are the same wherever in the file they stand now.
fn is_same(one: &Problem, other: &Problem) -> bool {
    (&one.origin.file, &one.key, &one.message) == (&other.origin.file, &other.key, &other.message)
}

/// Whether somebody looks for a configuration file at this path. Elsewhere one counts where it is imported.
fn is_looked_for(member: &Member, path: &str) -> bool {
    resolve::is_configuration(&member.layout, path)
        && resolve::searched(member, catalog::directory_of(path)) != Searched::ByNobody
}

/// Why a file does not parse, if it does not.
fn parse_problem(member: &Member, path: &str, file: &File) -> Result<Option<Problem>, TreeError> {
    let error = member.tree.documents(file)?.err();
    Ok(error.map(|error| Problem {
        origin: Origin { file: path.into(), position: error.position },
        key: None,
        message: error.message,
    }))
}

#[cfg(test)]
mod tests;
