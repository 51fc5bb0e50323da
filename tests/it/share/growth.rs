//! What etcd keeps of a repository stays in proportion to it.

use std::collections::BTreeSet;

use super::bed::{Bed, Replica, listed};
use crate::fixture::{Tree, eventually};

/// How much one push brings, in bytes: two of them are more than may lie beside a small first pack.
const NOISE_BYTES: usize = 9_000_000;

fn push_noise(tree: &Tree, name: &str) -> String {
    let mut noise = vec![0; NOISE_BYTES];
    fastrand::Rng::new().fill(&mut noise);
    std::fs::write(tree.path.join(name), noise).expect("written");
    let tip = tree.commit("");
    tree.push(&["main"]).succeeds();
    tip
}

/// The packs that lie in etcd.
fn packs(bed: &Bed) -> BTreeSet<String> {
    let root = format!("{}packs/", bed.keys());
    let keys = bed.etcd.keys(&root);
    let pack = |key: &String| key[root.len()..].split('/').next().expect("an id").to_owned();
    keys.iter().map(pack).collect()
}

fn object_count(replica: &Replica) -> usize {
    replica.repository().git(&["rev-list", "--objects", "--all"]).succeeds().out.lines().count()
}

#[test]
fn packs_that_are_too_large_together_become_one_from_which_a_new_replica_is_filled() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    push_noise(&tree, "one.bin");
    assert_eq!(packs(&bed).len(), 2);
    let before = packs(&bed);
    push_noise(&tree, "two.bin");
    eventually("there is one pack, and nothing of the others", || {
        let now = packs(&bed);
        now.len() == 1 && now.is_disjoint(&before)
    });
    // Whoever was there goes on, and whoever comes has all of it.
    tree.git(&["remote", "set-url", "origin", &b.url()]).succeeds();
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    let c = bed.replica();
    for replica in [&a, &b, &c] {
        assert!(listed(&tree, &replica.url()).contains(&tip));
        replica.repository().git(&["fsck", "--strict"]).succeeds();
        assert_eq!(object_count(replica), object_count(&a));
    }
}

#[test]
fn what_a_died_upload_left_is_collected_and_one_that_goes_on_is_not() {
    let bed = Bed::new();
    let a = bed.replica();
    let (dead, live) = (format!("{:032x}", 1), format!("{:032x}", 2));
    for pack in [&dead, &live] {
        for piece in 0..150 {
            bed.etcd.put(&format!("{}packs/{pack}/{piece:06}", bed.keys()), b"PACK");
        }
    }
    bed.etcd.put(&format!("{}uploads/{live}", bed.keys()), b"");
    let tree = bed.clone(&a, "work");
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    eventually("it is collected", || !packs(&bed).contains(&dead));
    assert_eq!(packs(&bed).len(), 3);
    let keys = bed.etcd.keys(&format!("{}packs/{live}/", bed.keys()));
    assert_eq!(keys.len(), 150);
    let b = bed.replica();
    assert_eq!(listed(&tree, &a.url()), listed(&tree, &b.url()));
}
