//! `headwater audit`: verifies and searches the files of an audit trail, without a server.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use headwater_access::audit::{
    self, AuditEvent, AuditLine, AuditVerifyError, Expected, Filter, Head,
};
use jiff::Timestamp;

use super::{OutputForm, examples, output};
use crate::regular_file;

/// The columns of the table.
const COLUMNS: [&str; 7] = ["TIME", "EVENT", "PRINCIPAL", "ADDRESS", "OBJECT", "OUTCOME", "COUNT"];

#[derive(Debug, clap::Args)]
pub(super) struct AuditArguments {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Verify that no line was changed, removed, added or moved
    #[command(after_help = examples::AUDIT_VERIFY)]
    Verify(VerifyArguments),
    /// Print the lines that satisfy all conditions
    #[command(after_help = examples::AUDIT_QUERY)]
    Query(QueryArguments),
}

#[derive(Debug, clap::Args)]
struct VerifyArguments {
    /// Files of one trail, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A head that the trail has to contain, as the server logs it. Without it, a removed end is not detected
    #[arg(long, value_name = "NUMBER:HASH", value_parser = parse_head)]
    head: Option<Head>,
}

#[derive(Debug, clap::Args)]
struct QueryArguments {
    /// Files of one trail, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the principal
    #[arg(long)]
    principal: Option<String>,
    /// Name of an application
    #[arg(long)]
    application: Option<String>,
    /// Kind of event, such as push, open or denied
    #[arg(long, value_parser = parse_event)]
    event: Option<AuditEvent>,
    /// Outcome, such as rejected
    #[arg(long)]
    outcome: Option<String>,
    /// Earliest time, as 2026-11-30 or 2026-11-30T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = audit::parse_time)]
    since: Option<Timestamp>,
    /// First time after the wanted ones
    #[arg(long, value_name = "TIME", value_parser = audit::parse_time)]
    until: Option<Timestamp>,
    /// Form of the output. JSON has one line for each line of the trail
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: AuditArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        AuditCommand::Verify(arguments) => verify(&arguments),
        AuditCommand::Query(arguments) => query(&arguments),
    }
}

fn verify(arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in in_order(&arguments.files)? {
        files.push((path.display().to_string(), open(path)?));
    }
    match audit::verify(files, &Expected { start: None, end: arguments.head }) {
        Ok(trail) => {
            let (count, first, head) = (trail.line_count, trail.first_seq, trail.head);
            output::print(&format!(
                "{count} lines, from {first} to {}: no fault\nhead {head}\n",
                head.seq
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ AuditVerifyError::Read { .. }) => Err(error.into()),
        Err(error) => {
            output::complain(error);
            Ok(ExitCode::from(1))
        }
    }
}

fn query(arguments: &QueryArguments) -> anyhow::Result<ExitCode> {
    let filter = Filter {
        principal: arguments.principal.clone(),
        application: arguments.application.clone(),
        event: arguments.event,
        outcome: arguments.outcome.clone(),
        since: arguments.since,
        until: arguments.until,
    };
    let (mut rows, mut found_count) = (vec![COLUMNS.map(str::to_owned).to_vec()], 0);
    for path in in_order(&arguments.files)? {
        for line in audit::query(open(path)?, &filter) {
            let line = line.with_context(|| path.display().to_string())?;
            found_count += 1;
            match arguments.output {
                OutputForm::Table => rows.push(row(line)),
                OutputForm::Json => {
                    let mut text = String::from_utf8(line.to_text()?)?;
                    text.push('\n');
                    if !output::write(&text)? {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
        }
    }
    if arguments.output == OutputForm::Table && found_count > 0 {
        output::print(&output::table(&rows))?;
    }
    if found_count == 0 {
        output::complain("no line satisfies the conditions");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(line: AuditLine) -> Vec<String> {
    let event = serde_json::to_value(line.event).unwrap_or_default();
    let event = event.as_str().unwrap_or_default().to_owned();
    let names = [line.application, line.profiles, line.label];
    let object = names.into_iter().flatten().collect::<Vec<_>>().join("/");
    let object = if object.is_empty() { line.path.unwrap_or_default() } else { object };
    // A denied right on the whole server has no name. The reason describes the request.
    let is_denial = matches!(line.event, AuditEvent::Denied | AuditEvent::WouldDeny);
    let request = line.reason.filter(|_| is_denial && object.is_empty());
    let object = request.unwrap_or(object);
    let text = |text: Option<String>| text.unwrap_or_default();
    let count = line.count.map(|count| count.to_string());
    vec![
        line.time,
        event,
        text(line.principal),
        text(line.address),
        object,
        text(line.outcome),
        text(count),
    ]
}

/// The files in the order in which they were written, by the numbers of their first lines.
fn in_order(files: &[PathBuf]) -> anyhow::Result<Vec<&Path>> {
    let mut numbered = Vec::new();
    for path in files {
        let mut first = Vec::new();
        let limit = audit::LINE_BYTES_MAX as u64;
        let mut reader = open(path)?.take(limit);
        reader.read_until(b'\n', &mut first).with_context(|| path.display().to_string())?;
        let line: Option<AuditLine> = serde_json::from_slice(&first).ok();
        numbered.push((line.map_or(u64::MAX, |line| line.seq), path.as_path()));
    }
    numbered.sort_by_key(|(number, _)| *number);
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn open(path: &Path) -> anyhow::Result<impl BufRead + use<>> {
    let file = regular_file::open(path);
    Ok(BufReader::new(file.with_context(|| format!("cannot read {}", path.display()))?))
}

fn parse_head(text: &str) -> Result<Head, String> {
    Head::parse(text).ok_or_else(|| "expected NUMBER:HASH, as the server logs it".to_owned())
}

fn parse_event(name: &str) -> Result<AuditEvent, String> {
    AuditEvent::parse(name).ok_or_else(|| format!("no event has the name {name:?}"))
}
