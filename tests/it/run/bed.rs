//! A run of the real binary: what its program writes, what it says itself, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::fixture::{self, Address, command, eventually};

/// Lines that come in while a program runs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Lines {
    fn read(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let mut text = lines.0.lock().expect("the lines");
                text.push_str(&String::from_utf8_lossy(&line));
                text.push('\n');
            }
        })
    }

    fn text(&self) -> String {
        self.0.lock().expect("the lines").clone()
    }
}

/// A run. Killed by its id when it is dropped, and its program with it.
pub(super) struct Run {
    process: std::process::Child,
    out: Lines,
    err: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// How a run ended, and what was said.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) out: String,
    pub(super) err: String,
}

/// `headwater run` for the application `app`, with nothing of this process's own settings.
pub(super) fn headwater(place: &Path, server: Address, arguments: &[&str]) -> Command {
    let mut command = command(place);
    let url = format!("http://{}", server.0);
    command.args(["run", "app", "--url", &url]).args(arguments);
    command
}

impl Run {
    pub(super) fn start(place: &Path, server: Address, arguments: &[&str]) -> Self {
        Self::of(headwater(place, server, arguments))
    }

    pub(super) fn of(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the binary starts");
        let (out, err) = (Lines::default(), Lines::default());
        let readers = vec![
            out.read(process.stdout.take().expect("its output")),
            err.read(process.stderr.take().expect("its standard error")),
        ];
        Self { process, out, err, readers }
    }

    /// What the program has written so far.
    pub(super) fn out(&self) -> String {
        self.out.text()
    }

    /// What headwater has said so far, and what the program wrote there.
    pub(super) fn err(&self) -> String {
        self.err.text()
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the program has written a line.
    #[track_caller]
    pub(super) fn writes(&self, line: &str) {
        let wrote = || self.out().lines().any(|found| found == line);
        eventually(&format!("the program writes {line:?}"), || {
            wrote() || {
                assert!(!self.err().contains("panicked"), "{}", self.err());
                false
            }
        });
    }

    /// Waits until headwater has said something.
    #[track_caller]
    pub(super) fn says(&self, part: &str) {
        eventually(&format!("{part:?} is said"), || self.err().contains(part));
    }

    /// How often something was said so far.
    pub(super) fn said_count(&self, part: &str) -> usize {
        self.err().matches(part).count()
    }

    #[track_caller]
    pub(super) fn signal(&self, name: &str) {
        signal(name, self.id());
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(super) fn ended(mut self) -> Ended {
        let mut status = None;
        eventually("the run ends", || {
            status = self.process.try_wait().expect("its state");
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("what it wrote is read");
        }
        Ended { status: status.expect("ended"), out: self.out(), err: self.err() }
    }

    /// Tells it to end and waits for that.
    #[track_caller]
    pub(super) fn stop(self) -> Ended {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            // What a test that failed leaves behind: the program, and headwater, which could not end it.
            for child in children(self.process.id()) {
                let _ = fixture::signal("KILL", child);
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

impl Ended {
    /// Exit code 2 before anything was started, with a line that says why.
    #[track_caller]
    pub(super) fn refuses(&self, parts: &[&str]) {
        assert_eq!(self.status.code(), Some(2), "{}{}", self.out, self.err);
        let line = self.err.lines().rfind(|line| line.starts_with("headwater: "));
        let line = line.unwrap_or_else(|| panic!("no reason: {}", self.err));
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(self.out, "");
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

/// Runs to its end.
#[track_caller]
pub(super) fn run(place: &Path, server: Address, arguments: &[&str]) -> Ended {
    Run::start(place, server, arguments).ended()
}

#[track_caller]
pub(super) fn signal(name: &str, id: u32) {
    let sent = fixture::signal(name, id);
    assert!(sent.is_ok(), "{name} to {id}: {sent:?}");
}

/// The processes whose parent this is.
pub(super) fn children(id: u32) -> Vec<u32> {
    let path = format!("/proc/{id}/task/{id}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|id| id.parse().expect("an id")).collect()
}

/// Whether a process is there and no zombie.
pub(super) fn lives(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
