//! Rollouts of a repository that replicas share: a push to one replica holds at all of them, and each of them sees the
//! instances of the others.

mod fleet;
mod partition;

use headwater::settings::{RolloutDefault, Settings};
use headwater_client::{Client, Live};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::bed::{Bed, Replica};
use crate::conduct::{Orders, SLOW, has_applied};
use crate::fixture::{Address, Tree, apply, directory, eventually};
use crate::rollouts::{body, command};

/// The same with a bake that a test can wait for.
const QUICK: &str = "\
//- orders.yml
limit: 1
//- .headwater/rollout.toml
[plan.quick]
stages = [\"1\", \"all\"]
bake = \"2s\"
[[rule]]
plan = \"quick\"
";

/// The names of instances that requests make up.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn bed(fixture: &str) -> Bed {
    Bed { seed: directory(fixture), ..Bed::new() }
}

fn with_rollouts(settings: &mut Settings) {
    settings.rollout.default = RolloutDefault::Auto;
}

fn replicas<const COUNT: usize>(bed: &Bed) -> [Replica; COUNT] {
    std::array::from_fn(|_| bed.replica_with(with_rollouts))
}

/// A service at the first of these servers that accepts limits below 100. It goes to another one if that ends.
fn service(runtime: &Runtime, servers: &[Address], name: &str) -> Live<Orders> {
    let urls = servers.iter().map(|server| format!("http://{}", server.0));
    let builder = Client::builder().urls(urls).application("orders").profiles(["dev"]);
    let below_100 = |orders: &Orders| if orders.limit < 100 { Ok(()) } else { Err("too large") };
    let builder = builder.instance(name);
    let live = runtime.block_on(async { builder.live_with(below_100).await }).unwrap();
    eventually("the instance has acknowledged", || has_applied(servers[0], name, "ok"));
    live
}

fn commit(tree: &Tree, limit: u64) -> String {
    tree.commit(&format!("//- orders.yml\nlimit: {limit}\n"))
}

/// Waits until the limits of services are these, in order.
#[track_caller]
fn reach(services: &[Live<Orders>], expected: &[u64]) {
    let limits = || {
        let mut limits: Vec<u64> = services.iter().map(|live| live.current().limit).collect();
        limits.sort_unstable();
        limits
    };
    eventually(&format!("{expected:?}"), || limits() == expected);
}

/// The limit that a client without a name receives.
fn served(server: Address) -> String {
    server.get("/orders-dev.properties").expect(200).text().trim().to_owned()
}

/// The limit of an instance that asks once.
fn value_of(server: Address, name: &str) -> u64 {
    let answer = server.get_with("/orders-dev.json", &[("Headwater-Instance", name)]);
    answer.expect(200).json()["limit"].as_u64().unwrap()
}

fn holders(server: Address, value: u64) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| value_of(server, name) == value).collect()
}

fn apply_all(server: Address) {
    NAMES.into_iter().for_each(|name| apply(server, "/orders/dev", name));
}

fn list(server: Address) -> Vec<Value> {
    let list = server.get("/-/rollouts").expect(200).json();
    list["rollouts"].as_array().unwrap().clone()
}

/// The id of the rollout in a state, once there is one.
#[track_caller]
fn wait_for(server: Address, state: &str) -> String {
    let mut id = None;
    eventually(&format!("a rollout that is {state}"), || {
        let found = list(server).into_iter().find(|own| own["state"] == state);
        id = found.map(|own| own["id"].as_str().unwrap().to_owned());
        id.is_some()
    });
    id.unwrap()
}

/// The state of a rollout. Empty if the server does not know it.
fn state_of(server: Address, id: &str) -> String {
    let found = list(server).into_iter().find(|own| own["id"] == id);
    found.map_or(String::new(), |own| own["state"].as_str().unwrap().to_owned())
}

/// Waits until every replica knows the instances of the others: each has written its number to etcd.
#[track_caller]
fn counted(bed: &Bed, count: usize) {
    let prefix = format!("{}/rollouts/v1/evidence/main/", bed.prefix);
    eventually("the instances are counted", || {
        let (mut client, prefix) = (bed.etcd.client(), prefix.clone());
        let options = etcd_client::GetOptions::new().with_prefix();
        let found =
            bed.etcd.on(async move { client.get(prefix, Some(options)).await.expect("read") });
        let keys = found.kvs().iter().filter(|key| key.key().ends_with(b"/instances"));
        let counts = keys.map(|key| {
            let value: Value = serde_json::from_slice(key.value()).unwrap();
            let environments = value["environments"].as_array().unwrap().clone();
            environments
                .iter()
                .map(|own| own["acknowledging"].as_array().unwrap().len())
                .sum::<usize>()
        });
        counts.sum::<usize>() == count
    });
}

