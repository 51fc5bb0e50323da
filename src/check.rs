//! The check of a revision before it is served. The command line, a push and a pre-receive hook use the same check and print
//! the same report.
//!
//! Every changed configuration file must parse. Every affected environment must resolve and satisfy the [`Rule`]s. A problem
//! that the old revision already has is not reported.

mod affected;
mod aliases;
mod areas;
mod audience;
mod composition;
mod contracts;
mod directories;
mod effective;
mod entries;
mod impact;
mod placeholders;
mod plan;
mod progress;
mod report_text;
mod resolution;
mod schema;
mod sealed_text;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use self::contracts::{ContractFindings, Touched, UnreadKeys};
use self::impact::ComparedDocuments;
use self::resolution::{CheckScope, Resolution};
use self::schema::Schemas;
use crate::catalog;
use crate::change::{self, Change};
use crate::model::{
    Document, Label, Origin, Problem, Property, PropertySource, Query, SHARED_APPLICATION,
    SealedKind, Value,
};
use crate::resolve::{self, Differences, Searchers};
use crate::reveal::{self, Keyring, Opener, Opening};
use crate::snapshot::{Member, Snapshot};
use crate::tree::{ParseError, TreeError};

pub use affected::{affected as affected_environments, known_profiles};
pub use areas::SealedTexts;
pub use audience::Audience;
pub use contracts::{CompiledContract, Reading, Reporting, RunningBuild, RunningBuilds};
pub use directories::DirectoryCache;
pub use plan::{PLAN_PATH, has_plan, read_plan};
pub use progress::{CheckProgress, Stage};
pub use report_text::{Enforcement, TimeoutAction, finding_lines, outcome_lines, report_lines};

/// An environment that clients request or watch at the label of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentInUse {
    pub query: Query,
    /// The number of watchers that a change notifies.
    pub watcher_count: usize,
}

/// A rule that a revision must satisfy, beyond being readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The names, kinds and sizes of a git tree's entries can be served, and can be checked out on all systems.
    Entries,
    /// Every environment of an application satisfies `<application>.schema.json`, if that exists.
    Schema(Strictness),
    /// Every `${…}` in a value can be resolved or has a default.
    Placeholders(Strictness),
    /// The keys that running builds require stay, and values keep the types that these builds request.
    Contracts,
    /// The plan of rollouts can be used.
    Plan,
}

impl Rule {
    /// All rules.
    pub fn all(strictness: Strictness) -> Vec<Self> {
        vec![
            Self::Entries,
            Self::Schema(strictness),
            Self::Placeholders(strictness),
            Self::Contracts,
            Self::Plan,
        ]
    }
}

/// The treatment of a placeholder that the environment does not resolve. Clients supply the values of many placeholders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strictness {
    /// The placeholder is a warning, and no schema is applied to the value.
    #[default]
    Lenient,
    /// The placeholder is a problem, and schemas are applied to the value as it is written.
    Strict,
}

/// The parameters of a check.
#[derive(Debug, Clone)]
pub struct CheckPolicy {
    pub rules: Vec<Rule>,
    /// The overrides of the server, with the highest precedence.
    pub overrides: Option<PropertySource>,
    /// The keys of the server. One of them must open each new sealed value. Without keys, sealed values are not checked.
    pub keys: Arc<Keyring>,
    /// The deadline, after which the check begins no further file and no further environment.
    pub until: Option<Instant>,
    /// Receives how far the check is.
    pub progress: CheckProgress,
    /// The reader of the report, unless it may read everything.
    pub audience: Option<Arc<dyn Audience>>,
    /// The builds whose contracts a change must keep.
    pub builds: Arc<RunningBuilds>,
    /// True if the pusher overrides contracts. Their findings are warnings then.
    pub are_contracts_overridden: bool,
    /// The names of the checks that the operator defines for plans of rollouts.
    pub plan_checks: Vec<String>,
}

