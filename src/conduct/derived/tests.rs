//! The events of states of other replicas.

use headwater_rollout::plan::WallTime;
use headwater_rollout::state::{Pause, Phase};

use super::*;
use crate::conduct::fixture::{empty, rollout, state};

#[track_caller]
fn check(before: &State, after: &State, has_moved: bool, expected: &[&str]) {
    let events = events_between(before, after, |_| has_moved);
    let events = events.iter().flat_map(|(_, events)| events);
    let told: Vec<String> = events.map(|event| event.to_string()).collect();
    assert_eq!(told, expected);
}

fn in_last_stage(own: &Rollout) -> Rollout {
    Rollout { phase: Phase::Stage(own.plan.stages.len() - 1), ..own.clone() }
}

#[test]
fn a_rollout_is_followed_from_its_beginning_to_its_end() {
    let own = rollout('a', &["orders"]);
    let none = state(0, Vec::new());
    let first = state(1, vec![own.clone()]);
    let last = state(2, vec![in_last_stage(&own)]);
    check(
        &none,
        &first,
        true,
        &["r-aaaaaaaaaa: opened for orders with plan auto", "r-aaaaaaaaaa: stage 1 of 2: orders 1"],
    );
    check(&first, &last, false, &["r-aaaaaaaaaa: going to all instances"]);
    check(&last, &none, false, &["r-aaaaaaaaaa: done"]);
    // It was in the last stage between two states that this replica has seen.
    check(&first, &none, false, &["r-aaaaaaaaaa: done"]);
    check(&first, &first, false, &[]);
}

#[test]
fn a_push_ends_a_rollout_in_other_ways() {
    let own = rollout('a', &["orders", "cart"]);
    let first = state(1, vec![own]);
    let next = state(2, vec![rollout('b', &["orders"])]);
    check(
        &first,
        &next,
        true,
        &[
            "r-aaaaaaaaaa: superseded for orders by r-bbbbbbbbbb",
            "r-bbbbbbbbbb: opened for orders with plan auto",
            "r-bbbbbbbbbb: stage 1 of 2: orders 1",
        ],
    );
    check(&first, &state(2, Vec::new()), true, &["r-aaaaaaaaaa: released for cart, orders"]);
    check(&first, &empty(2), true, &["r-aaaaaaaaaa: ended, because its branch is gone"]);
}

#[test]
fn a_rollback_has_the_sentence_of_the_replica_that_decided_it() {
    let own = rollout('a', &["orders"]);
    let first = state(1, vec![own.clone()]);
    let mut withheld = state(2, Vec::new());
    let because = "web-1 rejected it".into();
    let entry = Withheld { rollout: own, because, since: WallTime(2) };
    withheld.branches.get_mut("main").unwrap().withheld.push(entry);
    check(
        &first,
        &withheld,
        false,
        &[
            "r-aaaaaaaaaa: rolled back: web-1 rejected it. orders is back at 1111111111. 2222222222 is withheld \
           until a push changes it",
        ],
    );
    check(&withheld, &state(3, Vec::new()), false, &["r-aaaaaaaaaa: released for orders"]);
}

#[test]
fn a_pause_is_told_once() {
    let own = rollout('a', &["orders"]);
    let pause = Pause::Person { by: "jo".into(), because: "lunch".into() };
    let paused = Rollout { paused: Some(pause), ..own.clone() };
    let (runs, pauses) = (state(1, vec![own]), state(2, vec![paused]));
    check(&runs, &pauses, false, &["r-aaaaaaaaaa: paused: by jo: lunch"]);
    check(&pauses, &pauses, false, &[]);
    check(&pauses, &runs, false, &["r-aaaaaaaaaa: resumed by another replica: a command"]);
}
