//! Programs of checks: a list of arguments without a shell, in a process group of its own, with a limit of time and output.
//!
//! Invariant: no process of a group is signalled after its first process was reaped, because the system may use the id again
//! from then on.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::check::Measurement;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::target::{CheckTarget, Side};
use crate::sync::lock;
use crate::terminal;

/// The longest run.
const RUN_MAX: Duration = Duration::from_secs(10);
/// The time for reading the rest of the output after the end of the program.
const REST_MAX: Duration = Duration::from_millis(20);
/// The most output, of both streams together.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// The characters of the last line of output that the log shows.
const SHOWN_COUNT_MAX: usize = 200;
/// Where programs are found. The environment of the server, which can contain credentials, is not passed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The first process of a group, until it is reaped.
#[derive(Clone)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn kill(&self) {
        if let Some(id) = *lock(&self.0) {
            // A group whose processes have all ended needs no signal.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// Kills a group when the measurement ends, in whatever way.
struct KillOnDrop(Group);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Runs a program once.
///
/// Cancellation: the program and all processes of its group are killed.
pub(super) async fn measure(
    check: &Name,
    command: &[String],
    target: &CheckTarget,
) -> Result<Measurement, String> {
    let (status, output) = run(check, command, target, RUN_MAX).await?;
    let result = judge(status);
    if !matches!(result, Ok(Measurement::Good)) {
        let (rollout, output) = (&target.rollout, last_line(&output));
        tracing::warn!(%check, %rollout, output, "the program of a check failed");
    }
    result
}

/// Runs a program to its end, and returns its output.
async fn run(
    check: &Name,
    command: &[String],
    target: &CheckTarget,
    limit: Duration,
) -> Result<(ExitStatus, Vec<u8>), String> {
    let (program, arguments) = command.split_first().ok_or("the check has no program")?;
    let all = target.all();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HEADWATER_ROLLOUT", &*target.rollout)
        .env("HEADWATER_CHECK", &**check)
        .env("HEADWATER_APPLICATIONS", lines(target.groups.keys().map(|name| &**name)))
        .env("HEADWATER_CANARIES", lines(all.names(Side::Canaries)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child =
        command.spawn().map_err(|error| format!("the program cannot be started: {error}"))?;
    let streams = (child.stdout.take(), child.stderr.take());
    let id = Pid::from_child(&child);
    let group = Group(Arc::new(Mutex::new(Some(id))));
    let _guard = KillOnDrop(group.clone());
    let ended = tokio::task::spawn_blocking(move || reap(child, id, &group));
    let stdout = streams.0.map(tokio::process::ChildStdout::from_std).transpose();
    let stderr = streams.1.map(tokio::process::ChildStderr::from_std).transpose();
    let (Ok(Some(stdout)), Ok(Some(stderr))) = (stdout, stderr) else {
        return Err("the output of the program cannot be read".to_owned());
    };
    let ended = watch(ended, stdout, stderr);
    let slow = |_| Err(format!("the program did not end within {} s", limit.as_secs()));
    timeout(limit, ended).await.unwrap_or_else(slow)
}

/// Waits for the end of the first process, kills what it has left behind, and reaps it. Blocking.
fn reap(mut child: Child, id: Pid, group: &Group) -> std::io::Result<ExitStatus> {
    waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let mut running = lock(&group.0);
    let _ = kill_process_group(id, Signal::KILL);
    let status = child.wait();
    *running = None;
    status
}

/// Waits for the end of the program, and returns its output. A process that it leaves behind does not delay the end.
async fn watch(
    ended: tokio::task::JoinHandle<std::io::Result<ExitStatus>>,
    stdout: impl AsyncRead + Unpin,
    stderr: impl AsyncRead + Unpin,
) -> Result<(ExitStatus, Vec<u8>), String> {
    let (mut stdout, mut stderr, mut output) = (Some(stdout), Some(stderr), Vec::new());
    let mut ended = std::pin::pin!(ended);
    let status = tokio::select! {
        status = &mut ended => status,
        error = collect(&mut stdout, &mut stderr, &mut output) => return Err(error),
    };
    // The rest of the output is in the pipes already.
    let rest = collect(&mut stdout, &mut stderr, &mut output);
    if let Ok(error) = timeout(REST_MAX, rest).await {
        return Err(error);
    }
    let status = status.map_err(|error| error.to_string())?;
    let status = status.map_err(|error| format!("the end of the program is not known: {error}"))?;
    Ok((status, output))
}

/// Collects output. Returns an error when there is too much of it, and never else.
async fn collect(
    stdout: &mut Option<impl AsyncRead + Unpin>,
    stderr: &mut Option<impl AsyncRead + Unpin>,
    output: &mut Vec<u8>,
) -> String {
    while output.len() <= OUTPUT_BYTES_MAX {
        let (mut one, mut other) = ([0; 4096], [0; 4096]);
        let read = tokio::select! {
            count = read(stdout, &mut one) => &one[..count],
            count = read(stderr, &mut other) => &other[..count],
        };
        output.extend_from_slice(read);
    }
    format!("the program wrote more than {OUTPUT_BYTES_MAX} bytes")
}

/// Reads from a stream. Never returns after its end.
async fn read(stream: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    if let Some(open) = stream {
        match open.read(buffer).await {
            Ok(count) if count > 0 => return count,
            _ => *stream = None,
        }
    }
    std::future::pending().await
}

fn judge(status: ExitStatus) -> Result<Measurement, String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Measurement::Good),
        (Some(1), _) => Ok(Measurement::Bad),
        (Some(code), _) => Err(format!("the program ended with exit code {code}")),
        (None, Some(signal)) => Err(format!("the program was ended by signal {signal}")),
        (None, None) => Err("the program ended in an unknown way".to_owned()),
    }
}

