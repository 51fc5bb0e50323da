//! Rollouts from a push to the end, with real git and services that use the client crate.

use headwater::settings::RolloutDefault;
use headwater_client::{Client, Live};
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::fixture::{
    Address, Child, Hosted, Tree, acknowledgement, clone, directory, eventually, repository_url,
    speak,
};

/// A service, another one, and a plan whose first stage lasts until somebody decides.
pub(crate) const SLOW: &str = "\
//- orders.yml
limit: 1
//- cart.yml
size: 1
//- .headwater/rollout.toml
[plan.slow]
stages = [\"1\", \"all\"]
bake = \"1h\"
[[rule]]
plan = \"slow\"
";

/// The same with a bake that a test can wait for.
const QUICK: &str = "\
//- orders.yml
limit: 1
//- .headwater/rollout.toml
[plan.quick]
stages = [\"1\", \"all\"]
bake = \"1s\"
[[rule]]
plan = \"quick\"
";

#[derive(Debug, Deserialize)]
pub(crate) struct Orders {
    pub(crate) limit: u64,
}

/// A service that accepts limits below 100.
fn service(runtime: &Runtime, server: Address, name: &str) -> Live<Orders> {
    let builder = Client::builder().urls([format!("http://{}", server.0)]);
    // A trial would reject what a canary is to reject here.
    let builder = builder.application("orders").profiles(["dev"]).instance(name).no_try();
    let below_100 = |orders: &Orders| if orders.limit < 100 { Ok(()) } else { Err("too large") };
    let live = runtime.block_on(async { builder.live_with(below_100).await }).unwrap();
    eventually("the instance has acknowledged", || has_applied(server, name, "ok"));
    live
}

/// Returns true if an instance has acknowledged with an outcome.
pub(crate) fn has_applied(server: Address, name: &str, outcome: &str) -> bool {
    let listed = server.get("/-/instances").expect(200).json();
    let listed = listed["instances"].as_array().unwrap().clone();
    listed.iter().any(|it| it["instance"] == name && it["outcome"] == outcome)
}

fn services(runtime: &Runtime, server: Address, count: usize) -> Vec<Live<Orders>> {
    (0..count).map(|number| service(runtime, server, &format!("web-{number}"))).collect()
}

fn commit(tree: &Tree, limit: u64) -> String {
    tree.commit(&format!("//- orders.yml\nlimit: {limit}\n"))
}

fn limits(services: &[Live<Orders>]) -> Vec<u64> {
    let mut limits: Vec<u64> = services.iter().map(|live| live.current().limit).collect();
    limits.sort_unstable();
    limits
}

#[track_caller]
fn reach(services: &[Live<Orders>], expected: &[u64]) {
    eventually(&format!("{expected:?}"), || limits(services) == expected);
}

/// The limit that a client without a name receives.
fn served(server: Address) -> String {
    server.get("/orders-dev.properties").expect(200).text().trim().to_owned()
}

fn hosted(fixture: &str) -> Hosted {
    Hosted::with(fixture, |settings| settings.rollout.default = RolloutDefault::Auto)
}

#[test]
fn a_change_reaches_one_instance_first_and_then_all() {
    let hosted = hosted(QUICK);
    let runtime = Runtime::new().unwrap();
    let services = services(&runtime, *hosted.server, 3);
    let tree = hosted.clone("work");
    let tip = commit(&tree, 2);
    tree.push(&["main"]).succeeds().says(&["held for orders: rollout r-", &tip[..10]]);
    reach(&services, &[1, 1, 2]);
    reach(&services, &[2, 2, 2]);
    eventually("everyone has it", || served(*hosted.server) == "limit: 2");
}

#[test]
fn a_first_stage_lasts_and_everyone_else_receives_stable_content() {
    let hosted = hosted(SLOW);
    let runtime = Runtime::new().unwrap();
    let services = services(&runtime, *hosted.server, 4);
    let tree = hosted.clone("work");
    let stable = hosted.tip("main");
    let tip = commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    reach(&services, &[1, 1, 1, 2]);
    let answer = hosted.server.get("/orders/dev").expect(200);
    assert_eq!(answer.header("headwater-revision"), Some(&*stable));
    assert_eq!(answer.header("headwater-held-at"), Some(&*tip));
    assert!(answer.header("headwater-rollout").is_some_and(|id| id.starts_with("r-")));
    assert_eq!(served(*hosted.server), "limit: 1");
    // Another service does not wait for this rollout.
    tree.commit("//- cart.yml\nsize: 2\n");
    tree.push(&["main"]).succeeds();
    assert_eq!(hosted.server.get("/cart-dev.properties").expect(200).text().trim(), "size: 2");
    assert_eq!(limits(&services), [1, 1, 1, 2]);
    // A comment changes nothing.
    tree.commit("//- orders.yml\n# A comment.\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    assert_eq!(limits(&services), [1, 1, 1, 2]);
    // A correction begins again, at the same instance.
    commit(&tree, 3);
    tree.push(&["main"]).succeeds().says(&["superseded"]);
    reach(&services, &[1, 1, 1, 3]);
    // The content from before is served at once.
    commit(&tree, 1);
    tree.push(&["main"]).succeeds();
    reach(&services, &[1, 1, 1, 1]);
    assert!(hosted.server.get("/orders/dev").expect(200).header("headwater-rollout").is_none());
}

#[test]
fn a_rejection_by_the_canary_goes_back_and_stays_withheld() {
    let hosted = hosted(SLOW);
    let server = *hosted.server;
    let runtime = Runtime::new().unwrap();
    let services = services(&runtime, server, 4);
    let tree = hosted.clone("work");
    commit(&tree, 100);
    tree.push(&["main"]).succeeds();
    let withheld = || server.get("/-/problems").expect(200).text().contains("withheld");
    eventually("the change is withheld", withheld);
    assert_eq!(limits(&services), [1, 1, 1, 1]);
    assert_eq!(served(server), "limit: 1");
    // A comment does not release it, a correction does.
    tree.commit("//- orders.yml\n# A comment.\nlimit: 100\n");
    tree.push(&["main"]).succeeds();
    assert_eq!(served(server), "limit: 1");
    commit(&tree, 5);
    tree.push(&["main"]).succeeds();
    reach(&services, &[1, 1, 1, 5]);
}

#[test]
fn a_push_with_now_or_without_instances_goes_to_everyone_at_once() {
    let hosted = hosted(SLOW);
    let tree = hosted.clone("work");
    commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    assert_eq!(served(*hosted.server), "limit: 2");
    let runtime = Runtime::new().unwrap();
    let services = services(&runtime, *hosted.server, 3);
    commit(&tree, 3);
    tree.push(&["-o", "now", "main"]).succeeds();
    assert_eq!(served(*hosted.server), "limit: 3");
    reach(&services, &[3, 3, 3]);
}

/// The real binary over a data directory that outlives it.
struct Place {
    data: tempfile::TempDir,
    seed: tempfile::TempDir,
}

impl Place {
    fn new(fixture: &str) -> Self {
        Self { data: tempfile::tempdir().unwrap(), seed: directory(fixture) }
    }

    fn serve(&self) -> Child {
        let data = self.data.path().join("data").display().to_string();
        let seed = self.seed.path().display().to_string();
        let arguments = ["--source", "hosted:main", "--data", &data, "--seed", &seed];
        Child::serve_with(&arguments, &[("HEADWATER_ROLLOUT_DEFAULT", "auto")])
    }
}

/// An instance that asks once, with an acknowledgement of what it has.
fn value_of(server: Address, name: &str) -> u64 {
    let answer = server.get_with("/orders-dev.json", &[("Headwater-Instance", name)]);
    answer.expect(200).json()["limit"].as_u64().unwrap()
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// The instances with a value.
fn holders(server: Address, value: u64) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| value_of(server, name) == value).collect()
}

fn speak_all(server: Address) {
    for name in NAMES {
        speak(server, "/orders/dev", name, &acknowledgement(server, "/orders/dev", "ok"));
    }
}

#[test]
fn a_killed_server_gives_the_candidate_to_the_same_canaries_only() {
    let place = Place::new(SLOW);
    let server = place.serve();
    speak_all(*server);
    let tree = clone(&repository_url(server.0), &place.data.path().join("work"));
    commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    eventually("a canary", || holders(*server, 2).len() == 1);
    let canary = holders(*server, 2);
    server.stop_by("KILL");
    let server = place.serve();
    assert_eq!(holders(*server, 2), canary);
    assert_eq!(served(*server), "limit: 1");
    // A file that was edited by hand stops the start, and can be put aside.
    server.stop();
    let file = place.data.path().join("data/hosted/main.git/headwater-rollouts.json");
    let text = std::fs::read_to_string(&file).unwrap().replace("\"running\"", "\"Running\"");
    std::fs::write(&file, text).unwrap();
    let data = place.data.path().join("data").display().to_string();
    let arguments =
        ["serve", "--source", "hosted:main", "--data", &data, "--listen", "127.0.0.1:0"];
    let refused = crate::fixture::command(place.data.path()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("headwater-rollouts.json") && said.contains("--forget-rollouts"),
        "{said}"
    );
    let arguments = ["--source", "hosted:main", "--data", &data, "--forget-rollouts"];
    let server = Child::serve(&arguments);
    assert_eq!(served(*server), "limit: 2");
    assert!(!file.exists());
}

#[test]
fn a_push_right_after_a_restart_is_held_for_the_instances_from_before() {
    let place = Place::new(SLOW);
    let server = place.serve();
    speak_all(*server);
    let tree = clone(&repository_url(server.0), &place.data.path().join("work"));
    let history = place.data.path().join("data/history");
    let is_recorded = || {
        let mut files = std::fs::read_dir(&history).into_iter().flatten().flatten();
        files.any(|file| {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            NAMES.iter().all(|name| text.contains(&format!("\"instance\":\"{name}\"")))
        })
    };
    eventually("the instances are in the history", is_recorded);
    server.stop_by("KILL");
    let server = place.serve();
    tree.git(&["remote", "set-url", "origin", &repository_url(server.0)]).succeeds();
    commit(&tree, 2);
    tree.push(&["main"]).succeeds().says(&["held for orders", "1 of 6 first"]);
    assert_eq!(served(*server), "limit: 1");
    // What is held stays held, also for a server that remembers nobody.
    server.stop_by("KILL");
    std::fs::remove_dir_all(&history).unwrap();
    let server = place.serve();
    tree.git(&["remote", "set-url", "origin", &repository_url(server.0)]).succeeds();
    commit(&tree, 3);
    tree.push(&["main"]).succeeds().says(&["held for orders"]);
    assert_eq!(served(*server), "limit: 1");
}

#[test]
fn a_plan_that_comes_with_a_candidate_does_not_decide_about_it() {
    let hosted = hosted(SLOW);
    let runtime = Runtime::new().unwrap();
    let services = services(&runtime, *hosted.server, 3);
    let tree = hosted.clone("work");
    let plan = "//- .headwater/rollout.toml\n[[rule]]\nplan = \"all-at-once\"\n";
    tree.commit(&format!("//- orders.yml\nlimit: 2\n{plan}"));
    tree.push(&["main"]).succeeds();
    reach(&services, &[1, 1, 2]);
    commit(&tree, 3);
    tree.push(&["main"]).succeeds().says(&["held for orders"]);
    reach(&services, &[1, 1, 3]);
    assert_eq!(served(*hosted.server), "limit: 1");
}
