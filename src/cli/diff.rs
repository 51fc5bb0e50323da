//! `headwater diff`: what differs between two revisions for those who are configured by them.

use std::collections::{BTreeSet, HashSet};
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::{Output, difference, output};
use crate::catalog::catalog;
use crate::change::effective;
use crate::check::{self, EnvironmentChange, InUse, Report, Strictness, Terms};
use crate::model::{Environment, Label, Problem, Query};
use crate::resolve;
use crate::snapshot::Snapshot;
use crate::source::{Source, SourceError};

/// The most environments that are listed.
const LISTED_COUNT_MAX: usize = 1_000;
/// The most problems that are listed.
const PROBLEM_COUNT_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Branch, tag, full commit id or folder
    old: String,
    /// What to compare it with
    new: String,
    /// Where configuration comes from [default: what headwater.toml says, or ./config-repo]
    #[arg(long, env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// Only this service's environments
    #[arg(long)]
    application: Option<String>,
    /// Only environments of these profiles, as a service asks for them
    #[arg(long)]
    profiles: Option<String>,
    /// Show values too, which may be secrets
    #[arg(long)]
    values: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Two revisions, and what differs between them.
struct Comparison {
    old: Snapshot,
    new: Snapshot,
    /// What a change from the old one to the new one means.
    report: Report,
    /// What is wrong with the old one, and not with the new one.
    repaired: Vec<Problem>,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = output::runtime()?;
    let source = output::open(&output::settings(&arguments.source)?, &runtime)?;
    let old = runtime.block_on(load(&*source, &arguments.old))?;
    let new = runtime.block_on(load(&*source, &arguments.new))?;
    let comparison = Comparison::of(old, new, &arguments)?;
    match arguments.output {
        Output::Json => output::print(&format!("{}\n", comparison.as_json(&arguments)?))?,
        Output::Table => {
            output::print(&comparison.as_text(&arguments)?)?;
            eprintln!("{}", comparison.summary());
        }
    }
    Ok(if comparison.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Labels are names here as everywhere, and never expressions.
async fn load(source: &dyn Source, label: &str) -> anyhow::Result<Snapshot> {
    match source.load(&Label::Named(label.into()), None).await {
        Ok(snapshot) => Ok(snapshot),
        Err(error @ SourceError::UnknownLabel(_)) => bail!(
            "{error}: it takes the name of a branch, a tag or a folder, or a full commit id as `git rev-parse` gives it"
        ),
        Err(error) => Err(error.into()),
    }
}

impl Comparison {
    fn of(old: Snapshot, new: Snapshot, arguments: &Arguments) -> anyhow::Result<Self> {
        // Nothing but what is effective: schemas and placeholders are for `check`.
        let terms = Terms { rules: Vec::new(), ..Terms::new(Strictness::Lenient) };
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

    fn as_text(&self, arguments: &Arguments) -> anyhow::Result<String> {
        let mut text = String::new();
        for EnvironmentChange { query, change, .. } in self.listed() {
            text +=
                &format!("{}: {}\n", output::one_line(&name(query)), difference::summary(change));
            let environments = match arguments.values {
                true => Some(self.environments(query)?),
                false => None,
            };
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
        let Report { environment_count, known_count, changes, .. } = &self.report;
        let of_known = match environment_count < known_count {
            true => format!(" of {known_count}"),
            false => String::new(),
        };
        let compared = difference::plural(*environment_count, "environment");
        format!("compared {compared}{of_known} that may differ: {} do", changes.len())
    }

    fn as_json(&self, arguments: &Arguments) -> anyhow::Result<Value> {
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

impl Arguments {
    fn is_filtered(&self) -> bool {
        self.application.is_some() || self.profiles.is_some()
    }

    /// The one environment that was asked for, whether anybody speaks of it or not.
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

/// Environments that a look at the new revision alone would not find: those that only the old one speaks of, and all that
/// were asked for by name.
fn also(old: &Snapshot, new: &Snapshot, arguments: &Arguments) -> anyhow::Result<Vec<InUse>> {
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
    Ok(queries.into_iter().map(|query| InUse { query, watcher_count: 0 }).collect())
}

/// What a query gives at a revision, as far as it can be resolved.
fn environment(snapshot: &Snapshot, query: &Query) -> anyhow::Result<Environment> {
    let mut sources = Vec::new();
    for index in resolve::choose(snapshot, query).unwrap_or_default() {
        let member = &snapshot.members[index];
        sources.extend(resolve::resolve(member, &member.tree, query)?.outcome.unwrap_or_default());
    }
    let Query { application, profiles, label } = query.clone();
    Ok(Environment { application, profiles, label, sources })
}

/// What is wrong with these environments.
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

/// A line for each; the same problem is often met by many environments.
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
