//! `headwater run`: starts a program with its configuration as environment variables or files, and signals or restarts it
//! when that changes.
//!
//! The program needs no knowledge of Headwater. `prepare` makes the variables and files, `follow` reports changes,
//! `supervisor` decides, and `process` acts. `trial` checks what a push would change, before the push is accepted.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use headwater_client::{Client, Configuration};
use rustix::process::Signal;

use super::{environment, sources};

mod child;
mod command;
mod file;
mod follow;
mod form;
mod parse;
mod prepare;
mod process;
mod signals;
mod supervisor;
mod template;
mod texts;
mod trial;
mod values;
mod variables;

use file::{FileAccess, Owner};
use prepare::{FileTarget, PreparedInputs, ProgramEnvironment, Recipe};
use process::RunPlan;
use signals::Signals;
use supervisor::Reaction;
use variables::{Naming, VariableRules};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("reaction"))]
pub(super) struct RunArguments {
    /// Name of the service
    #[arg(env = "HEADWATER_APPLICATION")]
    application: String,
    /// Its profiles, separated by commas
    #[arg(env = "HEADWATER_PROFILES", default_value = "default")]
    profiles: String,
    /// Branch, tag, full commit id or folder
    #[arg(long, short, env = "HEADWATER_LABEL")]
    label: Option<String>,
    /// URLs of the servers, separated by commas, in the order in which they are tried
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// File with the token that the server requires
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    identity: environment::IdentityArguments,
    /// Time limit for the first answer
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse::seconds)]
    deadline: Duration,
    /// Directory for a copy of the newest configuration, which is used while no server is reachable
    #[arg(long, value_name = "DIR", env = "HEADWATER_LAST_KNOWN_GOOD")]
    last_known_good: Option<PathBuf>,
    /// Accept an answer without a property source
    #[arg(long)]
    allow_empty: bool,

    /// Pass the configuration as environment variables. This is the default without --file
    #[arg(long)]
    env: bool,
    /// Conversion of keys into names of variables
    #[arg(long, value_enum, value_name = "NAMING", default_value = "both")]
    env_naming: Naming,
    /// Prefix of every name
    #[arg(long, value_name = "PREFIX", value_parser = parse::prefix)]
    env_prefix: Option<String>,
    /// Protected variables that the configuration may set, such as PATH
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    env_allow: Vec<String>,

    /// Render a file from a template, from server:NAME, or from all keys as yaml, properties, json or env
    #[arg(long, value_name = "TEMPLATE:PATH", value_parser = parse::target)]
    file: Vec<FileTarget>,
    /// Time between two requests for a text of the server, while the server sends no events
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = parse::pause)]
    refresh: Duration,
    /// Mode of rendered files
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = parse::mode)]
    mode: parse::Mode,
    /// Owner of rendered files, by number
    #[arg(long, value_name = "UID[:GID]", value_parser = parse::owner)]
    owner: Option<Owner>,
    /// Command that must accept a new file before it is used. The path is added as its last argument
    #[arg(long, value_name = "COMMAND", requires = "file")]
    check: Option<String>,
    /// Send the program this signal when a file has changed
    #[arg(long, group = "reaction", requires = "file", value_parser = parse::signal)]
    signal: Option<Signal>,
    /// Run this command when a file has changed, to make the program read its files again
    #[arg(long, value_name = "COMMAND", group = "reaction", requires = "file")]
    reload: Option<String>,
    /// Restart the program when a file has changed. This is the default with --env
    #[arg(long, group = "reaction")]
    restart: bool,
    /// Time limit for the program to end before it is killed
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse::seconds)]
    grace: Duration,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

pub(super) fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let plan = plan(arguments)?;
    let runtime = sources::runtime()?;
    let ended = runtime.block_on(start(plan));
    // The runtime is not waited for, because a file system that hangs would keep the process for ever.
    runtime.shutdown_background();
    ended
}

async fn start(plan: RunPlan) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let (configuration, prepared) = tokio::select! {
        first = first(&plan.recipe) => first?,
        code = signals.end() => return Ok(code),
    };
    tracing::info!(revision = configuration.revision(), "starting");
    let plan = Arc::new(plan);
    let client = &plan.recipe.client;
    let (updates, trying) = if plan.recipe.tries() {
        let (updates, trials) = client.watch_and_try(&configuration);
        (updates, Some(tokio::spawn(trial::answer(Arc::clone(&plan), trials))))
    } else {
        (client.watch_from(&configuration), None)
    };
    let subscription = follow::follow(updates, configuration);
    let ended = process::supervise(plan, prepared, subscription, signals).await;
    if let Some(trying) = trying {
        trying.abort();
        // A check under way is killed, and its file is deleted.
        let _ = trying.await;
    }
    ended
}

/// Waits for the first configuration and prepares it.
async fn first(recipe: &Recipe) -> anyhow::Result<(Configuration, PreparedInputs)> {
    let configuration = recipe.client.connect().await?;
    if let Some(since) = configuration.stale_since() {
        let stale_seconds = since.elapsed().unwrap_or_default().as_secs();
        tracing::warn!(
            stale_seconds,
            "no server is reachable: starting with a stale configuration"
        );
    }
    let prepared = recipe.prepare(&configuration).await?;
    Ok((configuration, prepared))
}

/// Converts the flags into a plan.
fn plan(arguments: RunArguments) -> anyhow::Result<RunPlan> {
    let client = client(&arguments)?;
    let has_variables = arguments.env || arguments.file.is_empty();
    let reaction = match (arguments.signal, &arguments.reload, arguments.restart) {
        (Some(signal), ..) => Reaction::Signal(signal),
        (_, Some(_), _) => Reaction::Reload,
        (_, _, true) => Reaction::Restart,
        _ if has_variables => Reaction::Restart,
        _ => Reaction::Nothing,
    };
    let rules = VariableRules {
        naming: arguments.env_naming,
        prefix: arguments.env_prefix.unwrap_or_default(),
        allowed: arguments.env_allow.into_iter().collect::<BTreeSet<_>>(),
    };
    let recipe = Recipe {
        client,
        rules,
        environment: if has_variables {
            ProgramEnvironment::Variables
        } else {
            ProgramEnvironment::Untouched
        },
        targets: arguments.file,
        access: FileAccess { mode: arguments.mode.0, owner: arguments.owner },
        check: arguments.check,
    };
    let RunArguments { command, reload, grace, refresh, .. } = arguments;
    Ok(RunPlan { recipe, command, reaction, reload, grace, refresh })
}

fn client(arguments: &RunArguments) -> anyhow::Result<Client> {
    let wanted = environment::EnvironmentArguments {
        application: arguments.application.clone(),
        profiles: arguments.profiles.clone(),
        label: arguments.label.clone(),
    };
    let mut builder = environment::client(&wanted, &arguments.url, arguments.token_file.as_deref())
        .deadline(arguments.deadline)
        .allow_empty(arguments.allow_empty);
    builder = arguments.identity.apply(builder);
    if let Some(directory) = &arguments.last_known_good {
        builder = builder.last_known_good(directory);
    }
    Ok(builder.build()?)
}
