//! The command after a change. One run at a time, and one more run for all changes during it.

use std::collections::BTreeSet;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use headwater_client::Configuration;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cli::{environment, output};

/// The time that a command gets to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
/// The limit for `HEADWATER_CHANGED_KEYS`, in bytes. Systems refuse variables of more than 128 KiB.
const KEYS_LENGTH_MAX: usize = 64 * 1024;

/// The reason for a run.
pub(super) struct RunReason {
    application: String,
    profiles: String,
    label: String,
    revision: String,
    digest: String,
    /// Keys that were added, removed or changed since the previous run.
    keys: BTreeSet<String>,
    configuration: Configuration,
}

/// A run of the command that has ended.
pub(super) struct EndedRun {
    /// The configuration for which it ran.
    pub(super) configuration: Configuration,
    /// The reason for which it failed, as servers receive it.
    pub(super) failure: Option<String>,
}

impl RunReason {
    pub(super) fn new<'a>(
        environment: &environment::EnvironmentArguments,
        configuration: &Configuration,
        keys: impl Iterator<Item = &'a str>,
    ) -> Self {
        // A name from a server may contain a NUL character, which a variable cannot hold.
        let shown = |text: Option<&str>| output::one_line(text.unwrap_or_default());
        Self {
            application: environment.application.clone(),
            profiles: environment.profiles.clone(),
            label: environment.label.clone().unwrap_or_default(),
            revision: shown(configuration.revision()),
            digest: shown(configuration.digest()),
            keys: keys.map(output::one_line).collect(),
            configuration: configuration.clone(),
        }
    }

    /// The keys up to the limit, one on each line.
    fn lines_of_keys(&self) -> String {
        let mut lines = String::new();
        for key in &self.keys {
            if lines.len() + key.len() + 1 > KEYS_LENGTH_MAX {
                break;
            }
            lines.push_str(key);
            lines.push('\n');
        }
        lines.truncate(lines.trim_end_matches('\n').len());
        lines
    }
}

pub(super) struct Runner {
    command: String,
    child: Option<Child>,
    /// The configuration of the present run.
    running: Option<Configuration>,
    /// The reason for the next run, which starts when this one has ended.
    next: Option<RunReason>,
    /// The last run failed.
    pub(super) has_failed: bool,
}

impl Runner {
    pub(super) fn new(command: String) -> Self {
        Self { command, child: None, running: None, next: None, has_failed: false }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.child.is_none()
    }

    /// Runs the command, now or after the present run.
    pub(super) fn add(&mut self, mut occasion: RunReason) -> anyhow::Result<()> {
        if let Some(before) = self.next.take() {
            occasion.keys.extend(before.keys);
        }
        self.next = Some(occasion);
        self.start()
    }

    /// Waits for the end of the run, reports a failure and starts the next run. Returns the run that ended.
    ///
    /// Cancellation: the future can be dropped at any time. The run goes on.
    pub(super) async fn ended(&mut self) -> anyhow::Result<Option<EndedRun>> {
        let Some(child) = &mut self.child else {
            return std::future::pending().await;
        };
        let status = child.wait().await?;
        self.child = None;
        self.has_failed = !status.success();
        if self.has_failed {
            eprintln!("headwater: the command {}", how_it_ended(status));
        }
        let failure = self.has_failed.then(|| format!("exec {}", code(status)));
        let ended = self.running.take().map(|configuration| EndedRun { configuration, failure });
        self.start()?;
        Ok(ended)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let Some(occasion) = self.next.take() else { return Ok(()) };
        let child = Command::new("sh")
            .arg("-c")
            .arg(&self.command)
            .env("HEADWATER_CHANGED_KEYS", occasion.lines_of_keys())
            .env("HEADWATER_CHANGED_KEY_COUNT", occasion.keys.len().to_string())
            .env("HEADWATER_APPLICATION", occasion.application)
            .env("HEADWATER_PROFILES", occasion.profiles)
            .env("HEADWATER_LABEL", occasion.label)
            .env("HEADWATER_REVISION", occasion.revision)
            .env("HEADWATER_DIGEST", occasion.digest)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .stderr(Stdio::inherit())
            // Its own process group, so that every process that it starts can be stopped.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run sh")?;
        self.child = Some(child);
        self.running = Some(occasion.configuration);
        Ok(())
    }

    /// Stops a run, and kills it if it does not end in time.
    pub(super) async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(group) = group else { return };
        // A group that has ended meanwhile needs no signal.
        let _ = kill_process_group(group, Signal::TERM);
        if timeout(STOP_MAX, child.wait()).await.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait().await;
        }
    }
}

/// The exit code, or 128 and the number of the signal, as a shell counts.
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn how_it_ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended badly".to_owned(),
    }
}