impl CheckPolicy {
    /// All rules, without a deadline.
    pub fn new(strictness: Strictness) -> Self {
        Self {
            rules: Rule::all(strictness),
            overrides: None,
            keys: Arc::default(),
            until: None,
            progress: CheckProgress::default(),
            audience: None,
            builds: Arc::default(),
            are_contracts_overridden: false,
            plan_checks: Vec::new(),
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Each problem once, sorted by file and place.
    pub problems: Vec<Problem>,
    /// The number of problems that an override of contracts turns into warnings.
    pub contract_problem_count: usize,
    /// Each warning once, sorted by file and place.
    pub warnings: Vec<Problem>,
    /// The environments whose effective values differ. Environments in use come first, in the given order.
    pub changes: Vec<EnvironmentChange>,
    /// The number of parsed files.
    pub file_count: usize,
    /// The number of files to parse. It exceeds `file_count` if the deadline passed.
    pub known_file_count: usize,
    /// The number of checked environments.
    pub environment_count: usize,
    /// The number of environments to check. It exceeds `environment_count` if the deadline passed.
    pub known_count: usize,
    /// The first few files and environments that were not checked before the deadline.
    pub unchecked: Vec<String>,
    /// True if the revision was compared with an older one.
    pub is_compared: bool,
    /// What the reader of the report may not read.
    pub hidden: HiddenCounts,
}

/// The numbers of what a report does not show to its reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HiddenCounts {
    pub problems: usize,
    pub warnings: usize,
    /// The environments whose effective values differ.
    pub environments: usize,
}

impl CheckReport {
    /// Returns true if every file and every environment was checked.
    pub fn is_finished(&self) -> bool {
        self.file_count == self.known_file_count && self.environment_count == self.known_count
    }

    /// Returns true if a problem was found, whether it is shown or not.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty() || self.hidden.problems > 0
    }

    fn leave_out(&mut self, name: String) {
        if self.unchecked.len() < UNCHECKED_COUNT_MAX {
            self.unchecked.push(name);
        }
    }
}

/// The change of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentChange {
    pub query: Query,
    pub change: Change,
    /// The number of watchers that the change notifies.
    pub watcher_count: usize,
}

/// Checks a snapshot, compared with an older one if there is one: first the environments in use, in the given order, then all
/// other known environments that the change can affect. The older snapshot is treated as if it had the label of the new one.
///
/// # Errors
/// When a source cannot be read.
pub fn check(
    new: &Snapshot,
    old: Option<&Snapshot>,
    in_use: &[EnvironmentInUse],
    terms: &CheckPolicy,
) -> Result<CheckReport, TreeError> {
    let old = old.map(|old| at_label_of(new, old));
    let mut check = Check::new(new, old.as_ref(), terms)?;
    for (index, member) in new.members.iter().enumerate() {
        check.member(index, member)?;
    }
    check.environments(in_use)?;
    Ok(check.finish())
}

/// Checks only what the policy requires of the values and links in changed files, as for a commit that does not become the tip
/// of a branch. `texts` are those of the older snapshot, and are read once for all commits of a push.
///
/// # Errors
/// When a source cannot be read.
pub fn check_values(
    new: &Snapshot,
    old: Option<&Snapshot>,
    texts: &mut SealedTexts,
    terms: &CheckPolicy,
) -> Result<CheckReport, TreeError> {
    let old = old.map(|old| at_label_of(new, old));
    let mut check = Check::new(new, old.as_ref(), terms)?;
    std::mem::swap(&mut check.sealed_texts, texts);
    for (index, member) in new.members.iter().enumerate() {
        check.member_values(index, member)?;
    }
    std::mem::swap(&mut check.sealed_texts, texts);
    Ok(check.finish())
}

/// The older snapshot, treated as if it had the label of the new one.
pub fn at_label_of(new: &Snapshot, old: &Snapshot) -> Snapshot {
    let mut old = old.clone();
    for (old, new) in old.members.iter_mut().zip(&new.members) {
        old.label.clone_from(&new.label);
    }
    old
}

/// The most problems, and the most warnings, that one report holds.
const FINDING_COUNT_MAX: usize = 1_000;
/// The most unchecked files and environments that one report names.
const UNCHECKED_COUNT_MAX: usize = 3;

/// A bounded set of problems.
#[derive(Default)]
struct ProblemSet(BTreeSet<(Origin, Option<Arc<str>>, String)>);

