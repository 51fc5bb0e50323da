//! `headwater watch`: tells every change of an environment, and runs a command on each.

mod command;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use headwater_client::{Configuration, Error, Health, State, Update, Watch};
use tokio::time::{Instant, sleep_until};

use super::{Output, output, serve};
use crate::change::change;
use command::{Occasion, Runner};
use show::{Event, Told};

/// How long a connection may be away before anything is said: streams end and are resumed all the time.
const QUIET: Duration = Duration::from_secs(3);
/// The longest time limit; longer ones are mistakes, and would overflow clocks.
const TIMEOUT_SECONDS_MAX: u64 = 366 * 24 * 3600;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: output::Asked,
    /// The server to ask; several, separated by commas, stand in for each other
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// File with the token that the server wants; read again for every connection
    #[arg(long, env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Accept an answer without any property source
    #[arg(long)]
    allow_empty: bool,
    /// Show values too, which may be secrets: old and new ones, or in JSON the whole environment
    #[arg(long)]
    values: bool,
    /// Run this with `sh -c` on every change, one run at a time; its output goes to stderr
    ///
    /// It finds HEADWATER_APPLICATION, HEADWATER_PROFILES, HEADWATER_LABEL, HEADWATER_REVISION, HEADWATER_DIGEST and
    /// HEADWATER_CHANGED_KEYS (one on each line, at most 64 KiB; HEADWATER_CHANGED_KEY_COUNT says how many there are)
    /// among its variables. Changes during a run lead to one more.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Take what is there at the start for a change: run the command for it, and count it
    #[arg(long)]
    initial: bool,
    /// End after so many changes; with exit code 1 if the last run of the command failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after the first change, as --count 1
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// End after so many seconds; with exit code 1 if there were fewer changes than asked for
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECONDS_MAX))]
    timeout: Option<u64>,
    /// How to print it; JSON is one line for each event
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    output::runtime()?.block_on(async {
        let asked = &arguments.asked;
        let client = output::client(asked, &arguments.url, arguments.token_file.as_deref())
            .allow_empty(arguments.allow_empty)
            .build()?;
        let mut session = Session::new(&arguments, client.watch());
        let end = session.follow().await;
        if let Some(runner) = &mut session.runner {
            runner.stop().await;
        }
        session.exit_code(end?)
    })
}

/// Why a session is over.
enum End {
    /// There were as many changes as asked for.
    Counted,
    /// The time is up.
    TimeUp,
    /// Somebody said so, or nobody reads on.
    Told,
    /// The first answer was a no.
    Refused(Error),
}

struct Session<'a> {
    arguments: &'a Arguments,
    watch: Watch,
    health: Health,
    /// What was shown last.
    seen: Option<Configuration>,
    runner: Option<Runner>,
    /// How many changes are still wanted, if that is bounded.
    left: Option<u64>,
    /// When to say that there is no connection, unless there is one again.
    complain_at: Option<Instant>,
    has_complained: bool,
}

impl<'a> Session<'a> {
    fn new(arguments: &'a Arguments, watch: Watch) -> Self {
        Self {
            health: watch.health(),
            watch,
            seen: None,
            runner: arguments.exec.clone().map(Runner::new),
            left: if arguments.once { Some(1) } else { arguments.count },
            complain_at: Some(Instant::now() + QUIET),
            has_complained: false,
            arguments,
        }
    }

    async fn follow(&mut self) -> anyhow::Result<End> {
        let mut told_to_stop = std::pin::pin!(serve::told_to_stop()?);
        let time_up = self.arguments.timeout.map(|it| Instant::now() + Duration::from_secs(it));
        loop {
            let is_counted = self.left == Some(0);
            if is_counted && self.runner.as_ref().is_none_or(Runner::is_idle) {
                return Ok(End::Counted);
            }
            tokio::select! {
                update = self.watch.next(), if !is_counted => match update {
                    Some(Ok(update)) => if self.take(update)? == Told::NobodyReads {
                        return Ok(End::Told);
                    },
                    Some(Err(error)) => return Ok(End::Refused(error)),
                    None => anyhow::bail!("the watch ended"),
                },
                ran = ended(self.runner.as_mut()) => ran?,
                true = self.health.changed() => self.look_at_health(),
                () = at(self.complain_at) => self.complain(),
                () = &mut told_to_stop => return Ok(End::Told),
                () = at(time_up) => return Ok(End::TimeUp),
            }
        }
    }

    fn take(&mut self, update: Update) -> anyhow::Result<Told> {
        let Update::Configuration(configuration) = update else {
            return show::print(self.arguments, &Event::gone(self.seen.as_ref()));
        };
        let event = match &self.seen {
            None => Event::current(&configuration),
            Some(seen) => {
                let (old, new) = (seen.environment(), configuration.environment());
                let change = change(&output::from_wire(old), &output::from_wire(new));
                Event::change(seen, &configuration, change)
            }
        };
        let told = show::print(self.arguments, &event)?;
        let is_first = self.seen.is_none();
        if told == Told::Read && (!is_first || self.arguments.initial) {
            self.left = self.left.map(|left| left - 1);
            if let Some(runner) = &mut self.runner {
                runner.add(Occasion::new(&self.arguments.asked, &configuration, event.keys()))?;
            }
        }
        self.seen = Some(configuration);
        Ok(told)
    }

    fn look_at_health(&mut self) {
        if self.health.state() == State::Live {
            self.complain_at = None;
            if std::mem::take(&mut self.has_complained) {
                eprintln!("headwater: connected");
            }
        } else if !self.has_complained && self.complain_at.is_none() {
            self.complain_at = Some(Instant::now() + QUIET);
        }
    }

    fn complain(&mut self) {
        self.complain_at = None;
        self.has_complained = true;
        let problem = self.health.problem().unwrap_or_else(|| "no answer yet".to_owned());
        eprintln!("headwater: not connected, and trying again: {problem}");
    }

    fn exit_code(&self, end: End) -> anyhow::Result<ExitCode> {
        let has_failed = self.runner.as_ref().is_some_and(|runner| runner.has_failed);
        match end {
            End::Counted if has_failed => Ok(ExitCode::from(1)),
            End::Counted | End::Told => Ok(ExitCode::SUCCESS),
            End::TimeUp if self.seen.is_none() => match self.health.problem() {
                Some(problem) => anyhow::bail!("no configuration in time: {problem}"),
                None => anyhow::bail!("no configuration in time"),
            },
            End::TimeUp if self.left.is_some() => Ok(ExitCode::from(1)),
            End::TimeUp => Ok(ExitCode::SUCCESS),
            End::Refused(error @ (Error::NotFound { .. } | Error::Empty { .. })) => {
                eprintln!("headwater: {error}");
                Ok(ExitCode::from(1))
            }
            End::Refused(error) => Err(error.into()),
        }
    }
}

/// Until the command has ended; for ever where none runs.
async fn ended(runner: Option<&mut Runner>) -> anyhow::Result<()> {
    match runner {
        Some(runner) => runner.ended().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
