//! `headwater token`: makes tokens for the principals of a policy.

use std::process::ExitCode;

use clap::Subcommand;
use headwater_access::is_principal_name;
use headwater_access::token::Token;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{examples, output};

#[derive(Debug, clap::Args)]
pub(super) struct TokenArguments {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a new token, and the line with its digest for the policy. The token is not stored
    #[command(after_help = examples::TOKEN_NEW)]
    New(NewArguments),
}

#[derive(Debug, clap::Args)]
struct NewArguments {
    /// Name of the principal that will use the token
    name: String,
    /// Day (UTC) from which the token is not accepted any more
    #[arg(long, value_name = "DATE")]
    expires: Option<Date>,
}

pub(super) fn run(arguments: TokenArguments) -> anyhow::Result<ExitCode> {
    let TokenCommand::New(NewArguments { name, expires }) = arguments.command;
    if !is_principal_name(&name) {
        anyhow::bail!(
            "{name:?} cannot be the name of a principal: expected up to 64 of A-Z a-z 0-9 . _ - @, \
             and neither anonymous nor application"
        );
    }
    if let Some(date) = expires
        && date.to_zoned(TimeZone::UTC)?.timestamp() <= Timestamp::now()
    {
        anyhow::bail!("--expires {date}: the day has begun already. Choose a later one");
    }
    let token = Token::generate()?;
    let expires = expires.map(|date| format!(", expires = {date}")).unwrap_or_default();
    let line = format!("tokens = [{{ sha256 = \"{}\"{expires} }}]", token.digest());
    output::print(&format!("{}\n{line}\n", token.as_str()))?;
    eprintln!(
        "The first line is the token of {name}. It is shown once. The second line belongs to the \
         [[principal]] {name} of the policy."
    );
    Ok(ExitCode::SUCCESS)
}
