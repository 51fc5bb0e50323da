//! `git push -o wait`: the push ends when the instances have the change, or says why they do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_client::{Client, Live};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::SHOP;
use crate::fixture::{
    Address, Child, Hosted, Pushing, Tree, acknowledgement, apply, clone, directory, eventually,
    repository_url, speak,
};

/// The configuration of a service that accepts limits below 100.
#[derive(Debug, Deserialize)]
pub(super) struct Orders {
    pub(super) limit: u64,
}

pub(super) fn commit(tree: &Tree, limit: u64) -> String {
    tree.commit(&format!("//- orders.yml\nname: Orders\nlimit: {limit}\n"))
}

/// Begins a push that waits, and waits until the server waits.
fn begin(tree: &Tree, options: &[&str]) -> Pushing {
    let mut arguments = vec!["-o", "wait"];
    arguments.extend_from_slice(options);
    arguments.push("main");
    let pushing = tree.begin_push(&arguments);
    pushing.says("published main at");
    pushing
}

#[track_caller]
pub(super) fn ends(pushing: Pushing, is_success: bool, parts: &[&str]) -> String {
    let (code, said) = pushing.end();
    assert_eq!(code == 0, is_success, "{code}: {said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
    said
}

/// A service with the client crate.
pub(super) fn service(runtime: &Runtime, server: Address, name: &str) -> Live<Orders> {
    let builder = Client::builder().urls([format!("http://{}", server.0)]);
    // A trial would reject the push before it could wait.
    let builder = builder.application("orders").profiles(["dev"]).instance(name).no_try();
    let below_100 = |orders: &Orders| if orders.limit < 100 { Ok(()) } else { Err("too large") };
    let live = runtime.block_on(async { builder.live_with(below_100).await }).unwrap();
    let is_known = || {
        let listed = server.get("/-/instances").expect(200).json();
        let listed = listed["instances"].as_array().unwrap().clone();
        listed.iter().any(|it| it["instance"] == name && it["outcome"] == "ok")
    };
    eventually("the instance has acknowledged", is_known);
    live
}

#[test]
fn a_push_ends_when_the_services_have_the_change_and_fails_when_they_reject_it() {
    let hosted = Hosted::new(SHOP);
    let runtime = Runtime::new().unwrap();
    let services = ["web-1", "web-2"].map(|name| service(&runtime, *hosted.server, name));
    let tree = hosted.clone("work");
    let tip = commit(&tree, 2);
    let said = tree.push(&["-o", "wait", "main"]).succeeds();
    said.says(&[
        "remote: changes 2 environments: orders/dev 2 instances, orders/default 0",
        &format!("remote: published main at {}", &tip[..10]),
        " s  2 of 2 have it",
        "main -> main",
    ]);
    assert!(services.iter().all(|live| live.current().limit == 2));
    // A change that the services reject.
    let tip = commit(&tree, 100);
    let began = Instant::now();
    let said = tree.push(&["-o", "wait", "main"]).fails(&[
        "0 of 2 have it, and so many have rejected it that 100% cannot be reached",
        "orders: rejected by web-",
        &format!("main has moved to {} and stays there. Push a correction", &tip[..10]),
    ]);
    // It is known before the time is up, and git knows that the branch has moved.
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(said.err.contains("main -> main") && !said.err.contains("rejected]"), "{}", said.err);
    let known = tree.git(&["rev-parse", "origin/main"]).succeeds();
    assert_eq!(known.out.trim(), tip);
    assert_eq!(hosted.tip("main"), tip);
    assert!(services.iter().all(|live| live.current().limit == 2));
    // The correction arrives.
    commit(&tree, 3);
    tree.push(&["-o", "wait", "main"]).succeeds().says(&["2 of 2 have it"]);
}

#[test]
fn only_witnesses_are_awaited_and_a_share_of_them_is_enough() {
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    let tree = hosted.clone("work");
    for name in ["a", "b", "c"] {
        apply(server, "/orders/dev", name);
    }
    server.get_with("/orders/dev", &[("Headwater-Instance", "stranger")]).expect(200);
    apply(server, "/cart/dev", "d");
    commit(&tree, 2);
    let mut pushing = begin(&tree, &["-o", "wait=50%"]);
    pushing.says("changes 2 environments: orders/dev 3 instances, orders/default 0");
    pushing.says("not awaited, because they have never reported what they apply: orders: stranger");
    apply(server, "/orders/dev", "stranger");
    apply(server, "/orders/dev", "a");
    pushing.says(" s  orders: 1 of 3 has it");
    assert!(pushing.is_running());
    apply(server, "/orders/dev", "b");
    ends(pushing, true, &[" s  2 of 3 have it", "main -> main"]);
}

#[test]
fn a_push_without_an_instance_to_wait_for_ends_at_once() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    commit(&tree, 2);
    tree.push(&["-o", "wait", "main"]).succeeds().says(&[
        "changes 1 environment: orders/default 0 instances",
        "no instance of them reports what it applies: nothing to wait for",
    ]);
    tree.commit("//- readme.txt\nhello\n");
    tree.push(&["-o", "wait", "main"]).succeeds().says(&["changes: nothing to wait for"]);
    tree.git(&["tag", "v1"]).succeeds();
    tree.push(&["-o", "wait", "v1"]).succeeds().says(&["changes: nothing to wait for"]);
}

