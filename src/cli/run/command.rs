//! Commands that people give as text: the check of a file, the reload of a program. A shell reads them; what they print
//! goes to standard error, for standard output belongs to the program.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// Runs a command with a path added to it; `HEADWATER_TARGET` says whose place the file will take.
pub(super) async fn with_path(
    text: &str,
    path: &Path,
    target: &Path,
    timeout: Duration,
) -> io::Result<ExitStatus> {
    let mut command = shell(&format!("{text} \"$@\""));
    command.arg(path).env("HEADWATER_TARGET", target);
    end(command, timeout).await
}

/// Runs a command; `HEADWATER_CHILD` says which process it is about.
pub(super) async fn about(text: &str, child: Pid, timeout: Duration) -> io::Result<ExitStatus> {
    let mut command = shell(text);
    command.env("HEADWATER_CHILD", child.as_raw_nonzero().to_string());
    end(command, timeout).await
}

fn shell(text: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", text, "sh"]);
    command
}

/// One that takes too long is killed with all that it started, and so is one that nobody waits for any more.
async fn end(mut command: Command, timeout: Duration) -> io::Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(io::stderr()).process_group(0);
    let mut child = command.spawn()?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let ended = tokio::time::timeout(timeout, child.wait()).await.unwrap_or_else(|_| {
        let problem = format!("it did not end within {} s", timeout.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, problem))
    });
    if ended.is_ok() {
        group.0 = None;
    }
    ended
}

/// A group of processes, killed when it is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // One that has just ended needs no killing.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
