//! Process groups: a child process and all its descendants, which end together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};
use tokio::process::{Child, Command};

use super::error::GitError;
use crate::sync::lock;
use crate::telemetry::{GitTimer, GitUse};

/// The longest wait for killed processes to end.
const GONE_MAX: Duration = Duration::from_secs(2);
/// The interval of checks for that.
const GONE_PAUSE: Duration = Duration::from_millis(5);

/// The group under way, so that another task can kill it.
#[derive(Debug, Default)]
pub(super) struct RunningGroup(Mutex<Option<Pid>>);

impl RunningGroup {
    /// Kills all of its processes.
    pub(super) fn kill(&self) {
        if let Some(id) = *lock(&self.0) {
            // The processes may have ended already.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// A child process with all its descendants. Dropping it kills them.
pub(super) struct ProcessGroup {
    pub(super) child: Child,
    running: Arc<RunningGroup>,
    _timer: GitTimer,
}

impl ProcessGroup {
    pub(super) fn start(
        mut command: Command,
        running: Arc<RunningGroup>,
    ) -> Result<Self, GitError> {
        let started = command.spawn();
        let child = started
            .map_err(|error| GitError::new(format!("git cannot be started: {}", error.kind())))?;
        *lock(&running.0) = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, running, _timer: GitTimer::start(GitUse::Mirror) })
    }

    /// Records that the process has ended. The system may reuse its id from now on.
    pub(super) fn mark_ended(&self) {
        *lock(&self.running.0) = None;
    }

    /// Kills all of its processes and waits for their end, including orphans that this process inherits as the first
    /// process of a container.
    pub(super) async fn end(&mut self) {
        self.running.kill();
        let id = *lock(&self.running.0);
        // The exit status of a killed process has no meaning.
        let _ = self.child.wait().await;
        self.mark_ended();
        let Some(id) = id else { return };
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < GONE_MAX {
            match waitpgid(id, WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => tokio::time::sleep(GONE_PAUSE).await,
                Err(_) => return,
            }
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.running.kill();
        self.mark_ended();
    }
}
