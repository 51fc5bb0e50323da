//! What a push of a commit would do: a push with the option `dry-run`, which the server checks and then rejects.
//!
//! Invariant: the commit is sent only to a repository that a Headwater hosts, because another server could ignore the
//! option and move the branch.

mod outcome;

use std::ffi::OsStr;
use std::process::{Command, ExitCode, Output, Stdio};

use anyhow::{Context, bail};

use self::outcome::PlanOutcome;
use crate::cli::output::{self, one_line, short};

/// The path below which a Headwater hosts its repositories.
const HOSTED_PATH: &str = "/-/git/";

#[derive(Debug, clap::Args)]
pub(super) struct PlanArguments {
    /// Commit, branch or tag of the clone in the current directory
    #[arg(default_value = "HEAD")]
    commit: String,
    /// Name of the remote that the push would go to
    #[arg(long, default_value = "origin")]
    remote: String,
    /// Branch that the push would update
    #[arg(long, default_value = "main")]
    branch: String,
    /// Further option of the push, such as now or plan=careful. Can be given several times
    #[arg(long, short = 'o', value_name = "OPTION")]
    push_option: Vec<String>,
}

pub(super) fn run(arguments: &PlanArguments) -> anyhow::Result<ExitCode> {
    let PlanArguments { commit, remote, branch, .. } = arguments;
    check_directory()?;
    let id = commit_id(commit)?;
    check_branch(branch)?;
    check_remote(remote)?;
    let pushed = push(arguments, &id)?;
    let (code, signal) = (pushed.status.code(), "git was ended by a signal");
    let code = code.context(signal)?;
    let (out, err) =
        (String::from_utf8_lossy(&pushed.stdout), String::from_utf8_lossy(&pushed.stderr));
    match outcome::of(code, &out, &err) {
        PlanOutcome::Accepted(lines) => {
            print(&lines)?;
            Ok(ExitCode::SUCCESS)
        }
        PlanOutcome::UpToDate => {
            print(&[format!("{branch} of {remote} is at {} already", short(&id))])?;
            Ok(ExitCode::SUCCESS)
        }
        PlanOutcome::Rejected(lines) => {
            print(&lines)?;
            Ok(ExitCode::from(1))
        }
        PlanOutcome::NotSent(reason) => {
            print(&[format!(
                "git would not push {} to {branch} of {remote}: {reason}",
                short(&id)
            )])?;
            Ok(ExitCode::from(1))
        }
        PlanOutcome::NoOptions => bail!(
            "{remote} does not accept push options, so that a push cannot be tried. Nothing was sent"
        ),
        PlanOutcome::Moved => bail!(
            "{remote} ignored the option dry-run and has moved {branch} to {}. It is no repository \
             of a Headwater server",
            short(&id)
        ),
        PlanOutcome::Failed(lines) => bail!("git push failed: {}", lines.join(": ")),
    }
}

/// Tries the push. The options switch off everything that git could push or run beside it.
fn push(arguments: &PlanArguments, id: &str) -> anyhow::Result<Output> {
    let mut options = vec!["--push-option=dry-run".to_owned()];
    options.extend(arguments.push_option.iter().map(|own| format!("--push-option={own}")));
    let target = format!("{id}:refs/heads/{}", arguments.branch);
    let mut command = git(["-c", "color.remote=never", "push", "--porcelain", "--no-verify"]);
    command.args(["--no-follow-tags", "--recurse-submodules=no", "--no-progress"]).args(options);
    let command = command.args(["--", &arguments.remote, &target]);
    command.output().context("git cannot be run")
}

/// Git with messages in English, which are read here. It asks for credentials at the terminal itself.
fn git<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).env("LC_ALL", "C").env_remove("LANGUAGE").stdin(Stdio::null());
    command
}

/// Runs git and returns its output. `None` if git ends with an error.
fn answer(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> anyhow::Result<Option<String>> {
    let output = git([]).args(arguments).output().context("git cannot be run")?;
    let text = || String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success().then(text))
}

fn check_directory() -> anyhow::Result<()> {
    match answer(["rev-parse", "--git-dir"])? {
        Some(_) => Ok(()),
        None => {
            bail!(
                "the current directory is no git repository. Run the command in a clone of the configuration"
            )
        }
    }
}

fn commit_id(commit: &str) -> anyhow::Result<String> {
    let name = format!("{commit}^{{commit}}");
    let found = answer(["rev-parse", "--verify", "--quiet", "--end-of-options", &name])?;
    found.with_context(|| format!("the clone has no commit {commit:?}"))
}

fn check_branch(branch: &str) -> anyhow::Result<()> {
    match answer(["check-ref-format", &format!("refs/heads/{branch}")])? {
        Some(_) => Ok(()),
        None => bail!("--branch: {branch:?} cannot be the name of a branch"),
    }
}

/// Requires that every URL to which git would push is one of a Headwater server.
fn check_remote(remote: &str) -> anyhow::Result<()> {
    let names = answer(["remote"])?.unwrap_or_default();
    let names: Vec<&str> = names.lines().collect();
    if !names.contains(&remote) {
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("--remote: no remote is named {remote:?}. The remotes are {names}");
    }
    let urls = answer(["remote", "get-url", "--push", "--all", "--", remote])?.unwrap_or_default();
    match urls.lines().find(|url| !is_hosted(url)) {
        None if !urls.is_empty() => Ok(()),
        None => bail!("--remote: {remote} has no URL"),
        Some(url) => bail!(
            "{remote} is {}, which is no repository of a Headwater server (http://…{HOSTED_PATH}…). \
             Nothing was sent",
            without_credentials(url)
        ),
    }
}

/// Returns true for a URL below the path of hosted repositories.
fn is_hosted(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let path = rest.and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    path.is_some_and(|path| path.contains(HOSTED_PATH))
}

/// A URL for a message.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

fn print(lines: &[String]) -> anyhow::Result<()> {
    let text: String = lines.iter().map(|line| format!("{}\n", one_line(line))).collect();
    output::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_a_headwater_are_known_by_their_path() {
        for (url, expected) in [
            ("http://127.0.0.1:8888/-/git/main.git", true),
            ("https://ada:hunter2@config.example.org/base/-/git/main.git", true),
            ("https://git.example.org/shop/config.git", false),
            ("ssh://git.example.org/-/git/main.git", false),
            ("git@git.example.org:-/git/main.git", false),
            ("/srv/-/git/main.git", false),
            ("http://-/git/", false),
        ] {
            assert_eq!(is_hosted(url), expected, "{url}");
        }
    }

    #[test]
    fn a_message_has_no_password() {
        for (url, expected) in [
            ("https://ada:hunter2@host/x@y.git", "https://host/x@y.git"),
            ("https://ada:hun@ter2@host", "https://host"),
            ("git@host:x.git", "git@host:x.git"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }
}
