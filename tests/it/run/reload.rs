//! What becomes of a change while the program runs: a check, a signal, a command or a restart, and one at a time.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::bed::{Run, children, lives};
use crate::fixture::{Repository, Server, directory, eventually};

/// Writes what its file holds when it starts, when it gets HUP, and that it ends.
const PROGRAM: &str = r#"
import os, signal, sys
def show(why):
    print(why, open("app.cfg").read().strip(), flush=True)
signal.signal(signal.SIGHUP, lambda *_: show("again"))
signal.signal(signal.SIGTERM, lambda *_: (print("ended", flush=True), os._exit(0)))
show("start")
while True:
    signal.pause()
"#;

struct Stage {
    repository: Repository,
    server: Server,
    place: TempDir,
}

impl Stage {
    fn new() -> Self {
        let repository = Repository::new("//- app.yml\nport: 1\nother: 1\n");
        let server = Server::start(&repository.uri());
        let place = directory(&format!("//- app.j2\nport {{{{ port }}}}\n//- app.py\n{PROGRAM}"));
        Self { repository, server, place }
    }

    fn place(&self) -> &Path {
        self.place.path()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let program = ["--", "python3", "app.py"];
        let arguments = [&["--file", "app.j2:app.cfg"], arguments, &program].concat();
        let run = Run::start(self.place(), *self.server, &arguments);
        run.writes("start port 1");
        run
    }

    fn commit(&self, port: &str) {
        self.repository.commit(&format!("//- app.yml\nport: {port}\nother: 1\n"));
    }

    fn file(&self) -> String {
        fs::read_to_string(self.place().join("app.cfg")).unwrap()
    }
}

#[test]
fn a_signal_tells_the_program_of_its_new_file() {
    let stage = Stage::new();
    let run = stage.run(&["--signal", "HUP"]);
    let before = children(run.id());
    stage.commit("2");
    run.writes("again port 2");
    stage.commit("3");
    run.writes("again port 3");
    assert_eq!(children(run.id()), before);
    assert_eq!(run.stop().out, "start port 1\nagain port 2\nagain port 3\nended\n");
}

#[test]
fn a_change_that_leaves_the_file_as_it_is_does_nothing() {
    let stage = Stage::new();
    let run = stage.run(&["--signal", "HUP"]);
    let inode = || {
        let found = fs::metadata(stage.place().join("app.cfg")).unwrap();
        std::os::unix::fs::MetadataExt::ino(&found)
    };
    let before = inode();
    stage.repository.commit("//- app.yml\nport: 1\nother: 2\n");
    run.says("new configuration received");
    assert_eq!(inode(), before);
    stage.commit("3");
    run.writes("again port 3");
    assert_eq!(run.stop().out, "start port 1\nagain port 3\nended\n");
}

#[test]
fn without_a_word_the_file_is_replaced_and_the_program_left_alone() {
    let stage = Stage::new();
    let run = stage.run(&[]);
    stage.commit("2");
    eventually("the file is replaced", || stage.file() == "port 2\n");
    assert_eq!(run.stop().out, "start port 1\nended\n");
}

#[test]
fn a_restart_brings_the_new_file() {
    let stage = Stage::new();
    let run = stage.run(&["--restart"]);
    stage.commit("2");
    run.writes("start port 2");
    assert_eq!(run.stop().out, "start port 1\nended\nstart port 2\nended\n");
}

#[test]
fn a_command_reloads_and_may_fail() {
    let stage = Stage::new();
    let run = stage.run(&["--reload", "kill -HUP $HEADWATER_CHILD; echo reloading; exit 3"]);
    stage.commit("2");
    run.writes("again port 2");
    // What the command prints is not the program's output.
    run.says("reloading");
    run.says("the reload command failed");
    stage.commit("3");
    run.writes("again port 3");
    assert_eq!(run.stop().out, "start port 1\nagain port 2\nagain port 3\nended\n");
}

#[test]
fn a_check_that_refuses_keeps_the_old_file_and_says_so() {
    let stage = Stage::new();
    let check = r#"echo "checking $HEADWATER_TARGET"; ! grep -q 13"#;
    let run = stage.run(&["--signal", "HUP", "--check", check]);
    stage.commit("13");
    run.says("app.cfg: the check command rejected the new file");
    assert_eq!(stage.file(), "port 1\n");
    stage.commit("2");
    run.writes("again port 2");
    run.says("checking app.cfg");
    assert_eq!(run.stop().out, "start port 1\nagain port 2\nended\n");
    assert_eq!(fs::read_dir(stage.place()).unwrap().count(), 3);
}

