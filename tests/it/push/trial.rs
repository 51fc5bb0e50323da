//! Trials: before a push is accepted, running instances say whether they would accept it, and apply nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use headwater_client::{Client, Live};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::SHOP;
use crate::fixture::{
    Address, Child, Hosted, Tree, apply, clone, directory, eventually, repository_url,
};

const PATH: &str = "/orders/dev";

#[derive(Debug, Deserialize)]
struct Orders {
    limit: u64,
}

/// Commits a limit, and returns the id of the commit.
fn commit(tree: &Tree, limit: &str) -> String {
    tree.commit(&format!("//- orders.yml\nname: Orders\nlimit: {limit}\n"))
}

/// Makes the work tree as it was before the last commit, which the server has rejected.
fn take_back(tree: &Tree) {
    tree.git(&["reset", "--quiet", "--hard", "HEAD~1"]).succeeds();
}

/// A service that accepts limits below 100 and panics at 13.
struct Service {
    live: Live<Orders>,
    place: tempfile::TempDir,
}

impl Service {
    fn start(runtime: &Runtime, server: Address, name: &str, version: &str) -> Self {
        let place = directory("");
        let builder =
            Client::builder().urls([format!("http://{}", server.0)]).application("orders");
        let builder = builder.profiles(["dev"]).instance(name).version(version);
        let builder = builder.last_known_good(place.path()).no_contract();
        let validate = |orders: &Orders| {
            assert_ne!(orders.limit, 13, "unlucky");
            if orders.limit < 100 { Ok(()) } else { Err("too large") }
        };
        let live = runtime.block_on(async { builder.live_with(validate).await }).unwrap();
        acknowledged(server, name);
        Self { live, place }
    }

    fn limit(&self) -> u64 {
        self.live.current().limit
    }

    /// Everything in the directory of the last-known-good copy.
    fn copies(&self) -> String {
        let entries =
            std::fs::read_dir(self.place.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
    }
}

/// Waits until an instance has acknowledged what it uses.
fn acknowledged(server: Address, name: &str) {
    eventually("the instance has acknowledged", || {
        let listed = server.get("/-/instances").expect(200).json();
        let listed = listed["instances"].as_array().unwrap().clone();
        listed.iter().any(|it| it["instance"] == name && it["outcome"] == "ok")
    });
}

/// An instance on a bare socket, which offers to try configurations and has acknowledged the present one.
struct RawInstance {
    server: Address,
    name: String,
    stream: BufReader<TcpStream>,
}

impl RawInstance {
    fn open(server: Address, name: &str, version: &str) -> Self {
        let instance = Self::stranger(server, name, version);
        apply(server, PATH, name);
        instance
    }

    /// The same without an acknowledgement.
    fn stranger(server: Address, name: &str, version: &str) -> Self {
        let mut stream = server.connect();
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nHeadwater-Instance: {name}\r\n\
             Headwater-Attributes: version={version}\r\nHeadwater-Can: fly, try\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut instance = Self { server, name: name.to_owned(), stream: BufReader::new(stream) };
        instance.line("event: environment");
        instance.line("data: ");
        instance
    }

    /// Reads to the next line that begins with this, and returns its rest.
    fn line(&mut self, begin: &str) -> String {
        for line in self.stream.by_ref().lines() {
            if let Some(rest) = line.unwrap().strip_prefix(begin) {
                return rest.to_owned();
            }
        }
        panic!("the stream ended before {begin}");
    }

    /// Waits for a question. Returns its id and its environment.
    fn question(&mut self) -> (String, String) {
        self.line("event: try");
        (self.line("try: "), self.line("data: "))
    }

