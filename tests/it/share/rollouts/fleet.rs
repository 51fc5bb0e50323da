//! Replicas that come, go, and have other versions.

use serde_json::json;

use super::{
    NAMES, QUICK, SLOW, apply_all, bed, commit, counted, list, reach, replicas, served, service,
    state_of, wait_for,
};
use crate::fixture::{Child, Tree, clone, eventually, repository_url};
use crate::share::bed::Bed;
use tokio::runtime::Runtime;

/// Writes the report of a replica that does not exist. It stays until it is deleted.
fn announce(bed: &Bed, id: &str, rollouts: Option<&[&str]>) -> String {
    let key = format!("{}/replicas/v1/{id}", bed.prefix);
    let mut report = json!({ "name": id, "version": "0.1.0", "address": "http://127.0.0.1:1" });
    if let Some(rollouts) = rollouts {
        report["rollouts"] = json!(rollouts);
    }
    bed.etcd.put(&key, report.to_string().as_bytes());
    key
}

fn sees(server: crate::fixture::Address, name: &str, is_live: bool) {
    eventually(&format!("{name} is live: {is_live}"), || {
        let listed = server.get("/-/replicas").expect(200).json();
        let listed = listed["replicas"].as_array().unwrap().clone();
        listed.iter().any(|own| own["name"] == name && own["state"] == "live") == is_live
    });
}

#[test]
fn nothing_is_promoted_while_a_live_replica_gives_no_evidence() {
    let bed = bed(QUICK);
    let [a, b] = replicas(&bed);
    let runtime = Runtime::new().unwrap();
    let services = ["a", "b"].map(|name| service(&runtime, &[*a.server], name));
    let ghost = announce(&bed, "ghost", Some(&["main"]));
    // A replica that shares another repository has nothing to do with it.
    announce(&bed, "stranger", Some(&["other"]));
    for server in [*a.server, *b.server] {
        sees(server, "ghost", true);
    }
    let tree = bed.clone(&b, "work");
    counted(&bed, 2);
    commit(&tree, 2);
    tree.push(&["main"]).succeeds().says(&["held for orders"]);
    eventually("it waits for the replica", || {
        list(*b.server).iter().any(|own| {
            own["state"] == "trying"
                && own["missing"].as_str().is_some_and(|it| it.contains("ghost"))
        })
    });
    reach(&services, &[1, 1]);
    bed.etcd.delete(&ghost);
    reach(&services, &[2, 2]);
    wait_for(*b.server, "done");
}

#[test]
fn no_rollout_begins_beside_an_older_version_and_one_that_joins_pauses_all() {
    let bed = bed(SLOW);
    let [a, b] = replicas(&bed);
    apply_all(*a.server);
    let old = announce(&bed, "old", None);
    sees(*a.server, "old", true);
    let tree = bed.clone(&a, "work");
    commit(&tree, 2);
    tree.push(&["main"]).succeeds().says(&["replica old has a version without rollouts"]);
    for server in [*a.server, *b.server] {
        eventually("all receive it", || served(server) == "limit: 2");
    }
    bed.etcd.delete(&old);
    sees(*a.server, "old", false);
    apply_all(*a.server);
    commit(&tree, 3);
    tree.push(&["main"]).succeeds();
    let id = wait_for(*b.server, "stage");
    announce(&bed, "old", None);
    for server in [*a.server, *b.server] {
        eventually("it is paused", || state_of(server, &id) == "paused");
        assert_eq!(served(server), "limit: 2");
    }
}

/// The real binary on a disk of its own.
fn serve(bed: &Bed, name: &str) -> Child {
    let (data, seed) = (bed.place.path().join(name), bed.seed.path());
    let (data, seed) = (data.to_str().unwrap(), seed.to_str().unwrap());
    let uri = bed.uri();
    let arguments = ["--source", "hosted:main", "--data", data, "--seed", seed, "--share", &uri];
    let variables = [("HEADWATER_ROLLOUT_DEFAULT", "auto"), ("HEADWATER_SHARE_REPLICA", name)];
    Child::serve_with(&arguments, &variables)
}

fn work(bed: &Bed, server: &Child) -> Tree {
    clone(&repository_url(server.0), &bed.place.path().join("work"))
}

#[test]
fn another_replica_takes_over_from_one_that_is_killed_in_a_bake() {
    let bed = bed(QUICK);
    let children = ["one", "two"].map(|name| serve(&bed, name));
    let runtime = Runtime::new().unwrap();
    let services: Vec<_> = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let (first, second) = (&children[index % 2], &children[(index + 1) % 2]);
            service(&runtime, &[**first, **second], name)
        })
        .collect();
    counted(&bed, NAMES.len());
    let tree = work(&bed, &children[0]);
    commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    wait_for(*children[0], "stage");
    // The replica with the lowest id acts first.
    let keys = bed.etcd.keys(&format!("{}/replicas/v1/", bed.prefix));
    let id_of = |child: &Child| {
        let listed = child.get("/-/replicas").expect(200).json();
        let listed = listed["replicas"].as_array().unwrap().clone();
        let own = listed.iter().find(|own| own["this"] == true).expect("itself").clone();
        own["id"].as_str().map(str::to_owned)
    };
    assert_eq!(keys.len(), 2);
    let [one, two] = children;
    let (acting, other) = if id_of(&one) < id_of(&two) { (one, two) } else { (two, one) };
    acting.stop_by("KILL");
    reach(&services, &[2; 6]);
    wait_for(*other, "done");
}
