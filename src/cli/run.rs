//! `headwater run`: starts a program with its configuration as environment variables or files, and signals or restarts it
//! when that changes.
//!
//! The program knows nothing of Headwater. `supervisor` decides what to do when and `process` does it; `prepare` makes what
//! the program gets, `follow` tells of changes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use headwater_client::{Client, Configuration};
use rustix::process::Signal;

use super::output;

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
mod values;
mod variables;

use file::{Access, Owner};
use prepare::{Environment, Prepared, Recipe, Target};
use process::Plan;
use signals::Signals;
use supervisor::Reaction;
use variables::{Naming, Rules};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("reaction"))]
pub(super) struct Arguments {
    /// The service
    #[arg(env = "HEADWATER_APPLICATION")]
    application: String,
    /// Its profiles, separated by commas
    #[arg(env = "HEADWATER_PROFILES", default_value = "default")]
    profiles: String,
    /// Branch, tag, full commit id or folder
    #[arg(long, short, env = "HEADWATER_LABEL")]
    label: Option<String>,
    /// The servers to ask, in the order in which they are tried
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// File with the token that the server wants
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Name under which servers show this program and what became of its configuration; without one, host and process id
    #[arg(long, value_name = "NAME", env = "HEADWATER_INSTANCE")]
    instance: Option<String>,
    /// How long to wait for a first answer
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse::seconds)]
    deadline: Duration,
    /// Directory for a copy of the newest configuration, to start from while no server answers
    #[arg(long, value_name = "DIR", env = "HEADWATER_LAST_KNOWN_GOOD")]
    last_known_good: Option<PathBuf>,
    /// Accept an answer without any property source
    #[arg(long)]
    allow_empty: bool,

    /// Give the program its configuration as environment variables; so it is without --file
    #[arg(long)]
    env: bool,
    /// How keys become names of variables
    #[arg(long, value_enum, value_name = "NAMING", default_value = "both")]
    env_naming: Naming,
    /// What stands before every name
    #[arg(long, value_name = "PREFIX", value_parser = parse::prefix)]
    env_prefix: Option<String>,
    /// Protected variables that may be set all the same, such as PATH
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    env_allow: Vec<String>,

    /// Render a file: a template, server:NAME, or yaml, properties, json or env for everything
    #[arg(long, value_name = "TEMPLATE:PATH", value_parser = parse::target)]
    file: Vec<Target>,
    /// How often texts of the server are asked for again where it does not tell that something has moved
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = parse::pause)]
    refresh: Duration,
    /// Mode of rendered files
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = parse::mode)]
    mode: parse::Mode,
    /// Owner of rendered files, by number
    #[arg(long, value_name = "UID[:GID]", value_parser = parse::owner)]
    owner: Option<Owner>,
    /// Command that has to accept a new file before it is used; its path is added
    #[arg(long, value_name = "COMMAND", requires = "file")]
    check: Option<String>,
    /// Signal for the program when a file has changed
    #[arg(long, group = "reaction", requires = "file", value_parser = parse::signal)]
    signal: Option<Signal>,
    /// Command that makes the program read its files again
    #[arg(long, value_name = "COMMAND", group = "reaction", requires = "file")]
    reload: Option<String>,
    /// Start the program again when a file has changed; so it is with --env, unless another way is named
    #[arg(long, group = "reaction")]
    restart: bool,
    /// How long the program may take to end before it is killed
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse::seconds)]
    grace: Duration,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let plan = plan(arguments)?;
    let runtime = output::runtime()?;
    let ended = runtime.block_on(start(plan));
    // Not waited for: a file system that hangs would keep the process for ever.
    runtime.shutdown_background();
    ended
}

async fn start(plan: Plan) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let (configuration, prepared) = tokio::select! {
        first = first(&plan.recipe) => first?,
        code = signals.end() => return Ok(code),
    };
    tracing::info!(revision = configuration.revision(), "starting");
    let followed = follow::follow(&plan.recipe.client, configuration);
    process::supervise(plan, prepared, followed, signals).await
}

/// What the program starts with.
async fn first(recipe: &Recipe) -> anyhow::Result<(Configuration, Prepared)> {
    let configuration = recipe.client.connect().await?;
    if let Some(since) = configuration.stale_since() {
        let stale_seconds = since.elapsed().unwrap_or_default().as_secs();
        tracing::warn!(stale_seconds, "no server answers: starting with a stale configuration");
    }
    let prepared = recipe.prepare(&configuration).await?;
    Ok((configuration, prepared))
}

/// Flags, lowered once.
fn plan(arguments: Arguments) -> anyhow::Result<Plan> {
    let client = client(&arguments)?;
    let has_variables = arguments.env || arguments.file.is_empty();
    let reaction = match (arguments.signal, &arguments.reload, arguments.restart) {
        (Some(signal), ..) => Reaction::Signal(signal),
        (_, Some(_), _) => Reaction::Reload,
        (_, _, true) => Reaction::Restart,
        _ if has_variables => Reaction::Restart,
        _ => Reaction::Nothing,
    };
    let rules = Rules {
        naming: arguments.env_naming,
        prefix: arguments.env_prefix.unwrap_or_default(),
        allowed: arguments.env_allow.into_iter().collect::<BTreeSet<_>>(),
    };
    let recipe = Recipe {
        client,
        rules,
        environment: match has_variables {
            true => Environment::Variables,
            false => Environment::Untouched,
        },
        targets: arguments.file,
        access: Access { mode: arguments.mode.0, owner: arguments.owner },
        check: arguments.check,
    };
    let Arguments { command, reload, grace, refresh, .. } = arguments;
    Ok(Plan { recipe, command, reaction, reload, grace, refresh })
}

fn client(arguments: &Arguments) -> anyhow::Result<Client> {
    let asked = output::Asked {
        application: arguments.application.clone(),
        profiles: arguments.profiles.clone(),
        label: arguments.label.clone(),
    };
    let mut builder = output::client(&asked, &arguments.url, arguments.token_file.as_deref())
        .deadline(arguments.deadline)
        .allow_empty(arguments.allow_empty);
    if let Some(name) = &arguments.instance {
        builder = builder.instance(name);
    }
    if let Some(directory) = &arguments.last_known_good {
        builder = builder.last_known_good(directory);
    }
    Ok(builder.build()?)
}
