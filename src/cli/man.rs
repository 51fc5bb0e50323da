//! `headwater man`: one man page for the program and one for each command, from the same text as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use super::{Cli, output};

#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// Directory for the pages, made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(arguments: ManArguments) -> anyhow::Result<ExitCode> {
    let directory = arguments.directory;
    // A page must not depend on the environment of the person who writes it.
    let command = Cli::command()
        .mut_subcommands(|command| command.mut_args(|argument| argument.hide_env_values(true)));
    std::fs::create_dir_all(&directory)
        .and_then(|()| clap_mangen::generate_to(command.disable_help_subcommand(true), &directory))
        .with_context(|| format!("cannot write man pages to {}", directory.display()))?;
    output::print(&format!("{}\n", directory.join("headwater.1").display()))?;
    Ok(ExitCode::SUCCESS)
}
