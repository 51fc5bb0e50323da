//! What servers are told: which configuration a program runs with, and which one it does not take.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::bed::Run;
use crate::fixture::{Repository, Server, directory, eventually};

/// Its file is there when it starts; it stays, whatever it is told.
const PROGRAM: &str =
    "trap : HUP; cat app.cfg 2>/dev/null; echo started; while :; do sleep 0.02; done";

struct Stage {
    repository: Repository,
    server: Server,
    place: TempDir,
}

impl Stage {
    fn new() -> Self {
        let repository = Repository::new("//- app.yml\nport: 1\n");
        let server = Server::start(&repository.uri());
        let place = directory("//- app.j2\nport {{ port }}\n");
        Self { repository, server, place }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let program = ["--", "sh", "-c", PROGRAM];
        let arguments = [&["--instance", "gateway-1"], arguments, &program].concat();
        let run = Run::start(self.place.path(), *self.server, &arguments);
        run.writes("started");
        run
    }

    fn commit(&self, text: &str) -> String {
        self.repository.commit(&format!("//- app.yml\n{text}\n"))
    }

    /// Waits until the server shows this outcome for this revision.
    #[track_caller]
    fn shows(&self, outcome: &str, revision: &str) {
        eventually(&format!("{outcome} is shown"), || {
            let listed = self.server.get("/-/instances").expect(200).json();
            let instances = listed["instances"].as_array().cloned().unwrap_or_default();
            let found = instances.iter().find(|it| it["instance"] == "gateway-1");
            found.is_some_and(|it| {
                it["application"] == "app" && it["outcome"] == outcome && it["revision"] == revision
            })
        });
    }

    /// Waits until the server shows a member of the instance with this value.
    #[track_caller]
    fn shows_member(&self, name: &str, member: &str, value: &Value) {
        eventually(&format!("{member} {value} is shown"), || {
            let listed = self.server.get("/-/instances").expect(200).json();
            let instances = listed["instances"].as_array().cloned().unwrap_or_default();
            instances.iter().any(|it| it["instance"] == name && it[member] == *value)
        });
    }

    fn revision(&self) -> String {
        let answer = self.server.get("/app/default");
        answer.header("headwater-revision").expect("a revision").to_owned()
    }
}

#[test]
fn a_program_with_a_file_is_shown_with_what_it_took_and_what_it_did_not() {
    let stage = Stage::new();
    let run =
        stage.run(&["--file", "app.j2:app.cfg", "--check", "! grep -q 13", "--signal", "HUP"]);
    stage.shows("ok", &stage.revision());
    // A check refuses.
    let refused = stage.commit("port: 13");
    stage.shows("rejected", &refused);
    stage.shows_member("gateway-1", "reason", &"check app.cfg".into());
    let taken = stage.commit("port: 2");
    stage.shows("ok", &taken);
    stage.shows_member("gateway-1", "reason", &Value::Null);
    // A template fails.
    let broken = stage.commit("prot: 2");
    stage.shows("rejected", &broken);
    stage.shows_member("gateway-1", "reason", &"file app.cfg".into());
    assert_eq!(fs::read_to_string(stage.place.path().join("app.cfg")).unwrap(), "port 2\n");
    // What leaves the file as it is takes effect all the same.
    let same = stage.commit("port: 2\nother: 1");
    stage.shows("ok", &same);
    run.stop();
}

#[test]
fn a_program_that_is_started_again_is_shown_once_it_runs() {
    let stage = Stage::new();
    let run = stage.run(&[]);
    stage.shows("ok", &stage.revision());
    let restarted = stage.commit("port: 2");
    stage.shows("ok", &restarted);
    assert_eq!(run.out(), "started\nstarted\n");
    let clash = stage.commit("a.b-c: 1\na.b.c: 2");
    stage.shows("rejected", &clash);
    run.stop();
}

