//! `headwater fleet`: which configuration the instances of services run, at all replicas.

mod findings;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use headwater_client::Client;
use headwater_wire::FleetStatus;

use super::{OutputForm, environment, output, sources};

/// The time after which servers without an answer are a failure.
const DEADLINE: Duration = Duration::from_secs(8);
/// The environments that are requested at a time.
const PAGE_COUNT: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct FleetArguments {
    /// Name of the service. Without it the command shows every service
    #[arg(env = "HEADWATER_APPLICATION")]
    application: Option<String>,
    /// Only these profiles, separated by commas
    #[arg(long)]
    profiles: Option<String>,
    /// Only this branch, tag, full commit id or folder
    #[arg(long, short)]
    label: Option<String>,
    /// Show the instance with this name
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Only the instances of the replica that answers
    #[arg(long)]
    local: bool,
    /// URL of the server. Of several, separated by commas, the first that answers
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// File with the token that the server requires
    #[arg(long, env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: FleetArguments) -> anyhow::Result<ExitCode> {
    // No environment is asked for, so that any name will do.
    let unused = environment::EnvironmentArguments {
        application: "application".to_owned(),
        profiles: "default".to_owned(),
        label: None,
    };
    let client = environment::client(&unused, &arguments.url, arguments.token_file.as_deref())
        .deadline(DEADLINE)
        .build()?;
    let fleet = sources::runtime()?.block_on(read(&client, &arguments))?;
    output::print(&match arguments.output {
        OutputForm::Table if arguments.instance.is_some() => findings::instances(&fleet),
        OutputForm::Table => findings::environments(&fleet),
        OutputForm::Json => format!("{}\n", serde_json::to_string(&fleet)?),
    })?;
    Ok(if findings::is_converged(&fleet) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Reads all pages.
async fn read(client: &Client, arguments: &FleetArguments) -> anyhow::Result<FleetStatus> {
    let limit = PAGE_COUNT.to_string();
    let mut parameters = vec![("limit", limit.as_str())];
    for (name, value) in [
        ("application", &arguments.application),
        ("profiles", &arguments.profiles),
        ("label", &arguments.label),
        ("instance", &arguments.instance),
    ] {
        parameters.extend(value.as_deref().map(|value| (name, value)));
    }
    if arguments.local {
        parameters.push(("local", ""));
    }
    let mut fleet: FleetStatus = page(client, &parameters).await?;
    while let Some(after) = fleet.next.take() {
        let parameters = [&parameters[..], &[("after", after.as_str())]].concat();
        let next = page(client, &parameters).await?;
        fleet.environments.extend(next.environments);
        fleet.instances.extend(next.instances);
        fleet.next = next.next;
    }
    Ok(fleet)
}

/// Reads one page. What the parser says may quote the answer, so it is not passed on.
async fn page(client: &Client, parameters: &[(&str, &str)]) -> anyhow::Result<FleetStatus> {
    let text = client.resource("fleet", parameters).await?;
    serde_json::from_str(&text).ok().context("the answer is not from a Headwater of this version")
}
