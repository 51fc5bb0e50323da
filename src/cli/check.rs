//! `headwater check`: what the server would say to this revision, for a repository's own CI.

use std::process::ExitCode;

use serde_json::json;

use super::{Output, output};
use crate::check::{self, Manner, Report, Strictness, Terms};
use crate::model::Label;
use crate::source::SourceError;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A git repository or a directory [default: what headwater.toml says, or ./config-repo]
    #[arg(env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// Branch, tag, full commit id or folder
    #[arg(long, short)]
    label: Option<String>,
    /// Report only what is wrong beyond this label
    #[arg(long)]
    base: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let source = output::open(&output::settings(&arguments.source)?)?;
    let runtime = output::runtime()?;
    let load = |label: Option<&str>| {
        let label = label.map_or(Label::Default, |name| Label::Named(name.into()));
        runtime.block_on(source.load(&label, None))
    };
    let new = match load(arguments.label.as_deref()) {
        Ok(snapshot) => snapshot,
        Err(error @ SourceError::UnknownLabel(_)) => {
            eprintln!("headwater: {error}");
            return Ok(ExitCode::from(1));
        }
        Err(error) => return Err(error.into()),
    };
    let old = arguments.base.as_deref().map(|base| load(Some(base))).transpose()?;
    let report = check::check(&new, old.as_ref(), &[], &Terms::new(Strictness::Lenient))?;
    match arguments.output {
        Output::Json => output::print(&format!("{}\n", as_json(&report)))?,
        Output::Table => {
            for line in check::findings(&report) {
                output::print(&format!("{line}\n"))?;
            }
            check::outcome(&report, Manner::Refuse).iter().for_each(|line| eprintln!("{line}"));
        }
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn as_json(report: &Report) -> serde_json::Value {
    json!({
        "files": report.file_count,
        "environments": report.environment_count,
        "known": report.known_count,
        "problems": report.problems.iter().map(|problem| json!({
            "file": &*problem.origin.file,
            "line": problem.origin.position.map(|position| position.line),
            "column": problem.origin.position.map(|position| position.column),
            "key": problem.key.as_deref(),
            "reason": problem.message,
        })).collect::<Vec<_>>(),
    })
}
