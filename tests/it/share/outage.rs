//! A replica that etcd is away from: it serves what it has, takes no pushes and says why, and goes on by itself afterwards.

use std::sync::mpsc;
use std::time::Duration;

use super::bed::{Bed, listed, revision};
use crate::fixture::{Proxy, Said, Tree, eventually};

/// How often the way to etcd is cut during a push.
const CUT_COUNT: usize = 25;
/// A push takes about this long.
const PUSH_MILLISECONDS_MAX: u64 = 300;

/// What replicas are told that reach etcd through a proxy.
fn through(proxy: &Proxy, bed: &Bed) -> String {
    format!("etcd://{}/{}", proxy.address, bed.prefix)
}

/// The sequence of the state in etcd.
fn sequence(bed: &Bed) -> u64 {
    let (mut client, key) = (bed.etcd.client(), format!("{}state", bed.keys()));
    let found = bed.etcd.on(async move { client.get(key, None).await.expect("read") });
    let value = found.kvs().first().map(|key| key.value().to_vec()).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_slice(&value).expect("the state");
    state["sequence"].as_u64().expect("a number")
}

fn tip(tree: &Tree) -> String {
    tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned()
}

#[test]
fn without_etcd_reads_go_on_pushes_are_refused_with_the_reason_and_all_recovers_by_itself() {
    let bed = Bed::new();
    let proxy = Proxy::to(bed.etcd.address(0));
    let uri = through(&proxy, &bed);
    let a = bed.replica_with(|settings| settings.share.uri = Some(uri));
    let b = bed.replica();
    let tree = bed.clone(&b, "work");
    let first = tip(&tree);
    a.serves(&first);
    proxy.cut();
    tree.git(&["remote", "set-url", "--push", "origin", &a.url()]).succeeds();
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).fails(&["etcd is unreachable", "no branch was updated"]);
    eventually("it says so", || {
        let health = a.server.get("/actuator/health").text().to_owned();
        health.contains("etcd is unreachable")
    });
    eventually("it says since when", || {
        tree.push(&["main"]).err.contains("etcd is unreachable: no answer for")
    });
    a.serves(&first);
    // Elsewhere all goes on, and what is pushed there is here once etcd is back.
    tree.git(&["remote", "set-url", "--push", "origin", &b.url()]).succeeds();
    tree.push(&["main"]).succeeds();
    let second = tip(&tree);
    b.serves(&second);
    assert_eq!(revision(*a.server).as_deref(), Some(&*first));
    proxy.mend();
    a.serves(&second);
    tree.git(&["remote", "set-url", "--push", "origin", &a.url()]).succeeds();
    let third = tree.commit("//- orders.yml\nlimit: 3\n");
    eventually("pushes are taken again", || tree.push(&["main"]).code == Some(0));
    b.serves(&third);
    eventually("it says nothing any more", || {
        !a.server.get("/actuator/health").expect(200).text().contains("etcd is unreachable")
    });
}

#[test]
fn a_way_that_is_cut_during_a_push_leaves_it_whole_or_absent_everywhere() {
    let bed = Bed::new();
    let proxy = Proxy::to(bed.etcd.address(0));
    let uri = through(&proxy, &bed);
    let a = bed.replica_with(|settings| settings.share.uri = Some(uri));
    let b = bed.replica();
    let tree = bed.clone(&a, "work");
    for count in 0..CUT_COUNT {
        let before = tip(&tree);
        let made = tree.commit(&format!("//- orders.yml\nlimit: {count}\n"));
        let after = Duration::from_millis(fastrand::u64(0..PUSH_MILLISECONDS_MAX));
        let said = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| tree.push(&["main"]));
            by_chance(after);
            proxy.cut();
            by_chance(after);
            proxy.mend();
            pushing.join().expect("git runs")
        });
        let there = main(&listed(&tree, &b.url()));
        check(&said, &before, &made, &there);
        a.serves(&there);
        b.serves(&there);
        eventually("both list the same", || main(&listed(&tree, &a.url())) == there);
        tree.git(&["reset", "--quiet", "--hard", &there]).succeeds();
    }
}

