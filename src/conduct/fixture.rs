//! States of rollouts as values, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::bucket::Bound;
use headwater_rollout::plan::{Plan, WallTime};
use headwater_rollout::state::{Branch, Member, Phase, Rollout, State};

/// A commit id of one digit.
pub(super) fn commit(digit: char) -> Name {
    String::from_iter(std::iter::repeat_n(digit, 40)).into()
}

/// A rollout from commit `1` to commit `2` in its first stage. `digit` makes its id.
pub(super) fn rollout(digit: char, applications: &[&str]) -> Rollout {
    let member = Member {
        stable: commit('1'),
        content: None,
        salt: 7,
        bound: Bound::behind(9),
        named: BTreeSet::from([3]),
        wanted: 1,
    };
    let members = applications.iter().map(|name| (Name::from(*name), member.clone()));
    Rollout {
        id: format!("r-{}", String::from_iter(std::iter::repeat_n(digit, 10))).into(),
        number: 1,
        from: commit('1'),
        to: commit('2'),
        salt: 7,
        plan: Arc::new(Plan::built_in("auto").unwrap()),
        members: members.collect::<BTreeMap<_, _>>(),
        phase: Phase::Stage(0),
        paused: None,
        depends_on: BTreeSet::new(),
        expected: 2,
        by: "jo".into(),
        because: None,
        opened: WallTime(1),
    }
}

/// A state without any branch.
pub(super) fn empty(number: u64) -> State {
    let mut state = State::new(1);
    state.number = number;
    state
}

/// A state with these rollouts on branch `main`.
pub(super) fn state(number: u64, running: Vec<Rollout>) -> State {
    let mut state = empty(number);
    state.branches.insert("main".into(), Branch { running, ..Branch::default() });
    state
}