impl ProblemSet {
    fn add(&mut self, problem: Problem) {
        if self.0.len() < FINDING_COUNT_MAX {
            self.0.insert((problem.origin, problem.key, problem.message));
        }
    }

    fn finish(self) -> Vec<Problem> {
        let problems = self.0.into_iter();
        problems.map(|(origin, key, message)| Problem { origin, key, message }).collect()
    }
}

/// A check in progress.
struct Check<'a> {
    new: &'a Snapshot,
    old: Option<&'a Snapshot>,
    differences: Differences,
    terms: &'a CheckPolicy,
    compared: ComparedDocuments,
    directories: DirectoryCache,
    schemas: Schemas,
    sealed_texts: SealedTexts,
    contract_findings: ContractFindings,
    unread_keys: UnreadKeys,
    problems: ProblemSet,
    warnings: ProblemSet,
    /// Problems that the reader of the report may not read.
    hidden_problems: ProblemSet,
    hidden_warnings: ProblemSet,
    report: CheckReport,
}

impl<'a> Check<'a> {
    fn new(
        new: &'a Snapshot,
        old: Option<&'a Snapshot>,
        terms: &'a CheckPolicy,
    ) -> Result<Self, TreeError> {
        Ok(Self {
            new,
            old,
            differences: match old {
                Some(old) => Differences::between(old, new)?,
                None => Differences::Everything,
            },
            terms,
            compared: ComparedDocuments::default(),
            directories: DirectoryCache::default(),
            schemas: Schemas::default(),
            sealed_texts: SealedTexts::default(),
            contract_findings: ContractFindings::default(),
            unread_keys: UnreadKeys::default(),
            problems: ProblemSet::default(),
            warnings: ProblemSet::default(),
            hidden_problems: ProblemSet::default(),
            hidden_warnings: ProblemSet::default(),
            report: CheckReport { is_compared: old.is_some(), ..CheckReport::default() },
        })
    }