#[test]
fn the_end_of_the_time_is_an_error_that_says_that_the_branch_has_moved() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    apply(*hosted.server, "/orders/dev", "slow-1");
    let tip = commit(&tree, 2);
    // The server says something at least every 10 s.
    let pushing = begin(&tree, &["-o", "timeout=10"]);
    pushing.says(" s  0 of 1 have it");
    let said = ends(
        pushing,
        false,
        &[
            "the wait ended after 10 s: 0 of 1 have it. not yet: orders: slow-1. ",
            &format!("main has moved to {} and stays there", &tip[..10]),
        ],
    );
    assert!(!said.contains("rejected"), "{said}");
    assert_eq!(hosted.tip("main"), tip);
    let served = hosted.server.get("/orders/dev").expect(200);
    assert_eq!(served.header("headwater-revision"), Some(&*tip));
}

#[test]
fn a_waiting_push_delays_no_other_one_and_a_later_revision_counts() {
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    let (first, second) = (hosted.clone("first"), hosted.clone("second"));
    apply(server, "/orders/dev", "a");
    let original = acknowledgement(server, "/orders/dev", "ok");
    commit(&first, 2);
    let mut waiting = begin(&first, &[]);
    // Another person fetches, pushes and deletes nothing of it, while the first push waits.
    second.git(&["pull", "--quiet"]).succeeds();
    commit(&second, 3);
    second.push(&["main"]).succeeds();
    assert!(waiting.is_running(), "{}", waiting.said());
    // The instance that acknowledges the old revision again does not have it.
    speak(server, "/orders/dev", "a", &original);
    assert!(waiting.is_running());
    apply(server, "/orders/dev", "a");
    ends(waiting, true, &["1 of 1 has it"]);
    // An instance that has the content without having seen the revision.
    let known = acknowledgement(server, "/orders/dev", "ok");
    second.git(&["fetch", "--quiet"]).succeeds();
    commit(&second, 4);
    let mut waiting = begin(&second, &[]);
    speak(server, "/orders/dev", "a", &known);
    assert!(waiting.is_running());
    first.git(&["pull", "--quiet"]).succeeds();
    commit(&first, 3);
    first.push(&["main"]).succeeds();
    ends(waiting, true, &["1 of 1 has it"]);
}

#[test]
fn an_instance_at_a_commit_that_was_rolled_back_does_not_have_the_change() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.allow_force = true);
    let server = *hosted.server;
    let tree = hosted.clone("work");
    commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    apply(server, "/orders/dev", "a");
    tree.git(&["reset", "--quiet", "--hard", "HEAD~1"]).succeeds();
    let pushing = begin(&tree, &["--force", "-o", "timeout=2"]);
    ends(pushing, false, &["the wait ended after 2 s: 0 of 1 have it"]);
    apply(server, "/orders/dev", "a");
}

