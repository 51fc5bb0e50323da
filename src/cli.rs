//! The command line: one file for each command. Results go to standard output, and remarks for people to standard error.
//! Exit code 0 is success, 1 a negative answer, 2 a failure.

mod audit;
mod check;
mod colour;
mod compare;
mod completions;
mod copy;
mod diff;
mod difference;
mod environment;
mod examples;
mod explain;
mod fleet;
mod get;
mod man;
mod origins;
mod output;
mod policy;
mod progress;
mod rollout;
mod run;
mod seal;
mod serve;
mod signals;
mod sources;
mod status;
mod token;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

pub use progress::LogWriter;

/// Configuration server for services: configuration in git, pushed to every affected instance
#[derive(Debug, Parser)]
#[command(name = "headwater", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve configuration over HTTP
    #[command(after_help = examples::SERVE)]
    Serve(serve::ServeArguments),
    /// Show the configuration of a service
    #[command(after_help = examples::GET)]
    Get(get::GetArguments),
    /// Print every change of a service's configuration, and run a command after it
    #[command(after_help = examples::WATCH)]
    Watch(watch::WatchArguments),
    /// Start a program with its configuration, and signal or restart it after a change
    #[command(after_help = examples::RUN)]
    Run(run::RunArguments),
    /// Show the file and line that set a key, and the values that they override
    #[command(after_help = examples::EXPLAIN)]
    Explain(explain::ExplainArguments),
    /// Compare two revisions: the keys that differ, for every known environment
    #[command(after_help = examples::DIFF)]
    Diff(diff::DiffArguments),
    /// Check a revision as the server checks a push
    #[command(after_help = examples::CHECK)]
    Check(check::CheckArguments),
    /// Copy a label from one source to another, and verify that every known environment stays the same
    #[command(after_help = examples::COPY)]
    Copy(copy::CopyArguments),
    /// Compare the answers of a running Spring Cloud Config Server with those of Headwater
    #[command(after_help = examples::COMPARE)]
    Compare(Box<compare::CompareArguments>),
    /// Seal a value for a configuration file, so that only servers with the key can open it
    #[command(after_help = examples::SEAL)]
    Seal(seal::SealArguments),
    /// Show the replicas of a server, their lag and their problems
    #[command(after_help = examples::STATUS)]
    Status(status::StatusArguments),
    /// Show which configuration the instances of services run, at all replicas
    #[command(after_help = examples::FLEET)]
    Fleet(fleet::FleetArguments),
    /// List, stop, continue and end staged rollouts, and show the stages of a push
    #[command(after_help = examples::ROLLOUT)]
    Rollout(rollout::RolloutArguments),
    /// Make tokens for the principals of a policy
    #[command(after_help = examples::TOKEN)]
    Token(token::TokenArguments),
    /// Check, test, compare and explain policy files
    #[command(after_help = examples::POLICY)]
    Policy(policy::PolicyArguments),
    /// Verify and search the files of an audit trail
    #[command(after_help = examples::AUDIT)]
    Audit(audit::AuditArguments),
    /// Print a script with which a shell completes commands
    #[command(after_help = examples::COMPLETIONS)]
    Completions(completions::CompletionsArguments),
    /// Write the man pages
    #[command(after_help = examples::MAN)]
    Man(man::ManArguments),
}

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    /// A table for people
    Table,
    /// JSON for programs
    Json,
}

impl Cli {
    /// The log level without `HEADWATER_LOG`: a server logs its work, a command only its failures. `actix_http` is off,
    /// because it logs every malformed request as an error, and any client could fill the log.
    pub fn log_level(&self) -> &'static str {
        match self.command {
            Command::Serve(_) => "info,actix_server=warn,actix_http=off",
            Command::Run(_) => "warn,headwater::cli=info",
            Command::Get(_)
            | Command::Watch(_)
            | Command::Explain(_)
            | Command::Diff(_)
            | Command::Check(_)
            | Command::Seal(_)
            | Command::Status(_)
            | Command::Fleet(_)
            | Command::Rollout(_)
            | Command::Token(_)
            | Command::Policy(_)
            | Command::Audit(_)
            | Command::Completions(_)
            | Command::Man(_) => "error",
            // The command itself reports the reason why a mirror cannot be made.
            Command::Copy(_) | Command::Compare(_) => "error,headwater::source::mirror=off",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When the command fails. The exit code is 2.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Get(arguments) => get::run(arguments),
        Command::Watch(arguments) => watch::run(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Copy(arguments) => copy::run(arguments),
        Command::Compare(arguments) => compare::run(*arguments),
        Command::Seal(arguments) => seal::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Fleet(arguments) => fleet::run(arguments),
        Command::Rollout(arguments) => rollout::run(arguments),
        Command::Token(arguments) => token::run(arguments),
        Command::Policy(arguments) => policy::run(arguments),
        Command::Audit(arguments) => audit::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    }
}