    /// The older version of a member.
    fn before(&self, index: usize, member: &Member) -> Option<&'a Member> {
        let before = self.old.and_then(|old| old.members.get(index));
        before.filter(|before| before.layout == member.layout)
    }

    /// The files of a member that differ from the older version.
    fn changed_files(
        &self,
        index: usize,
        member: &Member,
        before: Option<&Member>,
    ) -> Result<Vec<String>, TreeError> {
        match (&self.differences, before) {
            (Differences::Members(changes), Some(_)) => Ok(changes[index].files.clone()),
            (_, Some(before)) => Ok(member.tree.changes(&before.tree)?.files),
            (_, None) => {
                let mut paths = Vec::new();
                member.tree.walk(&mut |path| paths.push(path.to_owned()))?;
                Ok(paths)
            }
        }
    }

    /// Checks the values and links in the changed files of one member.
    fn member_values(&mut self, index: usize, member: &Member) -> Result<(), TreeError> {
        let before = self.before(index, member);
        self.links(member, before)?;
        for path in self.changed_files(index, member, before)? {
            if resolve::is_configuration(&member.layout, &path) {
                self.unsearched_file(member, before, &path)?;
            }
        }
        Ok(())
    }

    /// Checks the changed files of one member.
    fn member(&mut self, index: usize, member: &Member) -> Result<(), TreeError> {
        let before = self.before(index, member);
        if self.terms.rules.contains(&Rule::Entries) {
            let audience = self.terms.audience.as_deref();
            let unfit = entries::findings(member, before.map(|before| &before.tree), audience)?;
            unfit.into_iter().for_each(|(severity, problem)| self.add(severity, problem, None));
        }
        self.links(member, before)?;
        self.plan(member, before)?;
        let paths = self.changed_files(index, member, before)?;
        for (done, path) in paths.iter().enumerate() {
            self.terms.progress.report(Stage::Files, done, paths.len());
            if is_looked_for(member, path) {
                self.file(member, before, path)?;
            } else if member.areas.exist() && resolve::is_configuration(&member.layout, path) {
                self.unsearched_file(member, before, path)?;
            } else if self.terms.rules.contains(&Rule::Entries) && is_ignored_toml(member, path)? {
                let problem = Problem {
                    origin: Origin { file: path.as_str().into(), position: None },
                    key: None,
                    message: IGNORED_TOML.to_owned(),
                };
                self.add(FindingSeverity::Warning, problem, None);
            }
        }
        Ok(())
    }

    /// Checks that a configuration file parses, and that its new sealed values can be opened.
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
            self.leave_out_file(path);
            return Ok(());
        }
        self.report.file_count += 1;
        let error = match member.tree.documents(&file)? {
            Ok(documents) => {
                self.values(member, before, path, &documents)?;
                return self.sealed_values(before, path, &documents);
            }
            Err(error) => error,
        };
        let was = match before {
            Some(before) => before.tree.file(path)?.map(|file| before.tree.documents(&file)),
            None => None,
        };
        let was = was.transpose()?.map(Result::err);
        // A file of another kind is a problem only if it replaces configuration.
        let is_known = match &was {
            None => error.is_foreign,
            Some(None) => false,
            Some(Some(was)) => error.is_foreign || was.message == error.message,
        };
        if !is_known {
            self.add(FindingSeverity::Problem, parse_problem(path, error), None);
        }
        Ok(())
    }

    /// Checks the values of a file that only imports lead to.
    fn unsearched_file(
        &mut self,
        member: &Member,
        before: Option<&Member>,
        path: &str,
    ) -> Result<(), TreeError> {
        let Some(file) = member.tree.file(path)? else { return Ok(()) };
        match member.tree.documents(&file)? {
            Ok(documents) => self.values(member, before, path, &documents),
            Err(_) => Ok(()),
        }
    }

    /// Checks that each sealed value of a file opens, unless the file had the value before.
    fn sealed_values(
        &mut self,
        before: Option<&Member>,
        path: &str,
        documents: &[Document],
    ) -> Result<(), TreeError> {
        if self.terms.keys.is_empty() || sealed(documents).next().is_none() {
            return Ok(());
        }
        let was = match before {
            Some(before) => before.tree.file(path)?.map(|file| before.tree.documents(&file)),
            None => None,
        };
        let was = was.transpose()?.and_then(Result::ok);
        let known = was.iter().flat_map(|documents| sealed(documents));
        let known: HashSet<(&str, &str)> =
            known.map(|(property, text)| (bound_key(&property.key, text), text)).collect();
        let file: Arc<str> = path.into();
        let opener = Opener::new(Some(path), documents.first(), &self.terms.keys);
        if let Some(message) = opener.broken_file() {
            let origin = Origin { file, position: None };
            self.problems.add(Problem { origin, key: None, message });
            return Ok(());
        }
        for (property, text) in sealed(documents) {
            let Property { key, position, .. } = property;
            // All values of a SOPS file open together, or none does.
            let is_in_sops = SealedKind::of_sealed(text) == SealedKind::Sops;
            if !is_in_sops && known.contains(&(bound_key(key, text), text)) {
                continue;
            }
            // An RSA key takes milliseconds for each value.
            if self.is_late() {
                self.report.file_count -= 1;
                self.leave_out_file(path);
                return Ok(());
            }
            if let Opening::Failed(failure) = opener.open(key, text)
                && !failure.is_pending
            {
                let problem = reveal::unopened_problem(&file, key, *position, failure.message);
                self.add(FindingSeverity::Problem, problem, None);
            }
        }
        Ok(())
    }

    fn environments(&mut self, in_use: &[EnvironmentInUse]) -> Result<(), TreeError> {
        let terms: &'a CheckPolicy = self.terms;
        let mut seen = HashSet::new();
        let mut queue = Vec::new();
        for EnvironmentInUse { query, watcher_count } in in_use {
            if seen.insert(Query { label: Label::Default, ..query.clone() }) {
                queue.push((query.clone(), *watcher_count, &terms.rules[..]));
            }
        }
        let mut known = match self.old {
            Some(old) => affected::affected(self.new, old, &self.differences)?,
            None => catalog::catalog(self.new)?.queries(&Label::Default),
        };
        known.retain(|query| !seen.contains(query));
        // The shared files need not satisfy the rules alone, because the files of an application complete them.
        let is_all = known.iter().all(is_everyone);
        queue.extend(known.into_iter().map(|query| {
            let rules = if is_everyone(&query) && !is_all { &[][..] } else { &terms.rules[..] };
            (query, 0, rules)
        }));
        for (at, (query, watcher_count, rules)) in queue.iter().enumerate() {
            terms.progress.report(Stage::Environments, at, queue.len());
            if self.is_late() {
                self.leave_out(queue[at..].iter().map(|(query, ..)| query));
                return Ok(());
            }
            self.environment(query, *watcher_count, rules)?;
        }
        Ok(())
    }

    fn leave_out_file(&mut self, path: &str) {
        if self.terms.audience.as_ref().is_none_or(|it| it.reads_file(path)) {
            self.report.leave_out(path.to_owned());
        }
    }

    fn leave_out<'q>(&mut self, queries: impl ExactSizeIterator<Item = &'q Query>) {
        self.report.known_count += queries.len();
        let audience = self.terms.audience.as_deref();
        let is_shown = |query: &&Query| audience.is_none_or(|it| it.reads_environment(query));
        for query in queries.filter(is_shown).take(UNCHECKED_COUNT_MAX) {
            self.report.leave_out(format!("{}/{}", query.application, query.profiles));
        }
    }

    fn is_late(&self) -> bool {
        self.terms.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Checks one environment, unless the change cannot affect it.
    fn environment(
        &mut self,
        query: &Query,
        watcher_count: usize,
        rules: &[Rule],
    ) -> Result<(), TreeError> {
        let overrides = self.terms.overrides.as_ref();
        let after = Resolution::of(self.new, query, overrides, &mut self.directories)?;
        if self.old.is_some() && !after.is_affected(&self.differences) {
            return Ok(());
        }
        self.report.environment_count += 1;
        self.report.known_count += 1;
        let Some(old) = self.old else {
            let found = after.judge(rules, CheckScope::Everything, &mut self.schemas)?;
            self.add_all(found, query);
            return Ok(());
        };
        let before = Resolution::of(old, query, overrides, &mut self.directories)?;
        if !after.is_comparable(&before) {
            if before.problems.is_empty() && after.problems.is_empty() {
                self.contracts(query, &before, &after, rules, Touched::Everything);
            }
            self.add_change(query, watcher_count, change_of(&before, &after));
            return self.judge(query, &before, &after, rules, CheckScope::Everything);
        }
        let sources = [&before, &after].map(|of| &of.environment.sources[..]);
        let differences = self.compared.differences(sources[0], sources[1]);
        if differences.is_empty() {
            return Ok(());
        }
        self.add_change(query, watcher_count, impact::change(&differences));
        let scope = CheckScope::of(&differences, &after);
        let keys: Vec<&str> = differences.iter().map(|difference| &**difference.key).collect();
        let touched = match scope.reaches_placeholders() {
            true => Touched::Everything,
            false => Touched::Keys(&keys),
        };
        self.contracts(query, &before, &after, rules, touched);
        self.find_unread(query, &differences, &after, rules);
        self.judge(query, &before, &after, rules, scope)
    }

    fn add_change(&mut self, query: &Query, watcher_count: usize, change: Change) {
        if change.is_empty() {
            return;
        }
        if self.terms.audience.as_ref().is_some_and(|it| !it.reads_environment(query)) {
            self.report.hidden.environments += 1;
        } else {
            let query = query.clone();
            self.report.changes.push(EnvironmentChange { query, change, watcher_count });
        }
    }

    /// Adds the findings of an environment that it did not have before the change.
    fn judge(
        &mut self,
        query: &Query,
        before: &Resolution,
        after: &Resolution,
        rules: &[Rule],
        scope: CheckScope<'_>,
    ) -> Result<(), TreeError> {
        let mut found = after.judge(rules, scope, &mut self.schemas)?;
        if !found.is_empty() {
            let had = before.judge(rules, scope, &mut self.schemas)?;
            let had: HashSet<_> = had.iter().map(|(_, problem)| identity(problem)).collect();
            found.retain(|(_, problem)| !had.contains(&identity(problem)));
        }
        self.add_all(found, query);
        Ok(())
    }

    fn add_all(&mut self, found: Vec<(FindingSeverity, Problem)>, query: &Query) {
        for (severity, problem) in found {
            self.add(severity, problem, Some(query));
        }
    }

    /// Adds a finding, reduced to what the reader of the report may know. `query` is the environment that shows it.
    fn add(&mut self, severity: FindingSeverity, problem: Problem, query: Option<&Query>) {
        let shown = audience::reduced(self.terms.audience.as_deref(), problem.clone(), query);
        let set = match (severity, &shown) {
            (FindingSeverity::Problem, Some(_)) => &mut self.problems,
            (FindingSeverity::Warning, Some(_)) => &mut self.warnings,
            (FindingSeverity::Problem, None) => &mut self.hidden_problems,
            (FindingSeverity::Warning, None) => &mut self.hidden_warnings,
        };
        set.add(shown.unwrap_or(problem));
    }

    fn finish(mut self) -> CheckReport {
        self.add_contract_findings();
        self.report.problems = self.problems.finish();
        self.report.warnings = self.warnings.finish();
        self.report.hidden.problems = self.hidden_problems.0.len();
        self.report.hidden.warnings = self.hidden_warnings.0.len();
        self.report
    }
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FindingSeverity {
    Problem,
    Warning,
}

fn is_everyone(query: &Query) -> bool {
    &*query.application == SHARED_APPLICATION
}

/// The sealed values of a file with their texts.
fn sealed(documents: &[Document]) -> impl Iterator<Item = (&Property, &str)> {
    let properties = documents.iter().flat_map(|document| &document.properties);
    properties.filter_map(|property| match &property.value {
        Value::Sealed(text) => Some((property, &**text)),
        Value::Plain(_) | Value::Opened(_) => None,
    })
}

/// The key to which a sealed value is bound. A value that is bound to no key may move to another one.
fn bound_key<'k>(key: &'k str, sealed: &str) -> &'k str {
    if SealedKind::of_sealed(sealed) == SealedKind::Cipher { "" } else { key }
}

