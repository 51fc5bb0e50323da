//! Runs commands of the user through a shell: the check of a file, the reload of a program. Their output goes to standard
//! error, because standard output belongs to the program.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// Runs a command with a path as its last argument. `HEADWATER_TARGET` is the path that the file will have.
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

/// Runs a command. `HEADWATER_CHILD` is the process id of the program.
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

/// Waits for a command, and kills its process group after the time limit.
///
/// Cancellation: a command whose future is dropped is killed too.
async fn end(mut command: Command, timeout: Duration) -> io::Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(io::stderr()).process_group(0);
    let mut child = command.spawn()?;
    let mut group = CommandGroup(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
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
struct CommandGroup(Option<Pid>);

impl Drop for CommandGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A group that has just ended cannot be killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
