//! A program that was started, with all the processes that it starts in turn: they end together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};
use tokio::process::{Child, Command};

use super::git::GitError;
use crate::sync::lock;

/// How long what was killed may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(2);
/// How long to wait before it is looked at again.
const GONE_PAUSE: Duration = Duration::from_millis(5);

/// The run that is under way, so that it can be ended from elsewhere.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Option<Pid>>);

impl Running {
    /// Kills all of its processes.
    pub(super) fn kill(&self) {
        if let Some(id) = *lock(&self.0) {
            // All of them may have ended by themselves.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// A run with all the processes that it starts. Dropping it ends them.
pub(super) struct Group {
    pub(super) child: Child,
    running: Arc<Running>,
}

impl Group {
    pub(super) fn start(mut command: Command, running: Arc<Running>) -> Result<Self, GitError> {
        let started = command.spawn();
        let child = started
            .map_err(|error| GitError(format!("git cannot be started: {}", error.kind())))?;
        *lock(&running.0) = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, running })
    }

    /// It ended by itself, and its number may be another one's now.
    pub(super) fn is_over(&self) {
        *lock(&self.running.0) = None;
    }

    /// Kills all of its processes and waits until they are gone, also those that fell to us because we are the first
    /// process of a container.
    pub(super) async fn end(&mut self) {
        self.running.kill();
        let id = *lock(&self.running.0);
        // It was killed: there is nothing to learn from how it ended.
        let _ = self.child.wait().await;
        self.is_over();
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

impl Drop for Group {
    fn drop(&mut self) {
        self.running.kill();
        self.is_over();
    }
}
