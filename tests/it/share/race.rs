//! Two pushes at the same time to two replicas: to the same branch exactly one wins, to different ones both.

use super::bed::{Bed, listed};
use crate::fixture::{Said, Tree};

/// How often two pushes meet.
const ROUND_COUNT: usize = 25;

/// Pushes from two clones at the same time.
fn at_once(trees: [&Tree; 2], arguments: [&[&str]; 2]) -> [Said; 2] {
    std::thread::scope(|scope| {
        let second = scope.spawn(|| trees[1].push(arguments[1]));
        let first = trees[0].push(arguments[0]);
        [first, second.join().expect("git runs")]
    })
}

#[test]
fn of_two_pushes_at_the_same_time_exactly_one_wins() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let trees = [bed.clone(&a, "one"), bed.clone(&b, "two")];
    let mut wins = [0, 0];
    for round in 0..ROUND_COUNT {
        let tips = [0, 1].map(|at| {
            let fixture = format!("//- orders.yml\nlimit: {round}\nby: {at}\n");
            trees[at].git(&["pull", "--quiet", "--ff-only"]).succeeds();
            trees[at].commit(&fixture)
        });
        let said = at_once([&trees[0], &trees[1]], [&["main"], &["main"]]);
        let winner = said.iter().position(|said| said.code == Some(0));
        let winner = winner.unwrap_or_else(|| panic!("round {round}: nobody won: {said:?}"));
        let loser = 1 - winner;
        assert_ne!(said[loser].code, Some(0), "round {round}: both won: {said:?}");
        assert!(said[loser].err.contains("fetch first"), "{}", said[loser].err);
        wins[winner] += 1;
        for replica in [&a, &b] {
            assert!(listed(&trees[0], &replica.url()).contains(&tips[winner]), "round {round}");
        }
        trees[loser].git(&["reset", "--quiet", "--hard", "HEAD~1"]).succeeds();
    }
    println!("the first won {} times, the second {}", wins[0], wins[1]);
    let expected = listed(&trees[0], &a.url());
    assert_eq!(listed(&trees[0], &b.url()), expected);
    for replica in [&a, &b] {
        replica.repository().git(&["fsck", "--strict"]).succeeds();
    }
}

#[test]
fn pushes_to_different_branches_at_the_same_time_both_win() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let trees = [bed.clone(&a, "one"), bed.clone(&b, "two")];
    for (at, tree) in trees.iter().enumerate() {
        tree.git(&["checkout", "--quiet", "-b", &format!("team-{at}")]).succeeds();
    }
    for round in 0..ROUND_COUNT {
        let tips = [0, 1].map(|at| trees[at].commit(&format!("//- team-{at}.yml\nx: {round}\n")));
        let said = at_once([&trees[0], &trees[1]], [&["team-0"], &["team-1"]]);
        for said in said {
            said.succeeds();
        }
        for replica in [&a, &b] {
            let all = listed(&trees[0], &replica.url());
            assert!(tips.iter().all(|tip| all.contains(tip)), "round {round}: {all}");
        }
    }
    // All of it can be had from etcd alone.
    drop((a, b));
    let c = bed.replica();
    c.repository().git(&["fsck", "--strict"]).succeeds();
    let count = bed.clone(&c, "three").git(&["rev-list", "--count", "--all"]).succeeds().out;
    assert_eq!(count.trim(), (2 * ROUND_COUNT + 1).to_string());
}
