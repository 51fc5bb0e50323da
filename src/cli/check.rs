//! `headwater check`: what the server would say to this revision, for a repository's own CI and for its hooks.

mod pre_receive;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Output, output};
use crate::check::{self, EnvironmentChange, Manner, Report, Strictness, Terms};
use crate::model::{Label, Problem};
use crate::server;
use crate::settings::{Flags, Settings};
use crate::source::{Source, SourceError};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A git repository or a directory [default: what headwater.toml says, or ./config-repo]
    #[arg(env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// Branch, tag, full commit id or folder
    #[arg(long, short)]
    label: Option<String>,
    /// Report only what is wrong beyond this label, and what changes since
    #[arg(long)]
    base: Option<String>,
    /// Take a placeholder that nothing resolves for a problem, not for a warning
    #[arg(long)]
    strict: bool,
    /// Directory in which files are looked for, with {application}, {profile} and {label}; may be given several times
    #[arg(long = "search-path", value_name = "PATH")]
    search_paths: Vec<String>,
    /// Settings file [default: headwater.toml, where there is one]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    /// Judge what git receives: as the pre-receive hook of any bare repository
    #[arg(long, conflicts_with_all = ["label", "base", "output"])]
    pre_receive: bool,
    #[command(flatten)]
    received: pre_receive::Received,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = settings(&arguments)?;
    let terms = terms(&arguments, &settings);
    if arguments.pre_receive {
        return pre_receive::run(&arguments.received, &settings, terms);
    }
    let runtime = output::runtime()?;
    let source = output::open(&settings, &runtime)?;
    let load = |label: Option<&str>| {
        let label = label.map_or(Label::Default, |name| Label::Named(name.into()));
        runtime.block_on(source.load(&label, None))
    };
    let new = match load(arguments.label.as_deref()) {
        Ok(snapshot) => snapshot,
        Err(error) => return fails(&*source, error),
    };
    let old = arguments.base.as_deref().map(|base| load(Some(base))).transpose()?;
    let mut report = check::check(&new, old.as_ref(), &[], &terms)?;
    report.problems.extend(source.problems().into_iter().map(|it| it.problem));
    match arguments.output {
        Output::Json => output::print(&format!("{}\n", as_json(&report)))?,
        Output::Table => {
            for line in check::findings(&report) {
                output::print(&format!("{line}\n"))?;
            }
            check::outcome(&report, Manner::Tell).iter().for_each(|line| eprintln!("{line}"));
        }
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Nothing can be checked. What is wrong in the source itself may be why.
fn fails(source: &dyn Source, error: SourceError) -> anyhow::Result<ExitCode> {
    let problems = source.problems();
    for problem in &problems {
        output::print(&format!("{}\n", output::one_line(&problem.problem.to_string())))?;
    }
    match error {
        SourceError::Unavailable { .. } if problems.is_empty() => Err(error.into()),
        error => {
            eprintln!("headwater: {error}");
            Ok(ExitCode::from(1))
        }
    }
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let Arguments { source, config, search_paths, .. } = arguments;
    let flags = Flags { source: source.clone(), config: config.clone(), ..Flags::default() };
    let mut settings = Settings::load(flags)?;
    if !search_paths.is_empty() {
        for source in &mut settings.sources {
            source.search_paths.clone_from(search_paths);
        }
    }
    Ok(settings)
}

/// Nobody waits for this but who asked, so it takes the time it takes.
fn terms(arguments: &Arguments, settings: &Settings) -> Terms {
    let strictness = match arguments.strict || settings.push.strict {
        true => Strictness::Strict,
        false => Strictness::Lenient,
    };
    Terms { overrides: server::additions(settings).overrides, ..Terms::new(strictness) }
}

fn as_json(report: &Report) -> Value {
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
