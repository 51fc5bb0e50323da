//! Asks a server about its rollouts, and sends commands to it.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use headwater_client::{Client, Error, RawResponse};
use headwater_wire::{
    ProblemDocument, RolloutCommand, RolloutCommandAnswer, RolloutList, RolloutStatus,
};
use serde::de::DeserializeOwned;

use crate::cli::environment::ServerArguments;

/// The time after which servers without an answer are a failure.
const DEADLINE: Duration = Duration::from_secs(8);
/// The pause after every server has failed.
const PAUSE: Duration = Duration::from_millis(250);

/// The first of the configured servers that answered. Later requests go to the same one.
pub(super) struct RolloutServer {
    client: Client,
    pub(super) list: RolloutList,
}

/// The result of a command.
pub(super) enum CommandResult {
    Done(Box<RolloutCommandAnswer>),
    /// The command does not fit the rollout. Nothing has changed.
    Declined(String),
}

impl RolloutServer {
    /// Reads the list of rollouts from the first server that returns it.
    pub(super) async fn connect(arguments: &ServerArguments) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for builder in arguments.clients() {
            clients.push(builder.request_timeout(DEADLINE).build()?);
        }
        let end = Instant::now() + DEADLINE;
        loop {
            let mut failures = Vec::new();
            for client in &clients {
                match get(client, &["-", "rollouts"]).await {
                    Ok(response) if !is_temporary(&response) => {
                        let list = document(client, &response)?;
                        return Ok(Self { client: client.clone(), list });
                    }
                    Ok(response) => failures.push(describe(client, &response)),
                    Err(error @ Error::Deadline(_)) => failures.push(unanswered(&error)),
                    Err(error) => return Err(error.into()),
                }
            }
            if Instant::now() + PAUSE >= end {
                bail!(
                    "the rollouts cannot be read, because no server answers: {}",
                    failures.join("; ")
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads one rollout with its events.
    pub(super) async fn status(&self, id: &str) -> anyhow::Result<RolloutStatus> {
        let response = get(&self.client, &["-", "rollouts", id]).await;
        let response = response.map_err(|error| anyhow!(unanswered(&error)))?;
        if response.status() == 404 {
            bail!("{} has no rollout {id} any more", self.client.first_server());
        }
        document(&self.client, &response)
    }

    /// Sends a command. It is not repeated, because it may have taken effect.
    pub(super) async fn command(
        &self,
        id: &str,
        command: &RolloutCommand,
    ) -> anyhow::Result<CommandResult> {
        let action = command.action.name();
        let json = serde_json::to_string(command)?;
        let response = self.client.post(&["-", "rollouts", id], json).await;
        let response = response.map_err(|error| {
            anyhow!(
                "{}. Whether {action} has taken effect is unknown: look with headwater rollout status {id}",
                unanswered(&error)
            )
        })?;
        match response.status() {
            409 => Ok(CommandResult::Declined(describe(&self.client, &response))),
            404 => bail!(
                "{} has no rollout {id} any more, or does not allow {action}",
                self.client.first_server()
            ),
            _ => Ok(CommandResult::Done(document(&self.client, &response)?)),
        }
    }
}

async fn get(client: &Client, path: &[&str]) -> Result<RawResponse, Error> {
    client.exchange(path, None, &[("accept", "application/json")]).await
}

/// The last failure of each server that gave no answer.
fn unanswered(error: &Error) -> String {
    let Error::Deadline(deadline) = error else {
        return error.to_string();
    };
    let failures = deadline.servers.iter().map(|own| match &own.last {
        Some(failure) => format!("{}: {failure}", own.server),
        None => own.server.clone(),
    });
    failures.collect::<Vec<_>>().join("; ")
}

/// Returns true if another server, or the same one later, may give another answer.
fn is_temporary(response: &RawResponse) -> bool {
    matches!(response.status(), 408 | 425 | 429 | 500..)
}

/// Reads the document of a successful answer. What the parser says may quote the answer, so it is not passed on.
fn document<T: DeserializeOwned>(client: &Client, response: &RawResponse) -> anyhow::Result<T> {
    let server = client.first_server();
    match response.status() {
        200 => serde_json::from_slice(response.body())
            .ok()
            .context("the answer is not from a Headwater of this version"),
        status @ (401 | 403) => {
            let detail = detail(response).map(|detail| format!(": {detail}")).unwrap_or_default();
            bail!("{server} rejected the credentials with status {status}{detail}")
        }
        404 => bail!("{server} has no rollouts: it is no Headwater, or one of an earlier version"),
        _ => bail!("{server}: {}", describe(client, response)),
    }
}

/// The description of an error.
fn describe(client: &Client, response: &RawResponse) -> String {
    let unnamed =
        || format!("{} answered with status {}", client.first_server(), response.status());
    detail(response).unwrap_or_else(unnamed)
}

/// The words of the server about an error.
fn detail(response: &RawResponse) -> Option<String> {
    let problem: ProblemDocument = serde_json::from_slice(response.body()).ok()?;
    problem.detail
}
