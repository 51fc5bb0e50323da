//! `headwater watch`: prints every change of an environment, and runs a command after each.

mod command;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use headwater_client::{Configuration, Error, Health, HealthState, Outcome, Update, Watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::{OutputForm, environment, output, signals, sources};
use crate::change::change;
use command::{EndedRun, RunReason, Runner};
use show::{OutputReader, WatchEvent};

/// The time without a connection before it is reported. Streams end and are resumed all the time.
const QUIET: Duration = Duration::from_secs(3);
/// The longest delay of the end by the report on the last run.
const LAST_REPORT_MAX: Duration = Duration::from_secs(1);
/// The longest time limit. Longer ones are mistakes, and would overflow clocks.
const TIMEOUT_SECONDS_MAX: u64 = 366 * 24 * 3600;

#[derive(Debug, clap::Args)]
pub(super) struct WatchArguments {
    #[command(flatten)]
    environment: environment::EnvironmentArguments,
    /// URL of the server. Several, separated by commas, replace each other when one is unreachable
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// File with the token that the server requires. It is read again for every connection
    #[arg(long, env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    identity: environment::IdentityArguments,
    /// Accept an answer without a property source
    #[arg(long)]
    allow_empty: bool,
    /// Print values too, which may be secrets: old and new ones, or the whole environment in JSON
    #[arg(long)]
    values: bool,
    /// Run this with `sh -c` after every change, one run at a time. Its output goes to standard error
    ///
    /// The command gets the variables HEADWATER_APPLICATION, HEADWATER_PROFILES, HEADWATER_LABEL, HEADWATER_REVISION,
    /// HEADWATER_DIGEST, HEADWATER_CHANGED_KEYS (one key on each line, at most 64 KiB) and HEADWATER_CHANGED_KEY_COUNT.
    /// Changes during a run cause one more run. The server receives the outcome: the configuration was applied if the exit
    /// code is 0, and rejected otherwise.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Treat the first environment as a change: run the command for it, and count it
    #[arg(long)]
    initial: bool,
    /// Stop after this number of changes, with exit code 1 if the last run of the command failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after the first change, as with --count 1
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// Stop after this number of seconds, with exit code 1 if there were fewer changes than requested
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECONDS_MAX))]
    timeout: Option<u64>,
    /// Form of the output. JSON is one line for each event
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: WatchArguments) -> anyhow::Result<ExitCode> {
    sources::runtime()?.block_on(async {
        let environment = &arguments.environment;
        let builder =
            environment::client(environment, &arguments.url, arguments.token_file.as_deref())
                .allow_empty(arguments.allow_empty);
        let client = match arguments.exec {
            Some(_) => arguments.identity.apply(builder),
            // It only looks on and is no instance of the service.
            None => builder.unlisted(),
        };
        let client = client.build()?;
        let mut session = WatchSession::new(&arguments, client.watch());
        let end = session.follow().await;
        if let Some(runner) = &mut session.runner {
            runner.stop().await;
            // Without a server the end does not wait any longer.
            let _ = timeout(LAST_REPORT_MAX, session.watch.reporter().delivered()).await;
        }
        session.exit_code(end?)
    })
}

/// The reason for the end of a session.
enum WatchEnd {
    /// The requested number of changes was printed.
    Counted,
    /// The time limit has passed.
    TimeUp,
    /// A signal stopped the command, or the reader has gone.
    Stopped,
    /// The servers rejected the first request.
    Refused(Error),
}

struct WatchSession<'a> {
    arguments: &'a WatchArguments,
    watch: Watch,
    health: Health,
    /// The configuration that was printed last.
    seen: Option<Configuration>,
    runner: Option<Runner>,
    /// The number of changes that are still to come, if it is bounded.
    left: Option<u64>,
    /// The time at which a missing connection is reported, unless it is back by then.
    complain_at: Option<Instant>,
    has_complained: bool,
}

