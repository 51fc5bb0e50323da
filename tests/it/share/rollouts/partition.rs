//! A replica that is cut off from etcd, and one that starts without it.

use super::{
    NAMES, SLOW, apply_all, bed, commit, counted, holders, served, state_of, value_of, wait_for,
    with_rollouts,
};
use crate::fixture::{Address, Proxy, Reply, eventually};
use crate::rollouts::{body, command};
use crate::share::bed::{Bed, Replica};

/// A replica that reaches etcd through a proxy.
fn through(proxy: &Proxy, bed: &Bed) -> Replica {
    let uri = format!("etcd://{}/{}", proxy.address, bed.prefix);
    bed.replica_with(|settings| {
        with_rollouts(settings);
        settings.share.uri = Some(uri);
    })
}

/// Asks as an instance that shows what it has received.
fn ask(server: Address, name: &str, shown: &str) -> Reply {
    let headers = [("Headwater-Instance", name), ("Headwater-Min-Revision", shown)];
    server.get_with("/orders/dev", &headers)
}

/// What an instance shows after an answer.
fn shown(answer: &Reply) -> String {
    let revision = answer.header("headwater-revision").expect("a revision");
    let epoch = answer.header("headwater-epoch").expect("an epoch");
    format!("{revision}.{epoch}")
}

#[test]
fn a_replica_that_is_cut_off_gives_the_candidate_to_those_who_have_it_and_nothing_older_later() {
    let bed = bed(SLOW);
    let proxy = Proxy::to(bed.etcd.address(0));
    let (a, b) = (through(&proxy, &bed), bed.replica_with(with_rollouts));
    let (cut_off, other) = (*a.server, *b.server);
    apply_all(other);
    counted(&bed, NAMES.len());
    let tree = bed.clone(&b, "work");
    commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    let id = wait_for(other, "stage");
    let canary = holders(other, 2).remove(0);
    eventually("the canary has it everywhere", || value_of(cut_off, canary) == 2);
    let named = [("Headwater-Instance", canary)];
    let candidate = shown(&cut_off.get_with("/orders/dev", &named).expect(200));
    proxy.cut();
    // Without contact it gives the candidate to no further instance, and takes it from none.
    eventually("it is fenced", || value_of(cut_off, canary) == 1);
    assert!(ask(cut_off, canary, &candidate).expect(200).text().contains("\"limit\":2"));
    assert!(ask(other, canary, &candidate).expect(200).text().contains("\"limit\":2"));
    command(other, &id, &body("abort"), &[]).expect(200);
    let stable = ask(other, canary, &candidate).expect(200);
    assert!(stable.text().contains("\"limit\":1"));
    // It is behind what the instance has received elsewhere, and does not answer with the candidate.
    ask(cut_off, canary, &shown(&stable)).expect(503);
    proxy.mend();
    eventually("it has the rollback", || state_of(cut_off, &id) == "withheld");
    for request in [&candidate, &shown(&stable)] {
        let answer = ask(cut_off, canary, request).expect(200);
        assert!(answer.text().contains("\"limit\":1"), "{request}: {}", answer.text());
    }
}

#[test]
fn a_replica_that_returns_gives_the_candidate_to_canaries_again() {
    let bed = bed(SLOW);
    let proxy = Proxy::to(bed.etcd.address(0));
    let (a, b) = (through(&proxy, &bed), bed.replica_with(with_rollouts));
    apply_all(*b.server);
    counted(&bed, NAMES.len());
    let tree = bed.clone(&b, "work");
    commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    wait_for(*b.server, "stage");
    let canaries = holders(*b.server, 2);
    eventually("the same canary", || holders(*a.server, 2) == canaries);
    // A replica that starts without etcd has its file. It does not know how old that is.
    proxy.cut();
    let a = a.restart();
    assert_eq!(served(*a.server), "limit: 1");
    assert!(a.server.get("/orders/dev").expect(200).header("headwater-rollout").is_some());
    assert_eq!(holders(*a.server, 2), [""; 0]);
    proxy.mend();
    eventually("the same canary again", || holders(*a.server, 2) == canaries);
}

#[test]
fn an_empty_disk_takes_the_rollouts_with_the_repository() {
    let bed = bed(SLOW);
    let a = bed.replica_with(with_rollouts);
    apply_all(*a.server);
    let tree = bed.clone(&a, "work");
    commit(&tree, 2);
    tree.push(&["main"]).succeeds();
    let id = wait_for(*a.server, "stage");
    let canaries = holders(*a.server, 2);
    let b = bed.replica_with(with_rollouts);
    assert_eq!(served(*b.server), "limit: 1");
    eventually("the same canary", || holders(*b.server, 2) == canaries);
    assert_eq!(state_of(*b.server, &id), "stage");
    // A key that is lost in etcd holds nothing any more.
    bed.etcd.delete(&format!("{}rollouts", bed.keys()));
    for replica in [&a, &b] {
        eventually("the tip is served", || served(*replica.server) == "limit: 2");
    }
}