/// How far things have come when it is over is left to chance.
fn by_chance(after: Duration) {
    let (_never, instant) = mpsc::channel::<()>();
    let _ = instant.recv_timeout(after);
}

#[test]
fn an_etcd_that_falls_silent_refuses_pushes_and_comes_back() {
    let bed = Bed::new();
    let proxy = Proxy::to(bed.etcd.address(0));
    let uri = through(&proxy, &bed);
    let a = bed.replica_with(|settings| settings.share.uri = Some(uri));
    let tree = bed.clone(&a, "work");
    let made = tree.commit("//- orders.yml\nlimit: 2\n");
    // Connections stand, and nothing comes back on them.
    proxy.delay_answers(Duration::from_secs(60));
    tree.push(&["main"]).fails(&["etcd is unreachable", "no branch was updated"]);
    proxy.delay_answers(Duration::ZERO);
    eventually("pushes are taken again", || tree.push(&["main"]).code == Some(0));
    a.serves(&made);
}

fn main(listed: &str) -> String {
    let line = listed.lines().find(|line| line.ends_with("refs/heads/main")).expect("main");
    line.split_whitespace().next().expect("an id").to_owned()
}

#[track_caller]
fn check(said: &Said, before: &str, made: &str, there: &str) {
    match there == made {
        true => assert!(!said.err.contains("[remote rejected]"), "refused and there: {}", said.err),
        false => {
            assert_eq!(there, before, "neither there nor not");
            assert_ne!(said.code, Some(0), "acknowledged and not there");
        }
    }
}

#[test]
fn a_swap_whose_answer_is_lost_is_settled_by_asking_again() {
    let bed = Bed::new();
    let proxy = Proxy::to(bed.etcd.address(0));
    let uri = through(&proxy, &bed);
    let a = bed.replica_with(|settings| settings.share.uri = Some(uri));
    let tree = bed.clone(&a, "work");
    let made = tree.commit("//- orders.yml\nlimit: 2\n");
    let before = sequence(&bed);
    proxy.delay_answers(Duration::from_millis(300));
    let said = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| tree.push(&["main"]));
        eventually("etcd has it", || sequence(&bed) > before);
        proxy.cut();
        proxy.delay_answers(Duration::ZERO);
        proxy.mend();
        pushing.join().expect("git runs")
    });
    said.succeeds().says(&["published main at"]);
    assert_eq!(sequence(&bed), before + 1);
    a.serves(&made);
}

#[test]
fn a_swap_of_which_nothing_is_heard_is_neither_acknowledged_nor_refused_and_published_later() {
    let bed = Bed::new();
    let proxy = Proxy::to(bed.etcd.address(0));
    let uri = through(&proxy, &bed);
    let a = bed.replica_with(|settings| settings.share.uri = Some(uri));
    let b = bed.replica();
    let tree = bed.clone(&a, "work");
    let first = tip(&tree);
    let made = tree.commit("//- orders.yml\nlimit: 2\n");
    let before = sequence(&bed);
    proxy.delay_answers(Duration::from_millis(300));
    let said = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| tree.push(&["main"]));
        eventually("etcd has it", || sequence(&bed) > before);
        proxy.cut();
        proxy.delay_answers(Duration::ZERO);
        pushing.join().expect("git runs")
    });
    let said = said.fails(&["etcd did not report in time", "git fetch to see which"]);
    assert!(!said.err.contains("[remote rejected]"), "{}", said.err);
    // The others have it, and this one serves what it had until it hears of it.
    b.serves(&made);
    assert_eq!(revision(*a.server).as_deref(), Some(&*first));
    proxy.mend();
    a.serves(&made);
    a.repository().git(&["fsck", "--strict"]).succeeds();
}
