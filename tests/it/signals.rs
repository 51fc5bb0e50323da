//! The signals of `headwater serve`: which of them stop it, which re-read files, and that none ends it abruptly.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use crate::fixture::{Child, Reply, Repository, command, directory, eventually, read, signal};

/// Waits for an answer that does not come before the server stops.
const POLL: &str = "GET /orders/dev HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nPrefer: wait=40\r\nConnection: close\r\n\r\n";

fn shop() -> Repository {
    Repository::new("//- orders.yml\na: 1\n")
}

#[test]
fn each_signal_that_stops_the_server_drains_it() {
    let repository = shop();
    for signal in ["TERM", "INT", "QUIT"] {
        let server = Child::serve(&["--source", &repository.uri()]);
        let mut poll = server.connect();
        poll.write_all(POLL.as_bytes()).unwrap();
        eventually("the poll waits", || {
            server.get("/metrics").text().contains("headwater_watchers 1\n")
        });
        let (ended, log) = server.stop_by(signal);
        assert_eq!(ended.code(), Some(0), "{signal}: {log}");
        assert_eq!(read(&mut poll, false).status, 304, "{signal}");
        assert!(log.contains("stopping"), "{signal}: {log}");
    }
}

#[test]
fn other_signals_are_ignored_and_logged() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    for signal in ["USR1", "USR2"] {
        server.signal(signal);
        eventually("the log has it", || server.log().contains(&format!("\"signal\":\"{signal}\"")));
        server.get("/orders/dev").expect(200);
    }
    server.signal("HUP");
    eventually("the log has it", || server.log().contains("files of the settings re-read"));
    server.get("/orders/dev").expect(200);
    assert_eq!(server.stop().0.code(), Some(0));
}

/// What a server is started with and reads again.
struct Guarded {
    place: tempfile::TempDir,
    server: Child,
    asked_count: std::cell::Cell<usize>,
}

impl Guarded {
    fn new() -> Self {
        let place = directory(
            "//- read\nold\n//- push\nold-push\n//- hook\nold-hook\n//- seed/orders.yml\na: 1\n",
        );
        let path = |name: &str| place.path().join(name).display().to_string();
        let server = Child::serve_with(
            &["--source", "hosted:main", "--seed", &path("seed"), "--data", &path("data")],
            &[
                ("HEADWATER_TOKEN_FILE", &path("read")),
                ("HEADWATER_PUSH_TOKEN_FILE", &path("push")),
                ("HEADWATER_MONITOR_SECRET_FILE", &path("hook")),
            ],
        );
        Self { place, server, asked_count: std::cell::Cell::new(0) }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.place.path().join(name), text).unwrap();
    }

    /// Sends HUP and waits until the server has done what it does then.
    fn reload(&self) {
        self.asked_count.set(self.asked_count.get() + 1);
        self.server.signal("HUP");
        eventually("files are re-read", || {
            let log = self.server.log();
            log.matches("files of the settings re-read").count() == self.asked_count.get()
        });
    }

    fn read(&self, token: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        self.server.get_with("/orders/dev", &[("Authorization", &bearer)]).status
    }

    fn push(&self, token: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        let path = "/-/git/main.git/info/refs?service=git-receive-pack";
        self.server.get_with(path, &[("Authorization", &bearer)]).status
    }

    fn hook(&self, secret: &str) -> Reply {
        let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), b"{}");
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.server.send(
            format!(
                "POST /monitor HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Hub-Signature-256: sha256={tag}\r\n\
                 Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            )
            .as_bytes(),
        )
    }
}

#[test]
fn hup_re_reads_tokens_and_secrets() {
    let guarded = Guarded::new();
    assert_eq!((guarded.read("old"), guarded.read("new")), (200, 401));
    for (file, text) in [("read", "new"), ("push", "new-push"), ("hook", "old-hook\nnew-hook\n")] {
        guarded.write(file, text);
    }
    assert_eq!(guarded.read("old"), 200, "nothing is read before it is asked for");
    guarded.reload();
    assert_eq!((guarded.read("old"), guarded.read("new")), (401, 200));
    assert_eq!((guarded.push("old-push"), guarded.push("new-push")), (401, 200));
    for secret in ["old-hook", "new-hook"] {
        guarded.hook(secret).expect(200);
    }
    guarded.write("hook", "new-hook\n");
    guarded.reload();
    guarded.hook("old-hook").expect(401);
    guarded.hook("new-hook").expect(200);
}

#[test]
fn a_file_that_cannot_be_re_read_leaves_what_was_read_before() {
    let guarded = Guarded::new();
    fs::remove_file(guarded.place.path().join("read")).unwrap();
    guarded.write("push", " \n");
    guarded.write("hook", "new-hook\n");
    guarded.reload();
    assert_eq!((guarded.read("old"), guarded.push("old-push")), (200, 200));
    // The others are re-read all the same.
    guarded.hook("new-hook").expect(200);
    let log = guarded.server.log();
    for part in ["a file was not re-read", "token file", "is empty", "\"failed_count\":2"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    for secret in ["old-push", "new-hook"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// A repository that is shared waits for etcd at the start.
#[test]
fn hup_does_not_end_a_server_that_is_starting() {
    let place = directory("");
    let mut process = command(place.path())
        .args(["serve", "--source", "hosted:main", "--listen", "127.0.0.1:0"])
        .args(["--share", "etcd://127.0.0.1:1/headwater"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", process.id());
    eventually("the server listens to HUP", || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 != 0
    });
    for name in ["HUP", "USR1", "USR2"] {
        signal(name, process.id()).unwrap();
    }
    eventually("the server holds its data", || place.path().join("headwater-data").exists());
    assert_eq!(process.try_wait().unwrap(), None, "a signal ended it");
    process.kill().unwrap();
    process.wait().unwrap();
}