    fn answer(&self, text: &str) {
        answer(self.server, &self.name, text);
    }
}

/// Answers a trial in the name of an instance.
fn answer(server: Address, name: &str, text: &str) {
    let headers = [
        ("Headwater-Instance", name),
        ("Headwater-Tried", text),
        ("Headwater-Reason", "invalid x"),
    ];
    server.ask("HEAD", PATH, &headers).expect(200);
}

#[test]
fn a_value_that_a_service_rejects_is_rejected_at_push_and_reaches_none() {
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    let runtime = Runtime::new().unwrap();
    let services = [("web-1", "1.4"), ("web-2", "1.4"), ("web-3", "1.5")];
    let services = services.map(|(name, version)| Service::start(&runtime, server, name, version));
    let tree = hosted.clone("work");
    let tip = hosted.tip("main");
    for options in [&["main"][..], &["-o", "now", "main"], &["-o", "dry-run", "main"]] {
        commit(&tree, "110");
        let said = tree.push(options).fails(&[
            "remote: orders 1.4 on web-1 rejects it: invalid",
            "remote: orders 1.5 on web-3 rejects it: invalid",
            "remote: push rejected, no branch was updated. Change the values",
        ]);
        // One instance of each version is asked.
        assert!(!said.err.contains("web-2"), "{}", said.err);
        take_back(&tree);
    }
    // The type does not fit, and a panic ends no service.
    commit(&tree, "many");
    tree.push(&["main"]).fails(&["orders 1.4 on web-1 rejects it: type limit"]);
    take_back(&tree);
    commit(&tree, "13");
    tree.push(&["main"]).fails(&["orders 1.4 on web-1 rejects it: invalid"]);
    take_back(&tree);
    assert_eq!(hosted.tip("main"), tip);
    for service in &services {
        assert_eq!(service.limit(), 1);
        assert!(service.live.rejection().is_none());
        assert!(!service.copies().contains("110"));
    }
    let listed = server.get("/-/instances").expect(200).text();
    assert!(!listed.contains("rejected"), "{listed}");
    // A value that they accept.
    commit(&tree, "2");
    let said = tree.push(&["-o", "wait", "main"]).succeeds();
    said.says(&["remote: tried on 2 of 3: orders 1.4 and 1.5 accept it", "3 of 3 have it"]);
    assert!(services.iter().all(|service| service.limit() == 2));
}

#[test]
fn a_trial_reads_the_candidate_once_and_leaves_the_contract_and_the_value_alone() {
    static SEEN: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    let runtime = Runtime::new().unwrap();
    let builder = Client::builder().urls([format!("http://{}", server.0)]).application("orders");
    let builder = builder.profiles(["dev"]).instance("web-1").no_contract();
    let validate = |orders: &Orders| {
        SEEN.lock().unwrap().push(orders.limit);
        Ok::<(), String>(())
    };
    let live = runtime.block_on(async { builder.live_with(validate).await }).unwrap();
    acknowledged(server, "web-1");
    let tree = hosted.clone("work");
    commit(&tree, "7");
    tree.push(&["-o", "dry-run", "main"]).fails(&["tried on 1 of 1: orders accepts it"]);
    assert_eq!(*SEEN.lock().unwrap(), [1, 7]);
    assert_eq!(live.current().limit, 1);
    // A change of another service is none for this one.
    take_back(&tree);
    tree.commit("//- cart.yml\nname: Trolley\n");
    let said = tree.push(&["main"]).succeeds();
    assert!(!said.err.contains("tried"), "{}", said.err);
    assert_eq!(*SEEN.lock().unwrap(), [1, 7]);
}

#[test]
fn a_service_that_opts_out_and_a_server_that_tries_nothing_ask_none() {
    for (seconds, opts_out) in [(5, true), (0, false)] {
        let hosted = Hosted::with(SHOP, |settings| settings.push.try_seconds = seconds);
        let server = *hosted.server;
        let runtime = Runtime::new().unwrap();
        let builder = Client::builder().urls([format!("http://{}", server.0)]);
        let builder = builder.application("orders").profiles(["dev"]).instance("web-1");
        let builder = if opts_out { builder.no_try() } else { builder };
        let below_100 = |it: &Orders| if it.limit < 100 { Ok(()) } else { Err("too large") };
        let live = runtime.block_on(async { builder.live_with(below_100).await }).unwrap();
        acknowledged(server, "web-1");
        let tree = hosted.clone("work");
        commit(&tree, "110");
        let said = tree.push(&["main"]).succeeds();
        assert!(!said.err.contains("tried") && !said.err.contains("rejects"), "{}", said.err);
        eventually("the service rejects it", || live.rejection().is_some());
    }
}

#[test]
fn with_checks_that_only_warn_a_rejection_is_a_warning() {
    let hosted = Hosted::with(SHOP, |settings| {
        settings.push.checks = headwater::settings::Checks::Warn;
    });
    let runtime = Runtime::new().unwrap();
    let service = Service::start(&runtime, *hosted.server, "web-1", "1.4");
    let tree = hosted.clone("work");
    let tip = commit(&tree, "110");
    tree.push(&["main"]).succeeds().says(&[
        "orders 1.4 on web-1 rejects it: invalid",
        "accepted although instances reject it, because push.checks = warn",
    ]);
    assert_eq!(hosted.tip("main"), tip);
    assert_eq!(service.limit(), 1);
}

#[test]
fn an_instance_that_does_not_answer_delays_a_push_and_is_asked_last_from_then_on() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.try_seconds = 1);
    let server = *hosted.server;
    let tree = hosted.clone("work");
    let mut silent = RawInstance::open(server, "a-silent", "1.4");
    commit(&tree, "2");
    let said = tree.push(&["main"]).succeeds();
    said.says(&["remote: orders 1.4 on a-silent has not answered: no verdict"]);
    let (id, environment) = silent.question();
    assert!(environment.contains("\"limit\":2"), "{environment}");
    // It answers after the trial.
    silent.answer(&format!("{id} rejected"));
    apply(server, PATH, "a-silent");
    let mut other = RawInstance::open(server, "b-answers", "1.4");
    commit(&tree, "3");
    let pushing = tree.begin_push(&["main"]);
    let (id, _) = other.question();
    other.answer(&format!("{id} ok"));
    let (code, said) = pushing.end();
    assert!(code == 0 && said.contains("tried on 1 of 2: orders 1.4 accepts it"), "{said}");
}

