//! `headwater diff`: the keys that differ between two revisions, for every known environment.

use std::collections::{BTreeSet, HashSet};
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::{OutputForm, difference, output, progress, sources};
use crate::catalog::catalog;
use crate::change::effective;
use crate::check::{
    self, CheckPolicy, CheckReport, EnvironmentChange, EnvironmentInUse, Strictness,
};
use crate::model::{Environment, Label, Problem, Query};
use crate::resolve;
use crate::snapshot::Snapshot;
use crate::source::{Source, SourceError};

/// The most environments that are listed.
const LISTED_COUNT_MAX: usize = 1_000;
/// The most problems that are listed.
const PROBLEM_COUNT_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct DiffArguments {
    /// Old branch, tag, full commit id or folder
    old: String,
    /// New branch, tag, full commit id or folder
    new: String,
    /// Source to read, as in `serve` [default: the sources of headwater.toml, or ./config-repo]
    #[arg(long, env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// Compare only the environments of this service
    #[arg(long)]
    application: Option<String>,
    /// Compare only environments with these profiles, separated by commas as a service requests them
    #[arg(long)]
    profiles: Option<String>,
    /// Print values too, which may be secrets
    #[arg(long)]
    values: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

/// Two revisions and their differences.
struct RevisionComparison {
    old: Snapshot,
    new: Snapshot,
    /// The check of the new revision against the old one.
    report: CheckReport,
    /// The problems of the old revision that the new one does not have.
    repaired: Vec<Problem>,
}

pub(super) fn run(arguments: DiffArguments) -> anyhow::Result<ExitCode> {
    let runtime = sources::runtime()?;
    let source = sources::open(&sources::settings(&arguments.source)?, &runtime)?;
    let old = runtime.block_on(load(&*source, &arguments.old))?;
    let new = runtime.block_on(load(&*source, &arguments.new))?;
    let comparison = RevisionComparison::of(old, new, &arguments)?;
    match arguments.output {
        OutputForm::Json => output::print(&format!("{}\n", comparison.as_json(&arguments)?))?,
        OutputForm::Table => {
            output::print(&comparison.as_text(&arguments)?)?;
            eprintln!("{}", comparison.summary());
        }
    }
    Ok(if comparison.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Loads a label. A label is a name and never a revision expression.
async fn load(source: &dyn Source, label: &str) -> anyhow::Result<Snapshot> {
    match sources::load(source, &Label::Named(label.into())).await {
        Ok(snapshot) => Ok(snapshot),
        Err(error @ SourceError::UnknownLabel(_)) => bail!(
            "{error}: name a branch, a tag or a folder, or a full commit id as `git rev-parse` prints it"
        ),
        Err(error) => Err(error.into()),
    }
}

impl RevisionComparison {
    fn of(old: Snapshot, new: Snapshot, arguments: &DiffArguments) -> anyhow::Result<Self> {
        // Effective values only. Schemas and placeholders are for `check`.
        let terms = CheckPolicy {
            rules: Vec::new(),
            progress: progress::of_check(),
            ..CheckPolicy::new(Strictness::Lenient)
        };
        let also = also(&old, &new, arguments)?;
        let mut report = check::check(&new, Some(&old), &also, &terms)?;
        report.changes.retain(|change| arguments.want(&change.query));
        report.changes.sort_by_key(|change| name(&change.query));
        let mut repaired = check::check(&old, Some(&new), &[], &terms)?.problems;
        if arguments.is_filtered() {
            let wanted = |snapshot: &Snapshot| -> anyhow::Result<Vec<Problem>> {
                let queries = catalog(snapshot)?.queries(&Label::Default).into_iter();
                met(snapshot, queries.filter(|query| arguments.want(query)))
            };
            let (of_old, of_new) = (wanted(&old)?, wanted(&new)?);
            repaired.retain(|problem| of_old.contains(problem));
            report.problems.retain(|problem| of_new.contains(problem));
        }
        Ok(Self { old, new, report, repaired })
    }

    fn is_empty(&self) -> bool {
        self.report.changes.is_empty()
            && self.report.problems.is_empty()
            && self.repaired.is_empty()
    }

    fn listed(&self) -> &[EnvironmentChange] {
        &self.report.changes[..self.report.changes.len().min(LISTED_COUNT_MAX)]
    }

    fn omitted_count(&self) -> usize {
        self.report.changes.len() - self.listed().len()
    }

    fn environments(&self, query: &Query) -> anyhow::Result<[Environment; 2]> {
        Ok([environment(&self.old, query)?, environment(&self.new, query)?])
    }

    fn as_text(&self, arguments: &DiffArguments) -> anyhow::Result<String> {
        let mut text = String::new();
        for EnvironmentChange { query, change, .. } in self.listed() {
            text +=
                &format!("{}: {}\n", output::one_line(&name(query)), difference::summary(change));
            let environments =
                if arguments.values { Some(self.environments(query)?) } else { None };
            let values = environments.as_ref().map(|[old, new]| (old, new));
            text += &difference::lines(change, values, "  ");
        }
        if self.omitted_count() > 0 {
            text += &format!("and {} more environments\n", self.omitted_count());
        }
        text += &problems(&self.repaired, &format!("cannot be used at {}", arguments.old));
        text += &problems(&self.report.problems, &format!("cannot be used at {}", arguments.new));
        Ok(text)
    }

    fn summary(&self) -> String {
        let CheckReport { environment_count, known_count, changes, .. } = &self.report;
        let of_known = if environment_count < known_count {
            format!(" of {known_count}")
        } else {
            String::new()
        };
        let compared = difference::plural(*environment_count, "environment");
        format!("compared {compared}{of_known} that may differ: {} do", changes.len())
    }

    fn as_json(&self, arguments: &DiffArguments) -> anyhow::Result<Value> {
        let mut environments = Vec::new();
        for EnvironmentChange { query, change, .. } in self.listed() {
            let mut shown = json!({
                "application": &*query.application,
                "profiles": &*query.profiles,
            });
            difference::add_keys(&mut shown, change);
            if arguments.values {
                let [old, new] = self.environments(query)?;
                let (old, new) = (effective(&old), effective(&new));
                let keys = [&change.added, &change.removed, &change.changed].into_iter().flatten();
                shown["values"] = keys
                    .map(|key| {
                        let old = old.get(key).map(|value| value.text());
                        let new = new.get(key).map(|value| value.text());
                        (key.to_string(), json!({"old": old, "new": new}))
                    })
                    .collect();
            }
            environments.push(shown);
        }
        let side = |label: &str, snapshot: &Snapshot| json!({"label": label, "revision": snapshot.revision.as_str()});
        Ok(json!({
            "old": side(&arguments.old, &self.old),
            "new": side(&arguments.new, &self.new),
            "compared": self.report.environment_count,
            "known": self.report.known_count,
            "environments": environments,
            "omitted": self.omitted_count(),
            "problems": {
                "old": problems_as_json(&self.repaired),
                "new": problems_as_json(&self.report.problems),
            },
        }))
    }
}

impl DiffArguments {
    fn is_filtered(&self) -> bool {
        self.application.is_some() || self.profiles.is_some()
    }

    /// The environment of both filters, which need not be a known one.
    fn named(&self) -> Option<Query> {
        let (application, profiles) = self.application.as_deref().zip(self.profiles.as_deref())?;
        let (application, profiles) = (application.into(), profiles.into());
        Some(Query { application, profiles, label: Label::Default })
    }

    fn want(&self, query: &Query) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.application, &query.application) && is(&self.profiles, &query.profiles)
    }
}

/// The environments that a check of the new revision would not find: the known ones of the old revision only, and the
/// filtered ones.
fn also(
    old: &Snapshot,
    new: &Snapshot,
    arguments: &DiffArguments,
) -> anyhow::Result<Vec<EnvironmentInUse>> {
    let known = catalog(new)?.queries(&Label::Default);
    let mut queries = catalog(old)?.queries(&Label::Default);
    if arguments.is_filtered() {
        queries.extend(known);
        queries.extend(arguments.named());
        queries.retain(|query| arguments.want(query));
    } else {
        let known: HashSet<Query> = known.into_iter().collect();
        queries.retain(|query| !known.contains(query));
    }
    Ok(queries.into_iter().map(|query| EnvironmentInUse { query, watcher_count: 0 }).collect())
}

/// Resolves a query at a revision, without the sources that are broken.
fn environment(snapshot: &Snapshot, query: &Query) -> anyhow::Result<Environment> {
    let mut sources = Vec::new();
    for index in resolve::choose(snapshot, query).unwrap_or_default() {
        let member = &snapshot.members[index];
        sources.extend(resolve::resolve(member, &member.tree, query)?.outcome.unwrap_or_default());
    }
    let Query { application, profiles, label } = query.clone();
    Ok(Environment { application, profiles, label, sources })
}

/// The problems of some environments.
fn met(snapshot: &Snapshot, queries: impl Iterator<Item = Query>) -> anyhow::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for query in queries {
        for index in resolve::choose(snapshot, &query).unwrap_or_default() {
            let member = &snapshot.members[index];
            problems.extend(resolve::resolve(member, &member.tree, &query)?.outcome.err());
        }
    }
    Ok(problems)
}

fn name(query: &Query) -> String {
    format!("{}/{}", query.application, query.profiles)
}

/// Prints a line for each problem. Many environments often share one problem.
fn problems(problems: &[Problem], what: &str) -> String {
    let lines: BTreeSet<String> =
        problems.iter().map(|problem| output::one_line(&problem.to_string())).collect();
    let mut text: String =
        lines.iter().take(PROBLEM_COUNT_MAX).map(|line| format!("{what}: {line}\n")).collect();
    if lines.len() > PROBLEM_COUNT_MAX {
        text += &format!("and {} more that {what}\n", lines.len() - PROBLEM_COUNT_MAX);
    }
    text
}

fn problems_as_json(problems: &[Problem]) -> Value {
    problems
        .iter()
        .take(PROBLEM_COUNT_MAX)
        .map(|problem| {
            json!({
                "file": &*problem.origin.file,
                "line": problem.origin.position.map(|position| position.line),
                "column": problem.origin.position.map(|position| position.column),
                "reason": problem.message,
            })
        })
        .collect()
}
