//! Push options where replicas share a repository.

use super::bed::{Bed, Replica};
use crate::fixture::{apply, eventually};

#[test]
fn a_dry_run_writes_nothing_to_etcd_and_to_no_disk() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    let first = tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    let everything = || {
        let keys = bed.etcd.written(&bed.keys());
        let disks = [&a, &b].map(|it| it.repository().git(&["count-objects", "-v"]).out);
        (keys, disks)
    };
    b.serves(&first);
    let before = everything();
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["-o", "dry-run", "main"]).fails(&["dry run: the push would be accepted"]);
    // A push whose pack would be uploaded before the decision.
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(3_500_000).collect();
    tree.commit(&format!("//- noise.txt\n{noise}\n"));
    tree.push(&["-o", "dry-run", "main"]).fails(&["dry run: the push would be accepted"]);
    tree.push(&["-o", "dry-run", "main:main/x"])
        .fails(&["main/x: another branch or tag has a name"]);
    assert_eq!(everything(), before);
    a.serves(&first);
    let tip = tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    tree.push(&["main"]).succeeds();
    b.serves(&tip);
}

/// Waits until a replica knows of another one.
fn knows_the_other(replica: &Replica) {
    eventually("both replicas are live", || {
        let listed = replica.server.get("/-/replicas").expect(200).json();
        let listed = listed["replicas"].as_array().expect("a list").clone();
        listed.iter().filter(|it| it["state"] == "live").count() == 2
    });
}

#[test]
fn a_push_waits_for_the_instances_of_its_own_replica_and_reports_that_there_may_be_others() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    knows_the_other(&a);
    apply(*b.server, "/orders/dev", "elsewhere");
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["-o", "wait", "main"]).succeeds().says(&[
        "orders/default 0 instances",
        "not awaited: instances that are connected to 1 other replica",
        "nothing to wait for",
    ]);
    // A push to the other replica is applied here while the first one waits, and a later revision counts.
    apply(*a.server, "/orders/dev", "here");
    let other = bed.clone(&b, "other");
    tree.commit("//- orders.yml\nlimit: 3\n");
    let mut waiting = tree.begin_push(&["-o", "wait", "main"]);
    waiting.says("orders/dev 1 instance");
    other.git(&["pull", "--quiet"]).succeeds();
    let tip = other.commit("//- orders.yml\nlimit: 4\n");
    other.push(&["main"]).succeeds();
    a.serves(&tip);
    assert!(waiting.is_running(), "{}", waiting.said());
    apply(*a.server, "/orders/dev", "here");
    let (code, said) = waiting.end();
    assert!(code == 0 && said.contains("1 of 1 has it"), "{said}");
}