/// More pushes than may wait: the last one is published and told, and a client that leaves makes room.
#[test]
fn sixty_four_pushes_wait_and_the_next_one_is_told() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    apply(*hosted.server, "/orders/dev", "a");
    let mut waiting = Vec::new();
    for number in 0..64 {
        commit(&tree, 2 + number);
        let pushing = begin(&tree, &[]);
        pushing.says("orders/dev 1 instance");
        // Git has not learnt that the branch has moved.
        tree.git(&["fetch", "--quiet"]).succeeds();
        waiting.push(pushing);
    }
    assert!(waiting.iter_mut().all(Pushing::is_running));
    let tip = commit(&tree, 100);
    tree.push(&["-o", "wait", "main"]).fails(&[
        "published main at",
        "64 other pushes wait already, so that this one does not",
        &format!("main has moved to {}", &tip[..10]),
    ]);
    assert_eq!(hosted.tip("main"), tip);
    tree.git(&["fetch", "--quiet"]).succeeds();
    waiting.pop().unwrap().kill();
    eventually("there is room", || {
        commit(&tree, fastrand::u64(1_000..1_000_000));
        let pushing = begin(&tree, &[]);
        let is_waiting = loop {
            let said = pushing.said();
            if said.contains("orders/dev 1 instance") {
                break true;
            }
            if said.contains("wait already") {
                break false;
            }
            std::thread::yield_now();
        };
        tree.git(&["fetch", "--quiet"]).succeeds();
        is_waiting
    });
    // All of them end with the revision that the instance has now.
    apply(*hosted.server, "/orders/dev", "a");
    for pushing in waiting {
        ends(pushing, true, &["1 of 1 has it"]);
    }
}

/// A server of its own process, with a clone.
struct Served {
    data: String,
    seed: tempfile::TempDir,
    place: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let place = directory("");
        let data = place.path().join("data").display().to_string();
        Self { data, seed: directory(SHOP), place }
    }

    fn start(&self) -> Child {
        let seed = self.seed.path().display().to_string();
        Child::serve(&["--source", "hosted:main", "--data", &self.data, "--seed", &seed])
    }

    fn clone(&self, server: &Child) -> Tree {
        clone(&repository_url(server.0), &self.place.path().join("work"))
    }
}

#[test]
fn a_server_that_stops_ends_the_wait_with_a_line() {
    let served = Served::new();
    let server = served.start();
    let tree = served.clone(&server);
    apply(*server, "/orders/dev", "a");
    commit(&tree, 2);
    let pushing = begin(&tree, &[]);
    pushing.says("orders/dev 1 instance");
    let began = Instant::now();
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert!(began.elapsed() < Duration::from_secs(8), "the wait delays the stop");
    ends(pushing, false, &["0 of 1 have it, and this server stops. main has moved to"]);
}

#[test]
fn a_server_that_is_killed_during_a_wait_keeps_the_push() {
    let served = Served::new();
    let server = served.start();
    let tree = served.clone(&server);
    apply(*server, "/orders/dev", "a");
    let tip = commit(&tree, 2);
    let pushing = begin(&tree, &[]);
    pushing.says("orders/dev 1 instance");
    server.stop_by("KILL");
    let said = ends(pushing, false, &[]);
    assert!(!said.contains("rejected"), "{said}");
    let server = served.start();
    let answer = server.get("/orders/dev").expect(200);
    assert_eq!(answer.header("headwater-revision"), Some(&*tip));
    tree.git(&["remote", "set-url", "origin", &repository_url(server.0)]).succeeds();
    commit(&tree, 3);
    tree.push(&["-o", "wait", "main"]).succeeds().says(&["nothing to wait for"]);
}

#[test]
fn a_thousand_instances_are_counted_while_a_push_waits() {
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    let names: Arc<Vec<String>> = Arc::new((0..1_000).map(|it| format!("web-{it}")).collect());
    let old = acknowledgement(server, "/orders/dev", "ok");
    names.iter().for_each(|name| speak(server, "/orders/dev", name, &old));
    let tree = hosted.clone("work");
    commit(&tree, 2);
    let pushing = begin(&tree, &[]);
    pushing.says("orders/dev 1000 instances");
    let new = acknowledgement(server, "/orders/dev", "ok");
    names.iter().for_each(|name| speak(server, "/orders/dev", name, &new));
    ends(pushing, true, &["1000 of 1000 have it"]);
}
