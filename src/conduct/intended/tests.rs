//! The file of a replica that follows references, after each outcome.

use super::*;
use crate::conduct::fixture::{commit, empty, rollout, state};

fn moved(old: Option<char>, new: Option<char>) -> Vec<MovedReference> {
    let text = |digit: char| commit(digit).to_string();
    vec![MovedReference {
        name: "refs/heads/main".to_owned(),
        old: old.map(text),
        new: new.map(text),
    }]
}

/// The state after a crash, when the branch is at a commit.
fn settled(mut state: State, tip: char) -> State {
    // What a server reads is what it has written.
    state = State::parse(state.to_text().as_bytes()).unwrap();
    state.settle("main", &commit(tip), |_| false);
    state
}

#[test]
fn a_crash_leaves_the_rollouts_that_belong_to_the_tip() {
    let before = state(1, vec![rollout('a', &["orders"])]);
    let next = state(2, vec![rollout('b', &["orders"])]);
    let intended = intended(&before, &next, &moved(Some('1'), Some('2')));
    assert_eq!(settled(intended.clone(), '2'), next);
    let dropped = settled(intended, '1');
    assert_eq!(dropped.branches, before.branches);
}

#[test]
fn a_branch_that_does_not_move_has_its_next_rollouts_at_once() {
    let before = state(1, vec![rollout('a', &["orders"])]);
    let next = state(2, Vec::new());
    assert_eq!(intended(&before, &next, &[]), next);
    let tag = MovedReference { name: "refs/tags/main".to_owned(), ..moved(None, None).remove(0) };
    assert_eq!(intended(&before, &next, &[tag]), next);
}

#[test]
fn a_branch_keeps_its_rollouts_until_it_is_deleted() {
    let before = state(1, vec![rollout('a', &["orders"])]);
    let next = empty(2);
    let kept = intended(&before, &next, &moved(Some('1'), None));
    assert_eq!(kept.branches, before.branches);
    assert_eq!(kept.unsettled().count(), 0);
}

#[test]
fn a_state_of_another_lineage_can_be_read_again() {
    let mut high = state(90, vec![rollout('a', &["orders"])]);
    high.branches.get_mut("main").unwrap().running[0].number = 80;
    let mut next = state(2, vec![rollout('b', &["orders"])]);
    next.lineage = 2;
    let intended = intended(&high, &next, &moved(Some('1'), Some('2')));
    assert_eq!(settled(intended, '2').branches, next.branches);
}