#[test]
fn a_push_to_one_replica_holds_at_all_of_them() {
    let bed = bed(SLOW);
    let [a, b, c] = replicas(&bed);
    let servers = [*a.server, *b.server, *c.server];
    apply_all(servers[1]);
    counted(&bed, NAMES.len());
    let tree = bed.clone(&a, "work");
    let tip = commit(&tree, 2);
    tree.push(&["main"]).succeeds().says(&["held for orders"]);
    let id = wait_for(servers[1], "stage");
    let canary = || holders(servers[1], 2);
    assert_eq!(canary().len(), 1);
    for server in servers {
        eventually("every replica has the same canary", || holders(server, 2) == canary());
        assert_eq!(served(server), "limit: 1");
        let held = server.get("/orders/dev").expect(200);
        assert_eq!(held.header("headwater-held-at"), Some(&*tip));
        assert_eq!(held.header("headwater-rollout"), Some(&*id));
    }
    // Another service does not wait for it.
    tree.commit("//- cart.yml\nsize: 2\n");
    tree.push(&["main"]).succeeds();
    assert_eq!(list(servers[0]).len(), 1);
    assert_eq!(state_of(servers[0], &id), "stage");
    // A command at any replica is one for all of them.
    command(servers[2], &id, &body("promote"), &[]).expect(200);
    for server in servers {
        eventually("all receive it", || served(server) == "limit: 2");
    }
    command(servers[0], &id, &body("promote"), &[]).expect(200);
    for server in servers {
        eventually("it is done", || state_of(server, &id) == "done");
    }
}

#[test]
fn a_rejection_at_another_replica_withholds_at_all_of_them() {
    let bed = bed(SLOW);
    let [a, b, c] = replicas(&bed);
    let runtime = Runtime::new().unwrap();
    let services: Vec<_> = NAMES.iter().map(|name| service(&runtime, &[*c.server], name)).collect();
    counted(&bed, NAMES.len());
    let tree = bed.clone(&a, "work");
    commit(&tree, 100);
    let said = tree.push(&["-o", "wait", "main"]).fails(&["rolled back"]);
    assert!(said.err.contains("rejected it"), "{}", said.err);
    for replica in [&a, &b, &c] {
        let server = *replica.server;
        wait_for(server, "withheld");
        assert_eq!(served(server), "limit: 1");
        assert!(holders(server, 100).is_empty());
    }
    reach(&services, &[1; 6]);
    // A correction by another replica is tried at the same instance.
    let tree = bed.clone(&b, "other");
    commit(&tree, 5);
    tree.push(&["main"]).succeeds();
    reach(&services, &[1, 1, 1, 1, 1, 5]);
}

#[test]
fn a_change_goes_to_all_with_the_evidence_of_all_replicas() {
    let bed = bed(QUICK);
    let [a, b] = replicas(&bed);
    let runtime = Runtime::new().unwrap();
    let at = |replica: &Replica, name| service(&runtime, &[*replica.server], name);
    let services = [at(&a, "a"), at(&a, "b"), at(&b, "c"), at(&b, "d")];
    counted(&bed, 4);
    let tree = bed.clone(&a, "work");
    commit(&tree, 2);
    tree.push(&["-o", "wait", "main"]).succeeds().says(&["going to all", "done"]);
    reach(&services, &[2; 4]);
    for server in [*a.server, *b.server] {
        wait_for(server, "done");
    }
    let prefix = format!("{}/rollouts/v1/evidence/main/", bed.prefix);
    eventually("the evidence is removed", || {
        bed.etcd.keys(&prefix).iter().all(|key| key.ends_with("/instances"))
    });
}

#[test]
fn pushes_and_commands_at_different_replicas_lose_nothing() {
    const ROUND_COUNT: u64 = 12;
    let bed = bed(SLOW);
    let [a, b] = replicas(&bed);
    let (here, there) = (*a.server, *b.server);
    apply_all(here);
    for name in NAMES {
        apply(here, "/cart/dev", name);
    }
    let tree = bed.clone(&a, "work");
    tree.commit("//- cart.yml\nsize: 2\n");
    tree.push(&["main"]).succeeds();
    let id = wait_for(there, "stage");
    let commanded = std::thread::scope(|scope| {
        let commanding = scope.spawn(|| {
            let answers = (0..ROUND_COUNT).map(|round| {
                let action = if round % 2 == 0 { "pause" } else { "resume" };
                command(there, &id, &body(action), &[]).status
            });
            answers.collect::<Vec<_>>()
        });
        for limit in 0..ROUND_COUNT {
            commit(&tree, 10 + limit);
            tree.push(&["main"]).succeeds();
        }
        commanding.join().unwrap()
    });
    assert_eq!(commanded, [200; ROUND_COUNT as usize]);
    for server in [here, there] {
        // The last command has resumed it, and the last push holds the last limit.
        eventually("it runs on", || state_of(server, &id) == "stage");
        eventually("the last change has one canary", || {
            holders(server, 9 + ROUND_COUNT).len() == 1
        });
        assert_eq!(served(server), "limit: 1");
    }
}
