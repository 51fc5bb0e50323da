//! `headwater run --check` tries a change that is being pushed: it renders the files and checks them, and keeps none.

use std::fs;
use std::path::Path;

use super::bed::Run;
use crate::fixture::{Hosted, directory, eventually};

const PROGRAM: &str =
    "trap : HUP; cat app.cfg 2>/dev/null; echo started; while :; do sleep 0.02; done";

fn run(hosted: &Hosted, place: &Path, arguments: &[&str]) -> Run {
    let identity = ["--instance", "gateway-1", "--attributes", "version=2.0"];
    let file = ["--file", "app.j2:app.cfg", "--signal", "HUP"];
    let arguments = [&identity[..], &file, arguments, &["--", "sh", "-c", PROGRAM]].concat();
    let run = Run::start(place, *hosted.server, &arguments);
    run.writes("started");
    eventually("the instance has acknowledged", || {
        let listed = hosted.server.get("/-/instances").expect(200).json();
        listed["instances"].as_array().unwrap().iter().any(|it| it["outcome"] == "ok")
    });
    run
}

fn names(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|it| it.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_change_that_the_check_rejects_is_rejected_at_push() {
    let hosted = Hosted::new("//- app.yml\nport: 1\n");
    let place = directory("//- app.j2\nport {{ port }}\n");
    let running = run(&hosted, place.path(), &["--check", "! grep -q 13"]);
    let tree = hosted.clone("work");
    let tip = hosted.tip("main");
    let before = names(place.path());
    tree.commit("//- app.yml\nport: 13\n");
    tree.push(&["main"]).fails(&["app 2.0 on gateway-1 rejects it: check app.cfg"]);
    // The template needs a key.
    tree.commit("//- app.yml\nprot: 2\n");
    tree.push(&["main"]).fails(&["app 2.0 on gateway-1 rejects it: file app.cfg"]);
    assert_eq!(hosted.tip("main"), tip);
    assert_eq!(names(place.path()), before);
    assert_eq!(fs::read_to_string(place.path().join("app.cfg")).unwrap(), "port 1\n");
    // The program has received no signal and no other configuration.
    assert_eq!(running.out(), "port 1\nstarted\n");
    tree.commit("//- app.yml\nport: 2\n");
    tree.push(&["main"]).succeeds().says(&["tried on 1 of 1: app 2.0 accepts it"]);
    eventually("the file is replaced", || {
        fs::read_to_string(place.path().join("app.cfg")).unwrap() == "port 2\n"
    });
    running.stop();
}

#[test]
fn a_run_without_a_check_offers_no_trial() {
    let hosted = Hosted::new("//- app.yml\nport: 1\n");
    let place = directory("//- app.j2\nport {{ port }}\n");
    let running = run(&hosted, place.path(), &[]);
    let tree = hosted.clone("work");
    tree.commit("//- app.yml\nport: 2\n");
    let said = tree.push(&["main"]).succeeds();
    assert!(!said.err.contains("gateway-1") && !said.err.contains("tried"), "{}", said.err);
    running.stop();
}