/// The end of the output, for the operator.
fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    terminal::one_line(&last.chars().take(SHOWN_COUNT_MAX).collect::<String>())
}

/// Names, one on a line.
fn lines<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::conduct::checks::tests::target;

    async fn sh(script: &str) -> Result<Measurement, String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        measure(&"smoke".into(), &command, &target()).await
    }

    #[tokio::test]
    async fn the_exit_code_is_the_result() {
        assert_eq!(sh("exit 0").await, Ok(Measurement::Good));
        assert_eq!(sh("exit 1").await, Ok(Measurement::Bad));
        for (script, expected) in
            [("exit 2", "exit code 2"), ("kill -9 $$", "signal 9"), ("kill -15 $$", "signal 15")]
        {
            assert!(sh(script).await.unwrap_err().ends_with(expected), "{script}");
        }
        let missing = ["/nowhere/program".to_owned()];
        let error = measure(&"smoke".into(), &missing, &target()).await.unwrap_err();
        assert!(error.starts_with("the program cannot be started: "), "{error}");
    }

    #[tokio::test]
    async fn a_program_receives_the_rollout_and_nothing_of_the_server() {
        let script = "[ \"$HEADWATER_ROLLOUT $HEADWATER_CHECK\" = 'r smoke' ] \
            && [ \"$HEADWATER_APPLICATIONS\" = \"$(printf 'cart\\norder')\" ] \
            && [ \"$HEADWATER_CANARIES\" = \"$(printf 'cart-1\\nweb-1\\nweb-2')\" ] \
            && [ \"$(env | grep = | cut -d= -f1 | grep -v -e HEADWATER_ -e PATH -e PWD -e SHLVL -e '^_$')\" = '' ] \
            || { env; exit 2; }";
        assert_eq!(sh(script).await, Ok(Measurement::Good));
        let words =
            ["/bin/sh", "-c", "[ \"$1\" = '$HOME; x' ]", "sh", "$HOME; x"].map(str::to_owned);
        let measured = measure(&"smoke".into(), &words, &target()).await;
        assert_eq!(measured, Ok(Measurement::Good), "no shell reads the arguments");
    }

    #[tokio::test]
    async fn a_program_that_floods_its_output_is_killed() {
        for script in ["yes", "yes >&2", "yes & yes"] {
            let error = sh(script).await.unwrap_err();
            assert!(error.contains("more than 65536 bytes"), "{script}: {error}");
        }
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed() {
        let script = "trap '' TERM INT HUP; while :; do sleep 1000; done";
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let limit = Duration::from_millis(50);
        let error = run(&"smoke".into(), &command, &target(), limit).await.unwrap_err();
        assert!(error.starts_with("the program did not end within"), "{error}");
    }

    /// A process in the background holds a pipe, whose other end is read until all of its writers are gone.
    #[tokio::test]
    async fn what_a_program_leaves_behind_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let path = pipe.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        let script = format!(
            "exec 3>'{}'; echo ready >&3; (trap '' TERM; sleep 1000) & exit 1",
            pipe.display()
        );
        assert_eq!(sh(&script).await, Ok(Measurement::Bad));
        assert_eq!(reading.await.unwrap(), "ready\n");
    }

    #[test]
    fn the_last_line_is_shown_without_control_characters() {
        assert_eq!(last_line(b"a\nb\x1b[2J\n \n"), "b\\u{1b}[2J");
        assert_eq!(last_line(b""), "");
        assert_eq!(last_line("x".repeat(999).as_bytes()).len(), SHOWN_COUNT_MAX);
    }
}
