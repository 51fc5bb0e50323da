//! Git as a person runs it, with nothing of this machine's settings and with an end.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// How long git may take, in seconds: longer than a server holds a push.
const SECONDS_MAX: &str = "60";

/// What git said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) is_done: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs git in a directory to its end. One that does not end is killed with all that it started.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Result<Said> {
    let output = Command::new("timeout")
        .args(["--signal=KILL", SECONDS_MAX, "git"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs([
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_AUTHOR_NAME", "Ada"),
            ("GIT_AUTHOR_EMAIL", "ada@example.org"),
            ("GIT_COMMITTER_NAME", "Ada"),
            ("GIT_COMMITTER_EMAIL", "ada@example.org"),
            ("LC_ALL", "C"),
        ])
        .env("HOME", directory)
        .output()?;
    Ok(Said {
        is_done: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// What git prints when it does what it is told.
///
/// # Errors
///
/// What it said when it did not.
pub(crate) fn done(directory: &Path, arguments: &[&str]) -> Result<String> {
    let said = run(directory, arguments)?;
    if !said.is_done {
        bail!("git {}: {}", arguments.join(" "), said.err.trim());
    }
    Ok(said.out)
}

/// Where git finds the repository of a replica.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}/-/git/{}.git", crate::replica::REPOSITORY)
}
