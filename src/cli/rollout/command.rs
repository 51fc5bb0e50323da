//! The commands of people for one rollout.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use headwater_wire::{RolloutAction, RolloutCommand, RolloutStatus};

use super::ask::{CommandResult, RolloutServer};
use super::{OrderArguments, choose, findings, json};
use crate::cli::output::{self, one_line, short};
use crate::cli::{OutputForm, sources};

/// Carries out a command. `yes` is `None` for a command that needs no confirmation.
pub(super) fn run(
    arguments: &OrderArguments,
    action: RolloutAction,
    yes: Option<bool>,
) -> anyhow::Result<ExitCode> {
    if arguments.because.trim().is_empty() {
        bail!("--because: expected a reason, got an empty text");
    }
    let is_asked = yes == Some(false);
    if is_asked && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        bail!("{} needs a confirmation. Use a terminal, or add --yes", action.name());
    }
    let runtime = sources::runtime()?;
    let server = runtime.block_on(RolloutServer::connect(&arguments.server))?;
    let chosen = choose::choose(&server.list.rollouts, arguments.id.as_deref())?;
    let id = &chosen.id;
    if findings::is_over(chosen) {
        output::complain(one_line(&format!("{id} has ended. {} has no effect", action.name())));
        return Ok(ExitCode::from(1));
    }
    if yes.is_some() {
        let status = runtime.block_on(server.status(id))?;
        eprint!("{}", findings::status(&status));
        if is_asked && !is_confirmed(action, &status)? {
            eprintln!("Nothing was changed.");
            return Ok(ExitCode::from(1));
        }
    }
    let command = RolloutCommand { action, because: arguments.because.clone() };
    match runtime.block_on(server.command(id, &command))? {
        CommandResult::Declined(reason) => {
            output::complain(one_line(&reason));
            Ok(ExitCode::from(1))
        }
        CommandResult::Done(answer) => {
            output::print(&match arguments.output {
                OutputForm::Table => findings::effects(&answer),
                OutputForm::Json => json(&*answer)?,
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks the user at the terminal.
fn is_confirmed(action: RolloutAction, status: &RolloutStatus) -> anyhow::Result<bool> {
    let commit = short(&status.to);
    let consequence = match action {
        RolloutAction::Retry => format!("{commit} goes through its stages again"),
        _ => format!("every instance receives {commit} at once"),
    };
    eprint!("\n{}: {consequence}. Type yes to continue: ", action.name());
    io::stderr().flush().context("cannot write to the terminal")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read from the terminal")?;
    Ok(answer.trim() == "yes")
}
