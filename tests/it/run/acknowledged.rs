//! What servers are told: which configuration a program runs with, and which one it does not take.

use std::fs;
use std::path::Path;

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
    let taken = stage.commit("port: 2");
    stage.shows("ok", &taken);
    // A template fails.
    let broken = stage.commit("prot: 2");
    stage.shows("rejected", &broken);
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
    let reloaded = stage.commit("port: 2");
    stage.shows("ok", &reloaded);
    run.stop();
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
