//! Tests of the state as text, of its limits and of intents.

use super::*;
use crate::bucket::salt;

pub(crate) fn commit(index: u8) -> Name {
    format!("{index:040x}").into()
}

fn member(index: u8) -> Member {
    Member {
        stable: commit(0),
        content: Some(Content::of(&[index])),
        salt: salt("x"),
        bound: Bound::NONE,
        named: BTreeSet::new(),
        wanted: 0,
    }
}

fn rollout(number: u64, names: &[&str]) -> Rollout {
    Rollout {
        id: Rollout::id(&commit(0), &commit(1), number),
        number,
        from: commit(0),
        to: commit(1),
        salt: salt("x"),
        plan: Plan::built_in("careful").unwrap().into(),
        members: names.iter().map(|name| ((*name).into(), member(1))).collect(),
        phase: Phase::Stage(1),
        paused: None,
        depends_on: BTreeSet::new(),
        expected: 12,
        by: "jo".into(),
        because: None,
        opened: WallTime(1_700_000_000),
    }
}

/// A state with everything that a state can have.
fn full() -> State {
    let mut first = rollout(3, &["order", "cart"]);
    let cart = first.members.get_mut("cart").unwrap();
    cart.bound = Bound::behind(77);
    cart.named = BTreeSet::from([1, u64::MAX]);
    cart.stable = commit(9);
    cart.salt = 4;
    first.paused = Some(Pause::Person { by: "jo".into(), because: "lunch".into() });
    let mut second = rollout(5, &["product", OTHERS]);
    second.members.get_mut(OTHERS).unwrap().content = None;
    second.depends_on.insert(first.id.clone());
    second.phase = Phase::Trying;
    second.because = Some("a fix".into());
    let plan =
        Plan { deadline: Some(std::time::Duration::from_secs(900)), ..(*second.plan).clone() };
    second.plan = plan.into();
    let withheld = Withheld {
        rollout: rollout(4, &["old"]),
        because: "web-3 restarted twice".into(),
        since: WallTime(5),
    };
    let mut branch =
        Branch { running: vec![first, second], withheld: vec![withheld], ..Branch::default() };
    branch.record_past(&"cart".into(), Some(2), Some(Content::of(b"a")), WallTime(7));
    let mut state = State { number: 6, ..State::default() };
    state.branches.insert("main".into(), branch);
    let next = State { number: 7, ..State::default() };
    state.intending("main", &commit(1), &commit(2), &next)
}

fn parse_error(text: &str) -> String {
    State::parse(text.as_bytes()).expect_err("the state is invalid").to_string()
}

/// The text with a part replaced and the digest of the result.
fn edited(from: &str, to: &str) -> String {
    let text = full().to_text();
    assert!(text.contains(from), "{from} in {text}");
    let (_, state) = text.trim_end().split_once("\"state\":").unwrap();
    let state = state.strip_suffix('}').unwrap().replacen(from, to, 1);
    let digest = format!("{:016x}", first_bytes(&[&state]));
    format!("{{\"version\":1,\"digest\":\"{digest}\",\"state\":{state}}}")
}

#[test]
fn a_state_reads_as_it_was_written() {
    let state = full();
    let text = state.to_text();
    assert_eq!(State::parse(text.as_bytes()), Ok(state));
    assert!(!text.contains("password"));
    let empty = State::default();
    assert_eq!(State::parse(empty.to_text().as_bytes()), Ok(empty));
}

#[test]
fn a_cut_state_is_recognized_at_every_byte() {
    let text = full().to_text();
    let text = text.trim_end();
    for len in 0..text.len() {
        assert_eq!(State::parse(&text.as_bytes()[..len]), Err(StateError::Cut(len)));
    }
}

#[test]
fn a_state_of_another_version_or_writer_is_rejected() {
    let text = full().to_text();
    let newer = text.replacen("\"version\":1", "\"version\":2,\"new\":{}", 1);
    assert!(parse_error(&newer).contains("version 2, and this server reads version 1"));
    let by_hand = text.replacen("\"by\":\"jo\"", "\"by\":\"bo\"", 1);
    assert_eq!(State::parse(by_hand.as_bytes()), Err(StateError::Edited));
    assert!(parse_error(&" ".repeat(600_000)).contains("at most 524288 are read"));
    assert!(
        parse_error("{\"version\":1,\"digest\":\"\",\"state\":{},\"x\":1}")
            .contains("unknown field")
    );
}