#[test]
fn a_reload_that_fails_is_shown_as_a_rejection() {
    let stage = Stage::new();
    let run = stage.run(&["--file", "app.j2:app.cfg", "--reload", "! grep -q 13 app.cfg"]);
    stage.shows("ok", &stage.revision());
    let failed = stage.commit("port: 13");
    stage.shows("rejected", &failed);
    stage.shows_member("gateway-1", "reason", &"reload".into());
    let reloaded = stage.commit("port: 2");
    stage.shows("ok", &reloaded);
    run.stop();
}

#[test]
fn a_program_that_fails_is_shown_as_down_and_its_next_run_as_a_restart() {
    let stage = Stage::new();
    let start = |program: &str| {
        let arguments = ["--instance", "gateway-1", "--attributes", "version=1.4,zone=eu-1"];
        let arguments = [&arguments[..], &["--", "sh", "-c", program]].concat();
        Run::start(stage.place.path(), *stage.server, &arguments)
    };
    let run = start("until [ -e fail ]; do sleep 0.02; done; exit 3");
    stage.shows_member("gateway-1", "health", &"up".into());
    let attributes = serde_json::json!({"version": "1.4", "zone": "eu-1"});
    stage.shows_member("gateway-1", "attributes", &attributes);
    fs::write(stage.place.path().join("fail"), "").unwrap();
    assert_eq!(run.ended().status.code(), Some(3));
    stage.shows_member("gateway-1", "health", &"down".into());
    stage.shows_member("gateway-1", "reason", &"exit 3".into());
    let run = start(PROGRAM);
    stage.shows_member("gateway-1", "restarts", &1.into());
    stage.shows_member("gateway-1", "health", &"up".into());
    run.stop();
    // It was told to end: nothing has failed.
    stage.shows_member("gateway-1", "connected", &false.into());
    stage.shows_member("gateway-1", "health", &"up".into());
}

#[test]
fn programs_of_one_host_without_a_name_are_different_instances() {
    let stage = Stage::new();
    let locks = directory("");
    let start = || {
        let mut command =
            super::bed::headwater(stage.place.path(), *stage.server, &["--", "sh", "-c", PROGRAM]);
        Run::of({
            command.env("TMPDIR", locks.path());
            command
        })
    };
    let connected = || {
        let listed = stage.server.get("/-/instances").expect(200).json();
        let instances = listed["instances"].as_array().cloned().unwrap_or_default();
        let connected = instances.iter().filter(|it| it["connected"] == true);
        let names = connected.map(|it| it["instance"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let first = start();
    first.writes("started");
    eventually("one is connected", || connected().len() == 1);
    let host = connected().remove(0);
    let second = start();
    second.writes("started");
    let both = [host.clone(), format!("{host}:2")];
    eventually("both are connected", || connected() == both);
    // The first one starts again and is the same instance.
    first.stop();
    eventually("one has ended", || connected().len() == 1);
    let again = start();
    again.writes("started");
    eventually("both are connected again", || connected() == both);
    stage.shows_member(&host, "restarts", &1.into());
    again.stop();
    second.stop();
}

/// A copy from the disk is nothing that a server knows; it is shown as soon as a server says that it is the present one.
#[test]
fn a_stale_start_is_shown_once_the_server_is_back() {
    let stage = Stage::new();
    let arguments = ["--last-known-good", "copy", "--deadline", "0.3"];
    stage.run(&arguments).stop();
    assert!(Path::new(stage.place.path()).join("copy").is_dir());
    let Stage { repository, server, place } = stage;
    let mut again = crate::fixture::settings(&repository.uri());
    again.listen = server.0;
    drop(server);
    let program = ["--instance", "gateway-1", "--", "sh", "-c", PROGRAM];
    let address = crate::fixture::Address(again.listen);
    let run = Run::start(place.path(), address, &[&arguments[..], &program].concat());
    run.writes("started");
    run.says("starting with a stale configuration");
    let stage = Stage { server: Server::with(again), repository, place };
    stage.shows("ok", &stage.revision());
    assert_eq!(run.out(), "started\n");
    run.stop();
}
