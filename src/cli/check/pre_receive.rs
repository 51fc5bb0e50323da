//! `headwater check --pre-receive`: the same judgement in the hook of a repository that somebody else hosts.
//!
//! Git says on standard input which references are to move, and in the environment where it keeps what it received until
//! the hook has spoken. Branches are judged; tags, and branches that are deleted, are none of its business.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::check::{self, Manner, Report, Terms};
use crate::server;
use crate::settings::{Checks, Settings};
use crate::source::git::Incoming;

/// The most references that one push may move.
const REFERENCE_COUNT_MAX: usize = 1_000;

/// What git tells its hooks.
#[derive(Debug, clap::Args)]
pub(super) struct Received {
    #[arg(long, env = "GIT_DIR", hide = true, default_value = ".")]
    git_directory: PathBuf,
    #[arg(long, env = "GIT_OBJECT_DIRECTORY", hide = true)]
    object_directory: Option<PathBuf>,
    #[arg(long, env = "GIT_ALTERNATE_OBJECT_DIRECTORIES", hide = true, value_delimiter = ':')]
    alternates: Vec<PathBuf>,
}

/// A branch that is to move.
struct Update {
    old: String,
    new: String,
    branch: String,
}

pub(super) fn run(
    received: &Received,
    settings: &Settings,
    mut terms: Terms,
) -> anyhow::Result<ExitCode> {
    let updates = updates(std::io::stdin().lock())?;
    let incoming = open(received, settings)?;
    terms.until = Some(Instant::now() + Duration::from_secs(settings.push.check_seconds_max));
    let manner = match settings.push.checks {
        Checks::Refuse => Manner::Refuse,
        Checks::Warn => Manner::Warn,
    };
    let mut is_refused = false;
    for update in &updates {
        let Some(report) = judge(&incoming, update, &terms)? else { continue };
        if updates.len() > 1 {
            eprintln!("{}:", update.branch);
        }
        check::words(&report, manner).iter().for_each(|line| eprintln!("{line}"));
        is_refused |= !report.problems.is_empty() && manner == Manner::Refuse;
    }
    Ok(if is_refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Lines of `old new ref`.
fn updates(input: impl BufRead) -> anyhow::Result<Vec<Update>> {
    let mut updates = Vec::new();
    for line in input.lines() {
        let line = line.context("cannot read what git received")?;
        let mut words = line.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            bail!("a line on standard input is not of the form that git gives its hooks");
        };
        if updates.len() == REFERENCE_COUNT_MAX {
            bail!("a push may move at most {REFERENCE_COUNT_MAX} references");
        }
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            let (old, new) = (old.to_owned(), new.to_owned());
            updates.push(Update { old, new, branch: branch.to_owned() });
        }
    }
    Ok(updates)
}

fn open(received: &Received, settings: &Settings) -> anyhow::Result<Incoming> {
    let [source] = &settings.sources[..] else {
        bail!("the settings name several sources: a hook needs settings of its own repository");
    };
    let mut directories: Vec<PathBuf> = received.object_directory.iter().cloned().collect();
    directories.extend(received.alternates.iter().cloned());
    Ok(server::open_incoming(source, &received.git_directory, directories)?)
}

/// What is to be said of one branch; nothing where it is deleted. A branch that is made is compared with the default one.
fn judge(incoming: &Incoming, update: &Update, terms: &Terms) -> anyhow::Result<Option<Report>> {
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