#[test]
fn what_no_server_writes_is_rejected() {
    let stages = "[[\"1\",120],[\"5%\",300],[\"25%\",300],[\"all\",600]]";
    for (from, to, expected) in [
        ("\"bound\":78", "\"bound\":4294967297", "application cart: bound is out of range"),
        ("\"bound\":78", "\"bound\":-1", "invalid value"),
        ("\"number\":3", "\"number\":8", "its number 8 is larger than that of the state, 6"),
        ("\"stage\":1", "\"stage\":4", "it is in stage 4 of 4"),
        ("\"id\":\"r-", "\"id\":\"x-", "expected r- and ten hexadecimal digits"),
        ("\"to\":\"00", "\"to\":\"0", "expected commits of 40 or 64"),
        ("\"product\":{", "\"cart\":{", "application cart has two entries"),
        (stages, "[[\"1\",120]]", "its plan does not end with one stage for all"),
        (stages, "[[\"x\",120]]", "expected a number such as"),
        ("\"depends_on\":[\"r-", "\"depends_on\":[\"r-0", "which does not run"),
        ("\"salt\":\"", "\"salt\":\"0", "expected 16 hexadecimal digits"),
        ("\"phase\":\"trying\"", "\"phase\":\"tried\"", "unknown variant"),
        ("\"by\":\"jo\"", "\"by\":\"jo\",\"colour\":1", "unknown field `colour`"),
        ("\"by\":\"jo\"", "\"by\":1", "invalid type"),
    ] {
        let error = parse_error(&edited(from, to));
        assert!(error.contains(expected), "{from} {to}: {error}");
    }
}

#[test]
fn counts_beyond_the_limits_are_rejected() {
    let with = |running: usize, withheld: usize, named: u64| {
        let name = |index: usize| format!("a{index}");
        let mut state = State { number: 1000, ..State::default() };
        let mut branch = Branch::default();
        for index in 0..running {
            branch.running.push(rollout(index as u64, &[&name(index)]));
        }
        for index in 0..withheld {
            let rollout = rollout(500 + index as u64, &[&name(500 + index)]);
            branch.withheld.push(Withheld { rollout, because: "x".into(), since: WallTime(0) });
        }
        if let Some(first) = branch.running.first_mut() {
            first.members.values_mut().for_each(|own| own.named = (0..named).collect());
        }
        state.branches.insert("main".into(), branch);
        State::parse(state.to_text().as_bytes()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with(32, 64, 1000), Ok(()));
    assert!(with(33, 0, 0).unwrap_err().contains("33 running rollouts, at most 32"));
    assert!(with(0, 65, 0).unwrap_err().contains("65 withheld entries, at most 64"));
    assert!(with(1, 0, 1001).unwrap_err().contains("1001 bounds, at most 1000"));
}

#[test]
fn an_intent_counts_if_the_reference_has_moved() {
    let mut before = State { number: 6, ..State::default() };
    let one = Branch { running: vec![rollout(3, &["order"])], ..Branch::default() };
    before.branches.insert("main".into(), one.clone());
    let mut after = State { number: 7, ..State::default() };
    let two = Branch { running: vec![rollout(7, &["order"])], ..Branch::default() };
    after.branches.insert("main".into(), two.clone());
    let written = before.intending("main", &commit(1), &commit(2), &after);
    for (tip, is_past, expected) in [
        (commit(1), false, &one),
        (commit(1), true, &one),
        (commit(2), true, &two),
        (commit(3), true, &two),
        (commit(4), false, &one),
    ] {
        let mut state = State::parse(written.to_text().as_bytes()).unwrap();
        assert_eq!(state.unsettled().count(), 1);
        state.settle("main", &tip, |to| to == &*commit(2) && is_past);
        assert_eq!(state.branch("main"), Some(expected), "{tip} {is_past}");
        assert_eq!(state.number, if expected == &two { 7 } else { 6 });
        assert_eq!(state.unsettled().count(), 0);
    }
}

#[test]
fn the_last_three_contents_can_come_back_for_72_hours() {
    let mut branch = Branch::default();
    let content = |index: u8| Content::of(&[index]);
    for index in 0..4 {
        branch.record_past(&"order".into(), None, Some(content(index)), WallTime(i64::from(index)));
    }
    let was =
        |branch: &Branch, index, now| branch.was_stable("order", content(index), WallTime(now));
    assert!(!was(&branch, 0, 10), "only three are kept");
    assert!(was(&branch, 1, 10));
    assert!(was(&branch, 3, PAST_SECONDS + 3));
    assert!(!was(&branch, 3, PAST_SECONDS + 4));
    assert!(!was(&branch, 3, 2), "the clock is before the time of the entry");
    branch.record_past(&"order".into(), None, Some(content(1)), WallTime(9));
    assert_eq!(branch.past["order"].contents.len(), 3, "a content has one entry");
    branch.forget_past(WallTime(PAST_SECONDS + 9));
    assert_eq!(branch.past["order"].contents.len(), 1);
    branch.forget_past(WallTime(PAST_SECONDS + 10));
    assert!(branch.past.is_empty());
}

#[test]
fn old_contents_make_room() {
    let mut state = State::default();
    let mut branch = Branch::default();
    for index in 0..2000u32 {
        let content = Content::of(&index.to_be_bytes());
        branch.record_past(
            &format!("a{index}").into(),
            None,
            Some(content),
            WallTime(index.into()),
        );
    }
    state.branches.insert("main".into(), branch);
    assert!(state.fit(100_000));
    assert!(state.text_len() <= 100_000);
    let branch = &state.branches["main"];
    assert!(branch.was_stable("a1999", Content::of(&1999u32.to_be_bytes()), WallTime(2000)));
    assert!(!branch.was_stable("a0", Content::of(&0u32.to_be_bytes()), WallTime(2000)));
    assert!(!state.fit(10));
}
