//! `headwater check`: the checks of a push, for the CI and the hooks of a repository.

mod pre_receive;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{OutputForm, output, progress, sources};
use crate::check::{self, CheckPolicy, CheckReport, Enforcement, EnvironmentChange, Strictness};
use crate::model::{Label, Problem};
use crate::server;
use crate::settings::{Flags, Settings};
use crate::source::{Source, SourceError};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// Source to check, as in `serve` [default: the sources of headwater.toml, or ./config-repo]
    #[arg(env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// Branch, tag, full commit id or folder
    #[arg(long, short)]
    label: Option<String>,
    /// Report only problems that this label does not have, and the changes since
    #[arg(long)]
    base: Option<String>,
    /// Treat a placeholder without a value as a problem. Without this flag, it is a warning
    #[arg(long)]
    strict: bool,
    /// Directory to search for files, with {application}, {profile} and {label}. Repeatable
    #[arg(long = "search-path", value_name = "PATH")]
    search_paths: Vec<String>,
    /// Read .toml files as configuration, as for a hosted repository
    #[arg(long)]
    toml: bool,
    /// Settings file [default: headwater.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    /// Check the commits that git receives. For the pre-receive hook of a bare repository
    #[arg(long, conflicts_with_all = ["label", "base", "output"])]
    pre_receive: bool,
    #[command(flatten)]
    received: pre_receive::HookEnvironment,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: CheckArguments) -> anyhow::Result<ExitCode> {
    let settings = settings(&arguments)?;
    let terms = terms(&arguments, &settings);
    if arguments.pre_receive {
        return pre_receive::run(&arguments.received, &settings, terms);
    }
    let runtime = sources::runtime()?;
    let source = sources::open(&settings, &runtime)?;
    let load = |label: Option<&str>| {
        let label = label.map_or(Label::Default, |name| Label::Named(name.into()));
        runtime.block_on(sources::load(&*source, &label))
    };
    let new = match load(arguments.label.as_deref()) {
        Ok(snapshot) => snapshot,
        Err(error) => return fails(&*source, error),
    };
    let old = arguments.base.as_deref().map(|base| load(Some(base))).transpose()?;
    let mut report = check::check(&new, old.as_ref(), &[], &terms)?;
    // Clears the progress before the report is printed.
    drop(terms);
    report.problems.extend(source.problems().into_iter().map(|it| it.problem));
    match arguments.output {
        OutputForm::Json => output::print(&format!("{}\n", as_json(&report)))?,
        OutputForm::Table => {
            for line in check::finding_lines(&report) {
                output::print(&format!("{line}\n"))?;
            }
            check::outcome_lines(&report, Enforcement::Tell)
                .iter()
                .for_each(|line| eprintln!("{line}"));
        }
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Reports a source that cannot be loaded. Problems of the source itself may be the reason.
fn fails(source: &dyn Source, error: SourceError) -> anyhow::Result<ExitCode> {
    let problems = source.problems();
    for problem in &problems {
        output::print(&format!("{}\n", output::one_line(&problem.problem.to_string())))?;
    }
    match error {
        SourceError::Unavailable { .. } if problems.is_empty() => Err(error.into()),
        error => {
            output::complain(error);
            Ok(ExitCode::from(1))
        }
    }
}

fn settings(arguments: &CheckArguments) -> anyhow::Result<Settings> {
    let CheckArguments { source, config, search_paths, .. } = arguments;
    let toml = arguments.toml.then_some(true);
    let flags = Flags { source: source.clone(), config: config.clone(), toml, ..Flags::default() };
    let mut settings = Settings::load(flags)?;
    if !search_paths.is_empty() {
        for source in &mut settings.sources {
            source.search_paths.clone_from(search_paths);
        }
    }
    Ok(settings)
}

/// The terms of a check on the command line, which has no time limit.
fn terms(arguments: &CheckArguments, settings: &Settings) -> CheckPolicy {
    let strictness = if arguments.strict || settings.push.strict {
        Strictness::Strict
    } else {
        Strictness::Lenient
    };
    CheckPolicy {
        overrides: server::answer_settings(settings).overrides,
        progress: progress::of_check(),
        ..CheckPolicy::new(strictness)
    }
}

fn as_json(report: &CheckReport) -> Value {
    json!({
        "files": report.file_count,
        "environments": report.environment_count,
        "known": report.known_count,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "warnings": report.warnings.iter().map(problem).collect::<Vec<_>>(),
        "changes": report.changes.iter().map(change).collect::<Vec<_>>(),
    })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "file": &*problem.origin.file,
        "line": problem.origin.position.map(|position| position.line),
        "column": problem.origin.position.map(|position| position.column),
        "key": problem.key.as_deref(),
        "reason": problem.message,
    })
}

fn change(EnvironmentChange { query, change, .. }: &EnvironmentChange) -> Value {
    json!({
        "application": &*query.application,
        "profiles": &*query.profiles,
        "added": change.added.iter().map(|key| &**key).collect::<Vec<_>>(),
        "removed": change.removed.iter().map(|key| &**key).collect::<Vec<_>>(),
        "changed": change.changed.iter().map(|key| &**key).collect::<Vec<_>>(),
    })
}
