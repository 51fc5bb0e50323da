//! The command line: one file for each verb. Output for machines goes to stdout, for people to stderr. Exit codes: 0
//! done, 1 the answer is no, 2 it did not work.

mod check;
mod copy;
mod diff;
mod difference;
mod explain;
mod get;
mod output;
mod run;
mod serve;
mod status;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// A configuration server: git in, one GET for each service out
#[derive(Debug, Parser)]
#[command(name = "headwater", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve configuration over HTTP
    Serve(serve::Arguments),
    /// Show what a service would be configured with
    Get(get::Arguments),
    /// Tell every change of what a service would be configured with
    Watch(watch::Arguments),
    /// Start a program with its configuration, and tell it when that changes
    Run(run::Arguments),
    /// Show which file and line sets a key, and what it overrides
    Explain(explain::Arguments),
    /// Show what differs between two revisions for those who are configured by them
    Diff(diff::Arguments),
    /// Check that every file parses and every known environment resolves
    Check(check::Arguments),
    /// Copy a label from one source to another, and verify that every known environment stays what it is
    Copy(copy::Arguments),
    /// Show which replicas there are, how far each is, and what is wrong
    Status(status::Arguments),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table for people
    Table,
    /// JSON for programs
    Json,
}

impl Cli {
    /// How much is logged unless the environment says otherwise: a server tells what it does, a command only what went
    /// wrong. The HTTP library calls every malformed request an error, which any stranger could fill the log with.
    pub fn log_level(&self) -> &'static str {
        match self.verb {
            Verb::Serve(_) => "info,actix_server=warn,actix_http=off",
            Verb::Run(_) => "warn,headwater::cli=info",
            Verb::Get(_)
            | Verb::Watch(_)
            | Verb::Explain(_)
            | Verb::Diff(_)
            | Verb::Check(_)
            | Verb::Status(_) => "error",
            // Why a mirror cannot be made is what the command says in the end.
            Verb::Copy(_) => "error,headwater::source::mirror=off",
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// When it did not work; exit code 2.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        Verb::Serve(arguments) => serve::run(arguments),
        Verb::Get(arguments) => get::run(arguments),
        Verb::Watch(arguments) => watch::run(arguments),
        Verb::Run(arguments) => run::run(arguments),
        Verb::Explain(arguments) => explain::run(arguments),
        Verb::Diff(arguments) => diff::run(arguments),
        Verb::Check(arguments) => check::run(arguments),
        Verb::Copy(arguments) => copy::run(arguments),
        Verb::Status(arguments) => status::run(arguments),
    }
}
