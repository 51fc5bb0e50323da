//! `headwater status`: which replicas there are, how far each is, and what is wrong.

mod fleet;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Output, output};
use fleet::{Fleet, Problems};

/// How long servers are asked before giving up.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The server to ask; of several, separated by commas, the first that answers
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// File with the token that the server wants
    #[arg(long, env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // No environment is asked for, so that any name will do.
    let asked = output::Asked {
        application: "application".to_owned(),
        profiles: "default".to_owned(),
        label: None,
    };
    let client = output::client(&asked, &arguments.url, arguments.token_file.as_deref())
        .deadline(DEADLINE)
        .build()?;
    let texts = output::runtime()?.block_on(client.resources(&["replicas", "problems"]))?;
    let [replicas, problems] = &*texts else { anyhow::bail!("an answer is missing") };
    let fleet: Fleet = read(replicas)?;
    let held_back: Problems = read(problems)?;
    let findings = fleet.findings(&held_back);
    output::print(&match arguments.output {
        Output::Table => fleet.table() + &lines(&findings),
        Output::Json => {
            let (replicas, problems): (Value, Value) = (read(replicas)?, read(problems)?);
            let told = json!({
                "findings": findings,
                "share": replicas["share"],
                "replicas": replicas["replicas"],
                "problems": problems["problems"],
            });
            format!("{told}\n")
        }
    })?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Reads an answer. What the parser says may quote it, so it is not passed on.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).ok().context("what answers there is no Headwater of this kind")
}

/// What is wrong, after an empty line.
fn lines(findings: &[String]) -> String {
    let lines = findings.iter().map(|finding| format!("{finding}\n"));
    let gap = if findings.is_empty() { "" } else { "\n" };
    gap.to_owned() + &lines.collect::<String>()
}
