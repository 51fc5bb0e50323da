//! `headwater check --pre-receive`: the checks of a push, in the hook of a repository on another git server.
//!
//! Git writes the references to standard input, and the quarantine directories of the new objects to the environment.
//! Branches are checked. Tags and deleted branches are ignored.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::check::{self, CheckPolicy, CheckReport};
use crate::cli::output;
use crate::opening;
use crate::server;
use crate::settings::Settings;
use crate::source::git::Incoming;

/// The most references that a push can move.
const REFERENCE_COUNT_MAX: usize = 1_000;

/// The variables that git sets for its hooks.
#[derive(Debug, clap::Args)]
pub(super) struct HookEnvironment {
    #[arg(long, env = "GIT_DIR", hide = true, default_value = ".")]
    git_directory: PathBuf,
    #[arg(long, env = "GIT_OBJECT_DIRECTORY", hide = true)]
    object_directory: Option<PathBuf>,
    #[arg(long, env = "GIT_ALTERNATE_OBJECT_DIRECTORIES", hide = true, value_delimiter = ':')]
    alternates: Vec<PathBuf>,
}

/// A branch that the push moves.
struct BranchUpdate {
    old: String,
    new: String,
    branch: String,
}

pub(super) fn run(
    received: &HookEnvironment,
    settings: &Settings,
    mut terms: CheckPolicy,
) -> anyhow::Result<ExitCode> {
    let updates = updates(std::io::stdin().lock())?;
    let incoming = open(received, settings)?;
    terms.until = Some(Instant::now() + Duration::from_secs(settings.push.check_seconds_max));
    let enforcement = server::enforcement(settings);
    let mut is_refused = false;
    for update in &updates {
        let Some(report) = judge(&incoming, update, &terms)? else { continue };
        if updates.len() > 1 {
            eprintln!("{}:", output::one_line(&update.branch));
        }
        check::report_lines(&report, enforcement).iter().for_each(|line| eprintln!("{line}"));
        is_refused |= enforcement.rejects(&report);
    }
    Ok(if is_refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Reads lines of `old new ref`.
fn updates(input: impl BufRead) -> anyhow::Result<Vec<BranchUpdate>> {
    let mut updates = Vec::new();
    for line in input.lines() {
        let line = line.context("cannot read what git received")?;
        let mut words = line.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            bail!(
                "standard input has a line that is not `old new reference`, as git gives it to its hooks"
            );
        };
        if updates.len() == REFERENCE_COUNT_MAX {
            bail!(
                "the push moves more than {REFERENCE_COUNT_MAX} references. Push fewer at a time"
            );
        }
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            let (old, new) = (old.to_owned(), new.to_owned());
            updates.push(BranchUpdate { old, new, branch: branch.to_owned() });
        }
    }
    Ok(updates)
}

fn open(received: &HookEnvironment, settings: &Settings) -> anyhow::Result<Incoming> {
    let [source] = &settings.sources[..] else {
        bail!(
            "the settings name several sources. A hook needs a settings file with its own repository only"
        );
    };
    let mut directories: Vec<PathBuf> = received.object_directory.iter().cloned().collect();
    directories.extend(received.alternates.iter().cloned());
    Ok(opening::open_incoming(source, &received.git_directory, directories)?)
}

/// Checks a branch. `None` if the push deletes it. A new branch is compared with the default one.
fn judge(
    incoming: &Incoming,
    update: &BranchUpdate,
    terms: &CheckPolicy,
) -> anyhow::Result<Option<CheckReport>> {
    let Some(new) = incoming.snapshot(&update.new, &update.branch)? else {
        return Ok(None);
    };
    let old = match incoming.snapshot(&update.old, &update.branch)? {
        Some(old) => Some(old),
        None => match incoming.head()? {
            Some(head) => incoming.snapshot(&head, &update.branch)?,
            None => None,
        },
    };
    Ok(Some(check::check(&new, old.as_ref(), &[], terms)?))
}
