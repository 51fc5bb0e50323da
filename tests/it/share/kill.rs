//! A replica that is killed during pushes: each of them is whole or absent, the same everywhere, and none that was acknowledged
//! is missing anywhere.

use std::sync::mpsc;
use std::time::Duration;

use super::bed::{Bed, listed};
use crate::fixture::{Address, Child, Tree, clone, eventually, repository_url};

/// How many pushes the replica is killed during.
const PUSH_COUNT: usize = 30;
/// A push to the binary under test takes about this long, so that it is killed somewhere within.
const PUSH_MILLISECONDS_MAX: u64 = 300;

/// The real binary on a disk of its own.
fn serve(bed: &Bed, data: &str) -> Child {
    let (data, seed) = (bed.place.path().join(data), bed.seed.path());
    let (data, seed) = (data.to_str().expect("a path"), seed.to_str().expect("a path"));
    let uri = bed.uri();
    Child::serve(&["--source", "hosted:main", "--data", data, "--seed", seed, "--share", &uri])
}

fn tip(tree: &Tree, address: Address) -> String {
    let all = listed(tree, &repository_url(address.0));
    let line = all.lines().find(|line| line.ends_with("refs/heads/main"));
    line.and_then(|line| line.split_whitespace().next()).expect("main").to_owned()
}

#[test]
fn a_replica_that_is_killed_during_a_push_leaves_it_whole_or_absent_everywhere() {
    let bed = Bed::new();
    let (mut a, b) = (Some(serve(&bed, "a")), serve(&bed, "b"));
    let tree = clone(&repository_url(b.0), &bed.place.path().join("work"));
    let mut outcomes = [0; 3];
    for count in 0..PUSH_COUNT {
        let killed = a.take().unwrap_or_else(|| serve(&bed, "a"));
        tree.git(&["remote", "set-url", "origin", &repository_url(killed.0)]).succeeds();
        let before = tip(&tree, *b);
        tree.git(&["reset", "--quiet", "--hard", &before]).succeeds();
        let made = tree.commit(&format!("//- orders.yml\nlimit: {count}\n"));
        let after = Duration::from_millis(fastrand::u64(0..PUSH_MILLISECONDS_MAX));
        let said = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| tree.push(&["main"]));
            // How far the push has come is left to chance; that is the point.
            let (_never, instant) = mpsc::channel::<()>();
            let _ = instant.recv_timeout(after);
            drop(killed);
            pushing.join().expect("git runs")
        });
        let again = serve(&bed, "a");
        let (here, there) = (tip(&tree, *again), tip(&tree, *b));
        assert_eq!(here, there, "push {count}");
        let is_acknowledged = said.code == Some(0);
        let is_refused = said.err.contains("[remote rejected]");
        match there == made {
            true => assert!(!is_refused, "push {count} was refused and is there: {}", said.err),
            false => {
                assert_eq!(there, before, "push {count} is neither there nor not");
                assert!(!is_acknowledged, "push {count} was acknowledged and is not there");
            }
        }
        outcomes
            [usize::from(is_acknowledged) + 2 * usize::from(!is_acknowledged && there == made)] +=
            1;
        for address in [*again, *b] {
            eventually("it is served", || {
                address.get("/orders/dev").header("headwater-revision") == Some(&*there)
            });
        }
        a = Some(again);
    }
    println!(
        "of {PUSH_COUNT} pushes {} were absent, {} acknowledged, and {} there without an answer",
        outcomes[0], outcomes[1], outcomes[2]
    );
    for data in ["a", "b"] {
        let repository = Tree { path: bed.place.path().join(data).join("hosted/main.git") };
        repository.git(&["fsck", "--strict"]).succeeds();
    }
    // And on a third one, which has nothing but etcd.
    let c = serve(&bed, "c");
    assert_eq!(tip(&tree, *c), tip(&tree, *b));
}
