//! `headwater rollout`: the rollouts of a server, the commands of people for them, and the plan of a push.

mod ask;
mod choose;
mod command;
mod findings;
#[cfg(test)]
mod fixture;
mod plan;

use std::process::ExitCode;

use clap::Subcommand;
use headwater_wire::RolloutAction;

use self::ask::RolloutServer;
use super::{OutputForm, environment, examples, output, sources};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RolloutArguments {
    #[command(subcommand)]
    command: Option<RolloutSubcommand>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum RolloutSubcommand {
    /// List the rollouts that run, are withheld or have ended lately
    #[command(after_help = examples::ROLLOUT_LIST)]
    List(ListArguments),
    /// Show one rollout: its stage, the instances that have the change, and what is missing
    #[command(after_help = examples::ROLLOUT_STATUS)]
    Status(StatusArguments),
    /// Show the stages that a push of a commit would have. Nothing is updated
    #[command(after_help = examples::ROLLOUT_PLAN)]
    Plan(plan::PlanArguments),
    /// Stop a rollout before its next stage
    #[command(after_help = examples::ROLLOUT_PAUSE)]
    Pause(OrderArguments),
    /// Continue a paused rollout
    #[command(after_help = examples::ROLLOUT_RESUME)]
    Resume(OrderArguments),
    /// Give every instance the change now. In the last stage, end the rollout
    #[command(after_help = examples::ROLLOUT_PROMOTE)]
    Promote(ConfirmedArguments),
    /// Roll a rollout back, and withhold its change
    #[command(after_help = examples::ROLLOUT_ABORT)]
    Abort(OrderArguments),
    /// Begin a withheld rollout again, from its first stage
    #[command(after_help = examples::ROLLOUT_RETRY)]
    Retry(ConfirmedArguments),
}

#[derive(Debug, Clone, clap::Args)]
struct ListArguments {
    #[command(flatten)]
    server: environment::ServerArguments,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

#[derive(Debug, clap::Args)]
struct StatusArguments {
    /// Id of the rollout, or its first characters. Without it, the only one that runs or, if none does, that is withheld, or
    /// the last one
    id: Option<String>,
    #[command(flatten)]
    server: environment::ServerArguments,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

#[derive(Debug, clap::Args)]
struct OrderArguments {
    /// Id of the rollout, or its first characters. Without it, the only one that runs or, if none does, that is withheld
    id: Option<String>,
    /// Reason, which other users see
    #[arg(long, value_name = "TEXT")]
    because: String,
    #[command(flatten)]
    server: environment::ServerArguments,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

#[derive(Debug, clap::Args)]
struct ConfirmedArguments {
    #[command(flatten)]
    order: OrderArguments,
    /// Do not ask for a confirmation. Without it, a terminal is needed
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(arguments: RolloutArguments) -> anyhow::Result<ExitCode> {
    let order = |arguments: &OrderArguments, action| command::run(arguments, action, None);
    let confirmed = |arguments: &ConfirmedArguments, action| {
        command::run(&arguments.order, action, Some(arguments.yes))
    };
    match arguments.command.unwrap_or(RolloutSubcommand::List(arguments.list)) {
        RolloutSubcommand::List(arguments) => list(&arguments),
        RolloutSubcommand::Status(arguments) => status(&arguments),
        RolloutSubcommand::Plan(arguments) => plan::run(&arguments),
        RolloutSubcommand::Pause(arguments) => order(&arguments, RolloutAction::Pause),
        RolloutSubcommand::Resume(arguments) => order(&arguments, RolloutAction::Resume),
        RolloutSubcommand::Promote(arguments) => confirmed(&arguments, RolloutAction::Promote),
        RolloutSubcommand::Abort(arguments) => order(&arguments, RolloutAction::Abort),
        RolloutSubcommand::Retry(arguments) => confirmed(&arguments, RolloutAction::Retry),
    }
}

fn list(arguments: &ListArguments) -> anyhow::Result<ExitCode> {
    let server = sources::runtime()?.block_on(RolloutServer::connect(&arguments.server))?;
    output::print(&match arguments.output {
        OutputForm::Table => findings::list(&server.list.rollouts),
        OutputForm::Json => json(&server.list)?,
    })?;
    let needs_attention = server.list.rollouts.iter().any(findings::needs_attention);
    Ok(if needs_attention { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn status(arguments: &StatusArguments) -> anyhow::Result<ExitCode> {
    let runtime = sources::runtime()?;
    let server = runtime.block_on(RolloutServer::connect(&arguments.server))?;
    let id = &choose::choose_or_latest(&server.list.rollouts, arguments.id.as_deref())?.id;
    let status = runtime.block_on(server.status(id))?;
    output::print(&match arguments.output {
        OutputForm::Table => findings::status(&status),
        OutputForm::Json => json(&status)?,
    })?;
    Ok(if findings::is_over(&status) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn json(document: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(document)?))
}
