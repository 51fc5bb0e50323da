//! `headwater fleet`: which configuration the instances of services run, at all replicas.

mod findings;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use headwater_client::Client;
use headwater_wire::{FleetHistory, FleetStatus};
use serde::de::DeserializeOwned;

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
    /// Show what ran at this time, such as 2026-11-20T14:03:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Only the instances of the replica that answers
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    server: environment::ServerArguments,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: FleetArguments) -> anyhow::Result<ExitCode> {
    let client = arguments.server.client().deadline(DEADLINE).build()?;
    let runtime = sources::runtime()?;
    if let Some(at) = &arguments.at {
        let parameters = [&arguments.parameters()[..], &[("at", at.as_str())]].concat();
        let past: FleetHistory = runtime.block_on(request(&client, &parameters))?;
        output::print(&match arguments.output {
            OutputForm::Table => findings::past(&past),
            OutputForm::Json => format!("{}\n", serde_json::to_string(&past)?),
        })?;
        let is_complete = past.replicas.iter().all(|replica| replica.failure.is_none());
        return Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(1) });
    }
    let fleet = runtime.block_on(read(&client, &arguments))?;
    let unknown = arguments.application.as_deref().filter(|_| fleet.environments.is_empty());
    output::print(&match (arguments.output, unknown) {
        (OutputForm::Table, Some(application)) => findings::unknown(&fleet, application),
        (OutputForm::Table, None) if arguments.instance.is_some() => findings::instances(&fleet),
        (OutputForm::Table, None) => findings::environments(&fleet),
        (OutputForm::Json, _) => format!("{}\n", serde_json::to_string(&fleet)?),
    })?;
    Ok(if unknown.is_none() && findings::is_converged(&fleet) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

impl FleetArguments {
    /// The parameters that select instances.
    fn parameters(&self) -> Vec<(&str, &str)> {
        let named = [
            ("application", &self.application),
            ("profiles", &self.profiles),
            ("label", &self.label),
            ("instance", &self.instance),
        ];
        let set = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        set.chain(self.local.then_some(("local", ""))).collect()
    }
}

/// Reads all pages.
async fn read(client: &Client, arguments: &FleetArguments) -> anyhow::Result<FleetStatus> {
    let limit = PAGE_COUNT.to_string();
    let parameters = [&arguments.parameters()[..], &[("limit", limit.as_str())]].concat();
    let mut fleet: FleetStatus = request(client, &parameters).await?;
    while let Some(after) = fleet.next.take() {
        let parameters = [&parameters[..], &[("after", after.as_str())]].concat();
        let next: FleetStatus = request(client, &parameters).await?;
        fleet.environments.extend(next.environments);
        fleet.instances.extend(next.instances);
        fleet.next = next.next;
    }
    Ok(fleet)
}

/// Sends one request. What the parser says may quote the answer, so it is not passed on.
async fn request<T: DeserializeOwned>(
    client: &Client,
    parameters: &[(&str, &str)],
) -> anyhow::Result<T> {
    let text = client.resource("fleet", parameters).await?;
    serde_json::from_str(&text).ok().context("the answer is not from a Headwater of this version")
}