#[test]
fn a_template_that_fails_keeps_the_old_file_and_says_so() {
    let stage = Stage::new();
    let run = stage.run(&["--signal", "HUP"]);
    stage.repository.commit("//- app.yml\nprot: 2\n");
    run.says("app.j2:1: undefined value");
    assert_eq!(stage.file(), "port 1\n");
    stage.commit("3");
    run.writes("again port 3");
    assert_eq!(run.stop().out, "start port 1\nagain port 3\nended\n");
}

#[test]
fn a_place_that_cannot_be_written_keeps_the_program_running() {
    let stage = Stage::new();
    fs::create_dir(stage.place().join("d")).unwrap();
    let run = stage.run(&["--file", "app.j2:d/other.cfg", "--signal", "HUP"]);
    fs::rename(stage.place().join("d"), stage.place().join("away")).unwrap();
    stage.commit("2");
    run.says("cannot write d/other.cfg");
    // All of them or none.
    assert_eq!(stage.file(), "port 1\n");
    fs::rename(stage.place().join("away"), stage.place().join("d")).unwrap();
    stage.commit("3");
    run.writes("again port 3");
    assert_eq!(run.stop().out, "start port 1\nagain port 3\nended\n");
}

#[test]
fn changes_during_a_reload_are_one_more() {
    let stage = Stage::new();
    let reload =
        "echo reload >>log; until [ -e go ]; do sleep 0.01; done; kill -HUP $HEADWATER_CHILD";
    let run = stage.run(&["--reload", reload]);
    let log = || fs::read_to_string(stage.place().join("log")).unwrap_or_default();
    stage.commit("2");
    eventually("the reload runs", || log() == "reload\n");
    for (count, port) in [(2, "3"), (3, "4")] {
        stage.commit(port);
        eventually("the change is noticed", || {
            run.said_count("new configuration received") == count
        });
    }
    assert_eq!(stage.file(), "port 2\n");
    fs::write(stage.place().join("go"), "").unwrap();
    run.writes("again port 4");
    assert_eq!(run.stop().status.code(), Some(0));
    assert_eq!(log(), "reload\nreload\n");
}

#[test]
fn a_reload_that_is_running_ends_with_the_program() {
    let stage = Stage::new();
    let run = stage.run(&["--reload", "echo $$ >id; sleep 1000 & echo $! >>id; wait"]);
    stage.commit("2");
    let ids = || fs::read_to_string(stage.place().join("id")).unwrap_or_default();
    eventually("the reload runs", || ids().lines().count() == 2);
    assert_eq!(run.stop().status.code(), Some(0));
    let ids: Vec<u32> = ids().lines().map(|id| id.parse().unwrap()).collect();
    eventually("the reload has ended", || !ids.iter().any(|id| lives(*id)));
}

#[test]
fn a_text_of_the_server_that_changes_alone_is_noticed() {
    let stage = Stage::new();
    stage.repository.commit("//- text.cfg\none ${port}\n");
    // By a hint of the server, and by the clock where none comes.
    for (refresh, before, text) in [("3600", "one", "two"), ("0.1", "two", "three")] {
        let arguments = ["--file", "server:text.cfg:text", "--signal", "HUP", "--refresh", refresh];
        let run = stage.run(&arguments);
        let found = || fs::read_to_string(stage.place().join("text")).unwrap();
        assert_eq!(found(), format!("{before} 1\n"));
        stage.repository.commit(&format!("//- text.cfg\n{text} ${{port}}\n"));
        run.writes("again port 1");
        assert_eq!(found(), format!("{text} 1\n"));
        assert_eq!(run.said_count("new configuration received"), 0);
        run.stop();
    }
}

#[test]
fn with_variables_too_the_way_that_was_asked_for_counts() {
    let stage = Stage::new();
    let run = stage.run(&["--env", "--signal", "HUP"]);
    stage.commit("2");
    run.writes("again port 2");
    assert_eq!(run.stop().out, "start port 1\nagain port 2\nended\n");
    stage.commit("1");
    eventually("the server has it", || {
        stage.server.get("/app-default.yml").text().contains("port: 1")
    });
    let run = stage.run(&["--env"]);
    stage.commit("2");
    run.writes("start port 2");
    assert_eq!(run.stop().out, "start port 1\nended\nstart port 2\nended\n");
}
