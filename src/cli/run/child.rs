//! The program: how it is started, signalled, and seen to end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process, kill_process_group,
    waitid, waitpgid, waitpid,
};

use super::supervisor::SignalReach;

/// Which group the program is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Its own process group, which ends with it.
    Own,
    /// Ours, for it may read from the terminal: one in the background may not, and keys are sent to the whole group.
    Terminal,
}

impl Grouping {
    /// By what standard input is.
    pub(super) fn choose() -> Self {
        if io::stdin().is_terminal() { Self::Terminal } else { Self::Own }
    }

    /// The processes that a signal has reached when it reaches this one. A signal that is sent by hand looks like one from
    /// the keyboard, and signals from the keyboard are left to the terminal.
    pub(super) fn reached(self, signal: Signal) -> SignalReach {
        let from_keys = [Signal::INT, Signal::QUIT, Signal::WINCH];
        match self {
            Self::Terminal if from_keys.contains(&signal) => SignalReach::Both,
            Self::Terminal | Self::Own => SignalReach::Us,
        }
    }
}

/// The running program.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) id: Pid,
    grouping: Grouping,
}

impl Child {
    /// Starts it with our own variables and these, which win.
    pub(super) fn start(
        command: &[OsString],
        variables: &BTreeMap<String, String>,
        grouping: Grouping,
    ) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).envs(variables);
        if grouping == Grouping::Own {
            command.process_group(0);
        }
        // Ours to wait for: the handle of the standard library would not wait for what it leaves behind.
        let id = command.spawn()?.id();
        let id = Pid::from_raw(id.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { id, grouping })
    }

    /// Sends a signal to the program itself: what its own children are to do is its business.
    pub(super) fn send(&self, signal: Signal) {
        // The child has not been reaped, so the id is still its own. A child that has ended needs no signal.
        let _ = kill_process(self.id, signal);
    }

    /// Ends it, with its group where it has one.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
        self.kill_group();
    }

    fn kill_group(&self) {
        if self.grouping == Grouping::Own {
            let _ = kill_process_group(self.id, Signal::KILL);
        }
    }

    /// Its exit code, if it has ended. The rest of its group is killed then. To be called whenever a child of this
    /// process has ended.
    pub(super) fn ended(&self) -> io::Result<Option<u8>> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let was_seen = retried(|| waitid(WaitId::Pid(self.id), look))?.is_some();
        if was_seen {
            // Before the child is reaped, because no other group can have this id until then.
            self.kill_group();
        }
        let code = self.reap()?;
        if code.is_some() && !was_seen {
            self.kill_group();
        }
        Ok(code)
    }

    /// Waits for it, and for what lost its parent in its group: the first process of a container inherits that.
    fn reap(&self) -> io::Result<Option<u8>> {
        let mut code = None;
        while let Some((id, status)) = retried(|| match self.grouping {
            Grouping::Own => waitpgid(self.id, WaitOptions::NOHANG),
            Grouping::Terminal => waitpid(Some(self.id), WaitOptions::NOHANG),
        })? {
            if id == self.id {
                code = Some(exit_code(status));
            }
        }
        Ok(code)
    }
}

/// Reaps the processes that ended programs have left behind, as [`Child::reap`] does for the running one.
#[derive(Debug, Default)]
pub(super) struct Orphans(Vec<Pid>);

impl Orphans {
    /// Adds the remaining group of a program that has ended.
    pub(super) fn add(&mut self, child: &Child) {
        if child.grouping == Grouping::Own {
            self.0.push(child.id);
        }
    }

    /// To be called whenever a child of this process has ended.
    pub(super) fn reap(&mut self) {
        self.0.retain(|group| {
            loop {
                match waitpgid(*group, WaitOptions::NOHANG) {
                    Ok(Some(_)) | Err(Errno::INTR) => {}
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        });
    }
}

/// As a shell counts: the code, or 128 and the number of the signal.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|it| 128 + it));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Waits for a process, again after an interruption. `None` if there is no process to wait for.
fn retried<T>(mut wait: impl FnMut() -> rustix::io::Result<Option<T>>) -> io::Result<Option<T>> {
    loop {
        match wait() {
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(None),
            other => return Ok(other?),
        }
    }
}
