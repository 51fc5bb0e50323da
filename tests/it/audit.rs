//! The audit trail of a server: its file as an auditor reads it, and what a kill leaves of it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use headwater_access::audit::{AuditEvent, AuditLine, Expected, VerifiedTrail, verify};
use tempfile::TempDir;

use crate::fixture::{Address, Child, Said, WorkingCopy, command, directory, eventually, signal};

/// How many times a server is killed.
const KILL_COUNT: usize = 8;

/// The audit file of a server, in a directory of its own.
pub(crate) struct TrailFile {
    directory: TempDir,
}

impl TrailFile {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    /// The whole lines of the file.
    pub(crate) fn lines(&self) -> Vec<AuditLine> {
        let text = std::fs::read_to_string(self.path()).unwrap();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn of(&self, event: AuditEvent) -> Vec<AuditLine> {
        let mut lines = self.lines();
        lines.retain(|line| line.event == event);
        lines
    }

    /// Waits for the first line that satisfies a condition.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, is: impl Fn(&AuditLine) -> bool) -> AuditLine {
        let mut found = None;
        eventually(what, || {
            found = self.lines().into_iter().find(|line| is(line));
            found.is_some()
        });
        found.unwrap()
    }

    #[track_caller]
    pub(crate) fn verify(&self) -> VerifiedTrail {
        let file = BufReader::new(std::fs::File::open(self.path()).unwrap());
        verify([("audit.jsonl".to_owned(), file)], &Expected::default()).unwrap()
    }

    /// Makes the file unwritable, also for root: a directory takes its place.
    pub(crate) fn block(&self) {
        std::fs::rename(self.path(), self.directory.path().join("moved")).unwrap();
        std::fs::create_dir(self.path()).unwrap();
    }

    /// Puts the file back, so that the chain continues in it.
    pub(crate) fn unblock(&self) {
        std::fs::remove_dir(self.path()).unwrap();
        std::fs::rename(self.directory.path().join("moved"), self.path()).unwrap();
    }
}

fn serve(place: &TempDir, trail: &TrailFile) -> Child {
    let config = place.path().join("headwater.toml");
    std::fs::write(&config, format!("[audit]\nfile = {:?}\n", trail.path())).unwrap();
    let (config, data) =
        (config.display().to_string(), place.path().join("data").display().to_string());
    Child::serve(&["--source", "hosted:main", "--data", &data, "--config", &config])
}

#[test]
fn every_acknowledged_push_is_in_the_trail_of_a_server_that_was_killed() {
    let (place, trail) = (directory(""), TrailFile::new());
    let mut server = serve(&place, &trail);
    let copy = WorkingCopy::clone(*server);
    let mut acknowledged = Vec::new();
    for count in 0..KILL_COUNT {
        let commit = copy.commit(&format!("//- orders.yml\ncount: {count}\n"));
        let said = if count % 2 == 0 {
            let said = copy.push();
            server.signal("KILL");
            said
        } else {
            // The kill comes somewhere within the push.
            std::thread::scope(|scope| {
                let pushing = scope.spawn(|| copy.push());
                let begun = trail.lines().len();
                eventually("the push is recorded or over", || {
                    pushing.is_finished() || trail.lines().len() > begun
                });
                server.signal("KILL");
                pushing.join().unwrap()
            })
        };
        if said.code == Some(0) {
            acknowledged.push(commit);
        }
        drop(server);
        server = serve(&place, &trail);
        copy.points_at(*server);
    }
    assert!(acknowledged.len() >= KILL_COUNT / 2, "{acknowledged:?}");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    let pushes = trail.of(AuditEvent::Push);
    for commit in &acknowledged {
        let of = |line: &&AuditLine| line.commits.contains(commit);
        let line = pushes.iter().find(of).expect("a line of an acknowledged push");
        assert_eq!(line.outcome.as_deref(), Some("accepted"));
        assert_eq!(line.paths, ["orders.yml"]);
    }
    assert_eq!(trail.of(AuditEvent::Started).len(), KILL_COUNT + 1);
    assert_eq!(trail.of(AuditEvent::Stopped).len(), 1);
    let head = trail.verify().head;
    // The log has a head of the trail, by which a removed end is detected.
    assert!(log.contains(&format!("\"head\":\"{head}\"")), "{head}: {log}");
}

/// Lines go to standard output where the settings say so.
#[test]
fn lines_can_go_to_standard_output_instead() {
    let place =
        directory("//- headwater.toml\n[audit]\nstdout = true\n//- config-repo/a.yml\na: 1\n");
    let mut process = command(place.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The log stays open until the end.
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listening = log.find(|line| line.contains("listening")).expect("an address");
    let listening: serde_json::Value = serde_json::from_str(&listening).unwrap();
    let (_, address) = listening["url"].as_str().unwrap().split_once("://").unwrap();
    // A server that answers has its handlers of signals.
    Address(address.parse().unwrap()).get("/livez").expect(200);
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    signal("TERM", process.id()).unwrap();
    let lines: Vec<AuditLine> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert!(process.wait().unwrap().success());
    let events: Vec<AuditEvent> = lines.iter().map(|line| line.event).collect();
    assert_eq!(events, [AuditEvent::Started, AuditEvent::Stopped]);
    assert_eq!(lines[0].seq, 1);
}

/// The message of a push that the trail of the server rejects.
#[track_caller]
pub(crate) fn is_rejected_by_the_trail(said: Said) {
    said.fails(&["push rejected, no branch was updated: the server cannot write its audit trail"]);
}
