//! `headwater status`: the replicas of a server, their lag and their problems.

mod fleet;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use headwater_wire::{ProblemList, ReplicaList};
use serde_json::{Value, json};

use super::{OutputForm, environment, output, sources};

/// The time after which servers without an answer are a failure.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    server: environment::ServerArguments,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: StatusArguments) -> anyhow::Result<ExitCode> {
    let client = arguments.server.client().deadline(DEADLINE).build()?;
    let texts = sources::runtime()?.block_on(client.resources(&["replicas", "problems"]))?;
    let [replicas, problems] = &*texts else {
        anyhow::bail!("the server returned too few answers")
    };
    let fleet: ReplicaList = read(replicas)?;
    let present: ProblemList = read(problems)?;
    let findings = fleet::findings(&fleet, &present);
    output::print(&match arguments.output {
        OutputForm::Table => {
            fleet::table(&fleet) + &lines(&findings) + &lines(&fleet::notices(&present))
        }
        OutputForm::Json => {
            let (replicas, problems): (Value, Value) = (read(replicas)?, read(problems)?);
            let document = json!({
                "findings": findings,
                "share": replicas["share"],
                "replicas": replicas["replicas"],
                "problems": problems["problems"],
            });
            format!("{document}\n")
        }
    })?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Reads an answer. What the parser says may quote it, so it is not passed on.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).ok().context("the answer is not from a Headwater of this version")
}

/// Lines after an empty one.
fn lines(findings: &[String]) -> String {
    let lines = findings.iter().map(|finding| format!("{finding}\n"));
    let gap = if findings.is_empty() { "" } else { "\n" };
    gap.to_owned() + &lines.collect::<String>()
}