/// The difference between two revisions of an environment. Empty if one of them does not resolve.
fn change_of(before: &Resolution, after: &Resolution) -> Change {
    if before.problems.is_empty() && after.problems.is_empty() {
        change::change(&before.environment, &after.environment)
    } else {
        Change::default()
    }
}

/// The identity of a problem, without its position in the file.
fn identity(problem: &Problem) -> (&str, Option<&str>, &str) {
    (&problem.origin.file, problem.key.as_deref(), &problem.message)
}

/// Returns true if the path is a configuration file in a search directory. Other files are checked where they are imported.
fn is_looked_for(member: &Member, path: &str) -> bool {
    resolve::is_configuration(&member.layout, path)
        && resolve::searchers(member, catalog::directory_of(path)) != Searchers::None
}

/// The warning for a file that would be configuration if the source read TOML.
const IGNORED_TOML: &str = "is ignored, because this source does not read .toml files: set toml = true for the source, \
     or write the file in another format";

/// Returns true for a TOML file that probably was meant as configuration although the source does not read TOML: its name is
/// that of an application, or the source has no other configuration.
fn is_ignored_toml(member: &Member, path: &str) -> Result<bool, TreeError> {
    let directory = catalog::directory_of(path);
    if !resolve::is_ignored_toml(&member.layout, path)
        || resolve::searchers(member, directory) == Searchers::None
        || member.tree.file(path)?.is_none()
    {
        return Ok(false);
    }
    let stem = catalog::stem_of(path);
    for name in catalog::splits_at_dash(stem).map(|(head, _)| head).chain([stem]) {
        if name == SHARED_APPLICATION || affected::has_own_file(member, directory, name)? {
            return Ok(true);
        }
    }
    let mut has_configuration = false;
    member.tree.walk(&mut |path| {
        has_configuration |= resolve::is_configuration(&member.layout, path);
    })?;
    Ok(!has_configuration)
}

fn parse_problem(path: &str, error: ParseError) -> Problem {
    Problem {
        origin: Origin { file: path.into(), position: error.position },
        key: None,
        message: error.message,
    }
}

#[cfg(test)]
mod tests;