#[test]
fn only_the_asked_instance_answers_and_only_once() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.try_seconds = 30);
    let server = *hosted.server;
    let tree = hosted.clone("work");
    let mut asked = RawInstance::open(server, "a", "1.4");
    let _other = RawInstance::open(server, "b", "1.4");
    // It has not acknowledged the present content, so that its verdict would not count.
    let _stranger = RawInstance::stranger(server, "c", "1.5");
    commit(&tree, "2");
    let pushing = tree.begin_push(&["main"]);
    let (id, environment) = asked.question();
    assert!(environment.contains("\"limit\":2"), "{environment}");
    let (digest, _) = id.split_once('.').unwrap();
    for (name, text) in [
        ("b", format!("{id} rejected")),
        ("c", format!("{id} rejected")),
        ("nobody", format!("{id} rejected")),
        ("a", format!("{digest} rejected")),
        ("a", format!("{digest}.0123456789abcdef rejected")),
        ("a", format!("{id} maybe")),
        ("a", "rejected".to_owned()),
        ("a", "x".repeat(4_000)),
    ] {
        answer(server, name, &text);
    }
    // Another run of the same name.
    let headers = [
        ("Headwater-Instance", "a"),
        ("Headwater-Incarnation", "a-2"),
        ("Headwater-Tried", &format!("{id} rejected")),
    ];
    server.ask("HEAD", PATH, &headers).expect(200);
    // Another environment.
    let headers = [("Headwater-Instance", "a"), ("Headwater-Tried", &format!("{id} rejected"))];
    server.ask("HEAD", "/cart/dev", &headers).expect(200);
    asked.answer(&format!("{id} ok"));
    asked.answer(&format!("{id} rejected"));
    let (code, said) = pushing.end();
    assert!(code == 0 && said.contains("tried on 1 of 3: orders 1.4 accepts it"), "{said}");
    // The stream goes on with the published environment.
    asked.line("event: environment");
    assert!(asked.line("data: ").contains("\"limit\":2"));
}

#[test]
fn the_end_of_the_connection_ends_the_trial() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.try_seconds = 60);
    let tree = hosted.clone("work");
    let mut leaving = RawInstance::open(*hosted.server, "a", "1.4");
    let tip = commit(&tree, "2");
    let pushing = tree.begin_push(&["main"]);
    leaving.question();
    drop(leaving);
    let (code, said) = pushing.end();
    assert!(code == 0 && said.contains("orders 1.4 on a has not answered: no verdict"), "{said}");
    assert_eq!(hosted.tip("main"), tip);
}

#[test]
fn a_rejected_candidate_is_served_and_listed_nowhere() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.try_seconds = 30);
    let server = *hosted.server;
    let tree = hosted.clone("work");
    let mut asked = RawInstance::open(server, "a", "1.4");
    let tip = commit(&tree, "424242");
    let pushing = tree.begin_push(&["main"]);
    let (id, environment) = asked.question();
    assert!(environment.contains(&tip), "{environment}");
    for path in [PATH, "/orders-dev.yml", "/orders/dev/main", "/orders/default", "/-/instances"] {
        let reply = server.get(path).expect(200).everything();
        assert!(!reply.contains("424242") && !reply.contains(&tip), "{path}: {reply}");
    }
    server.get(&format!("/orders/dev/{tip}")).expect(404);
    asked.answer(&format!("{id} rejected"));
    let (code, said) = pushing.end();
    assert!(code != 0 && said.contains("orders 1.4 on a rejects it: invalid x"), "{said}");
    let reply = server.get(PATH).expect(200).everything();
    assert!(!reply.contains("424242"), "{reply}");
    server.get(&format!("/orders/dev/{tip}")).expect(404);
}

#[test]
fn a_server_that_stops_does_not_wait_for_a_trial() {
    let (place, seed) = (directory(""), directory(SHOP));
    let data = place.path().join("data").display().to_string();
    let server = Child::serve(&[
        "--source",
        "hosted:main",
        "--data",
        &data,
        "--seed",
        &seed.path().display().to_string(),
    ]);
    let tree = clone(&repository_url(server.0), &place.path().join("work"));
    let mut asked = RawInstance::open(*server, "a", "1.4");
    commit(&tree, "2");
    let pushing = tree.begin_push(&["main"]);
    asked.question();
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    let (_, said) = pushing.end();
    assert!(!said.contains("rejects it"), "{said}");
}
