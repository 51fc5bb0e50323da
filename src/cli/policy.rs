//! `headwater policy`: checks, tests, compares and explains policy files, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use headwater_access::{
    CheckContext, FailedExpectation, POLICY_BYTES_MAX, Policy, Request, Right, Severity, Storage,
    Universe, diff,
};
use jiff::Timestamp;

use super::{examples, output};
use crate::regular_file;

#[derive(Debug, clap::Args)]
pub(super) struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Check a policy as the server does before it takes effect
    #[command(after_help = examples::POLICY_CHECK)]
    Check(CheckArguments),
    /// Compare a policy with the requests and answers that [[expect]] lists
    #[command(after_help = examples::POLICY_TEST)]
    Test(TestArguments),
    /// Print what principals may do under one of two policies only
    #[command(after_help = examples::POLICY_DIFF)]
    Diff(DiffArguments),
    /// Print whether a principal may do something, and the rule that decides
    #[command(after_help = examples::POLICY_EXPLAIN)]
    Explain(ExplainArguments),
}

#[derive(Debug, clap::Args)]
struct CheckArguments {
    /// Policy file
    file: PathBuf,
    /// Check it as a push to the hosted repository of the policy is checked: a principal has to keep the right admin
    #[arg(long)]
    hosted: bool,
}

#[derive(Debug, clap::Args)]
struct TestArguments {
    /// Policy file
    file: PathBuf,
    /// File with further [[expect]] tables
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct DiffArguments {
    /// Policy file before the change
    old: PathBuf,
    /// Policy file after the change
    new: PathBuf,
}

#[derive(Debug, clap::Args)]
struct ExplainArguments {
    /// Policy file
    file: PathBuf,
    /// Name of a principal, or anonymous
    who: String,
    /// Right, such as read or push
    may: String,
    /// Object: APPLICATION[/PROFILES[/LABEL]] for read and open, PATH [LABEL] for file, PATH BRANCH for push,
    /// APPLICATION for seal and rollout
    what: Vec<String>,
    /// For push: a forced push
    #[arg(long)]
    force: bool,
    /// For push: the deletion of the branch
    #[arg(long)]
    delete: bool,
}

pub(super) fn run(arguments: PolicyArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        PolicyCommand::Check(arguments) => check(&arguments),
        PolicyCommand::Test(arguments) => test(&arguments),
        PolicyCommand::Diff(arguments) => compare(&arguments),
        PolicyCommand::Explain(arguments) => explain(&arguments),
    }
}

fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let path = arguments.file.as_path();
    let storage = if arguments.hosted { Storage::Hosted } else { Storage::File };
    let problems = match Policy::parse(&name(path), &read(path)?) {
        Ok(policy) => {
            let now = Timestamp::now();
            policy.check(&CheckContext { now, storage, names: None })
        }
        Err(error) => error.problems,
    };
    for problem in &problems {
        output::print(&format!("{}\n", output::one_line(&problem.to_string())))?;
    }
    let is_error = |severity| severity == Severity::Error;
    let error_count = problems.iter().filter(|problem| is_error(problem.severity)).count();
    let warning_count = problems.len() - error_count;
    eprintln!("{}, {}", counted(error_count, "error"), counted(warning_count, "warning"));
    Ok(if error_count == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn test(arguments: &TestArguments) -> anyhow::Result<ExitCode> {
    let policy = parse(&arguments.file)?;
    let mut count = policy.expectation_count();
    let mut failures = lines(&arguments.file, &policy.failed_expectations());
    if let Some(path) = &arguments.expect {
        let text = String::from_utf8(read(path)?)
            .with_context(|| format!("{}: expected UTF-8", path.display()))?;
        let report = policy.test(&name(path), &text)?;
        count += report.count;
        failures.extend(lines(path, &report.failures));
    }
    if count == 0 {
        anyhow::bail!(
            "{}: the policy has no [[expect]]. Add one, or use --expect",
            name(&arguments.file)
        );
    }
    for failure in &failures {
        output::print(&format!("{failure}\n"))?;
    }
    eprintln!("{}, {}", counted(count, "expectation"), counted(failures.len(), "failure"));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn lines(path: &Path, failures: &[FailedExpectation]) -> Vec<String> {
    failures.iter().map(|failure| format!("{}:{failure}", name(path))).collect()
}

fn compare(arguments: &DiffArguments) -> anyhow::Result<ExitCode> {
    let (old, new) = (parse(&arguments.old)?, parse(&arguments.new)?);
    let difference = diff(&old, &new, &Universe::of(&[&old, &new]));
    for line in difference.lines() {
        output::print(&format!("{}\n", output::one_line(&line)))?;
    }
    if difference.is_empty() && difference.is_complete {
        eprintln!("both policies allow the same");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}

fn explain(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    let policy = parse(&arguments.file)?;
    let who = &arguments.who;
    let principal = policy
        .principal(who)
        .with_context(|| format!("{}: no principal has the name {who:?}", name(&arguments.file)))?;
    let right = Right::parse(&arguments.may).with_context(|| {
        let rights = Right::ALL.map(Right::as_str).join(", ");
        format!("unknown right {:?}. The rights are {rights}", arguments.may)
    })?;
    let request = Request::from_words(right, &arguments.what, arguments.force, arguments.delete);
    let request = request.map_err(anyhow::Error::msg)?;
    let explanation = policy.explain(&principal, &request);
    output::print(&format!("{explanation}\n"))?;
    let is_allowed = explanation.decision.is_allowed();
    Ok(if is_allowed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn parse(path: &Path) -> anyhow::Result<Policy> {
    Ok(Policy::parse(&name(path), &read(path)?)?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = regular_file::read(path, POLICY_BYTES_MAX as u64);
    text.with_context(|| format!("cannot read {}", path.display()))
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