impl<'a> WatchSession<'a> {
    fn new(arguments: &'a WatchArguments, watch: Watch) -> Self {
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

    async fn follow(&mut self) -> anyhow::Result<WatchEnd> {
        let mut stop = std::pin::pin!(signals::stop()?);
        let time_up = self.arguments.timeout.map(|it| Instant::now() + Duration::from_secs(it));
        loop {
            let is_counted = self.left == Some(0);
            if is_counted && self.runner.as_ref().is_none_or(Runner::is_idle) {
                return Ok(WatchEnd::Counted);
            }
            tokio::select! {
                update = self.watch.next(), if !is_counted => match update {
                    Some(Ok(update)) => if self.take(update)? == OutputReader::NobodyReads {
                        return Ok(WatchEnd::Stopped);
                    },
                    Some(Err(error)) => return Ok(WatchEnd::Refused(error)),
                    None => anyhow::bail!("the connection to the servers ended unexpectedly"),
                },
                ran = ended(self.runner.as_mut()) => self.report(ran?),
                true = self.health.changed() => self.look_at_health(),
                () = at(self.complain_at) => self.complain(),
                () = &mut stop => return Ok(WatchEnd::Stopped),
                () = at(time_up) => return Ok(WatchEnd::TimeUp),
            }
        }
    }

    fn take(&mut self, update: Update) -> anyhow::Result<OutputReader> {
        let Update::Configuration(configuration) = update else {
            return show::print(self.arguments, &WatchEvent::gone(self.seen.as_ref()));
        };
        let event = match &self.seen {
            None => WatchEvent::current(&configuration),
            Some(seen) => {
                let (old, new) = (seen.environment(), configuration.environment());
                let change = change(&environment::from_wire(old), &environment::from_wire(new));
                WatchEvent::change(seen, &configuration, change)
            }
        };
        let reader = show::print(self.arguments, &event)?;
        let is_first = self.seen.is_none();
        if reader == OutputReader::Read && (!is_first || self.arguments.initial) {
            self.left = self.left.map(|left| left - 1);
            if let Some(runner) = &mut self.runner {
                runner.add(RunReason::new(
                    &self.arguments.environment,
                    &configuration,
                    event.keys(),
                ))?;
            }
        }
        self.seen = Some(configuration);
        Ok(reader)
    }

    /// Reports the outcome of a run to the server.
    fn report(&self, ended: Option<EndedRun>) {
        let Some(EndedRun { configuration, failure }) = ended else { return };
        let reporter = self.watch.reporter();
        match failure {
            None => reporter.acknowledge(&configuration, Outcome::Applied),
            Some(reason) => reporter.reject(&configuration, reason),
        }
    }

    fn look_at_health(&mut self) {
        if self.health.state() == HealthState::Live {
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
        output::complain(format_args!("not connected, trying again: {problem}"));
    }

    fn exit_code(&self, end: WatchEnd) -> anyhow::Result<ExitCode> {
        let has_failed = self.runner.as_ref().is_some_and(|runner| runner.has_failed);
        match end {
            WatchEnd::Counted if has_failed => Ok(ExitCode::from(1)),
            WatchEnd::Counted | WatchEnd::Stopped => Ok(ExitCode::SUCCESS),
            WatchEnd::TimeUp if self.seen.is_none() => match self.health.problem() {
                Some(problem) => anyhow::bail!("no configuration in time: {problem}"),
                None => anyhow::bail!("no configuration in time"),
            },
            WatchEnd::TimeUp if self.left.is_some() => Ok(ExitCode::from(1)),
            WatchEnd::TimeUp => Ok(ExitCode::SUCCESS),
            WatchEnd::Refused(error @ (Error::NotFound { .. } | Error::Empty { .. })) => {
                output::complain(error);
                Ok(ExitCode::from(1))
            }
            WatchEnd::Refused(error) => Err(error.into()),
        }
    }
}

/// Waits for the end of the command, or for ever if none runs.
async fn ended(runner: Option<&mut Runner>) -> anyhow::Result<Option<EndedRun>> {
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
