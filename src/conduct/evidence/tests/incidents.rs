//! Restarts, disconnections, silences and reports of `down`.

use super::*;

/// A report of health between two looks.
#[derive(Debug, Clone, Copy)]
enum Health {
    Up,
    Down,
    Restart,
}

#[test]
fn two_reports_of_down_count_if_the_instance_was_up() {
    use Health::{Down, Restart, Up};
    let expected = Some(Outcome::Down);
    for (before, after, expected) in [
        (&[][..], &[Down][..], None),
        (&[], &[Down, Down], expected),
        (&[Up], &[Down, Down], expected),
        (&[Up], &[Down, Up, Down], None),
        (&[Down], &[Down, Down, Down], None),
        (&[Down], &[Up, Down], None),
        (&[Down, Down], &[Up, Down, Down], expected),
        (&[Down], &[Restart, Down, Down], None),
        (&[Up], &[Restart, Down, Down], expected),
        (&[Up], &[Down, Down, Up], expected),
    ] {
        let mut scene = Scene::new(&["a"]);
        let report = |scene: &mut Scene, health: &Health| match health {
            Up => scene.report_up("a"),
            Down => scene.report_down("a"),
            Restart => scene.restart("a"),
        };
        before.iter().for_each(|own| report(&mut scene, own));
        scene.look(0);
        scene.begin(&["a"]);
        for own in after {
            report(&mut scene, own);
            scene.look(1);
        }
        assert_eq!(scene.outcome("a"), expected, "{before:?} {after:?}");
    }
}

#[test]
fn one_report_of_down_counts_if_the_connection_ends() {
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    scene.accept("a");
    scene.report_down("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), None);
    scene.disconnect("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Down));
}

#[test]
fn restarts_of_a_stage_are_not_counted_again_in_the_next_one() {
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    scene.restart("a");
    scene.look(1);
    assert_eq!(scene.given("a").unwrap().restarts, 1);
    scene.promote();
    scene.look(1);
    assert_eq!(scene.given("a").unwrap().restarts, 0);
    scene.restart("a");
    scene.look(1);
    assert_eq!(scene.given("a").unwrap().restarts, 1);
}

#[test]
fn an_instance_that_is_down_does_not_accept() {
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    scene.accept("a");
    scene.report_down("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), None);
    scene.report_up("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Accepted));
    scene.report_down("a");
    scene.report_down("a");
    scene.of("a").reason = Reason::parse("exit 1");
    scene.look(1);
    let given = scene.given("a").unwrap();
    assert_eq!((given.outcome, given.reason.as_deref()), (Some(Outcome::Down), Some("exit 1")));
}

#[test]
fn a_canary_without_a_report_is_silent_after_a_while() {
    let mut scene = Scene::in_stage(&["a", "b", "c"], &["a", "b", "c"]);
    scene.of("b").is_witness = false;
    scene.accept("c");
    scene.look(1);
    assert_eq!(scene.next_seconds(), Some(60));
    scene.look(58);
    assert!(!scene.given("a").unwrap().is_silent);
    scene.look(1);
    let silent = |scene: &Scene| ["a", "b", "c"].map(|name| scene.given(name).unwrap().is_silent);
    assert_eq!(silent(&scene), [true, false, false]);
    assert_eq!(scene.next_seconds(), None);
    scene.accept("a");
    scene.look(1);
    assert_eq!(silent(&scene), [false; 3]);
}

#[test]
fn a_canary_is_asked_again_after_a_restart() {
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    scene.accept("a");
    scene.look(100);
    scene.restart("a");
    scene.look(1);
    let expected = Given { restarts: 1, ..Given::default() };
    assert_eq!(scene.given("a"), Some(expected));
    assert_eq!(scene.next_seconds(), Some(161));
    scene.look(60);
    assert!(scene.given("a").unwrap().is_silent);
}

#[test]
fn restarts_count_since_the_candidate_was_given() {
    let mut scene = Scene::new(&["a"]);
    scene.restart("a");
    scene.look(0);
    scene.restart("a");
    scene.begin(&["a"]);
    assert_eq!(scene.given("a").unwrap().restarts, 0);
    scene.restart("a");
    scene.look(1);
    scene.restart("a");
    scene.look(1);
    assert_eq!(scene.given("a").unwrap().restarts, 2);
    // Two clients that only poll have the same name, as the table has found out.
    scene.of("a").restart_count -= 1;
    scene.look(1);
    assert_eq!(scene.given("a").unwrap().restarts, 1);
}

#[test]
fn a_canary_is_gone_after_a_minute() {
    let mut scene = Scene::in_stage(&["a", "b"], &["a"]);
    scene.look(1);
    scene.disconnect("a");
    scene.look(1);
    assert_eq!(scene.next_seconds(), Some(60));
    scene.look(59);
    assert!(!scene.given("a").unwrap().is_gone);
    assert_eq!(scene.next_seconds(), Some(62));
    scene.look(1);
    let given = scene.given("a").unwrap();
    assert!(given.is_gone && !given.is_silent, "{given:?}");
    scene.reconnect("a");
    scene.look(1);
    assert!(!scene.given("a").unwrap().is_gone);
}

#[test]
fn a_canary_that_leaves_the_table_stays_gone() {
    let mut scene = Scene::in_stage(&["a", "b"], &["a"]);
    scene.look(1);
    scene.instances.remove(0);
    scene.look(1);
    assert!(!scene.given("a").unwrap().is_gone);
    scene.look(60);
    assert!(scene.given("a").unwrap().is_gone);
    scene.look(10_000);
    assert!(scene.given("a").unwrap().is_gone);
    let own = instance("a");
    scene.instances.push(own);
    scene.look(1);
    assert_eq!(scene.standing("a"), Some(Standing::Accepted));
    assert!(!scene.given("a").unwrap().is_gone);
}

#[test]
fn a_client_that_polls_is_not_gone_between_its_requests() {
    let mut scene = Scene::new(&["a"]);
    scene.disconnect("a");
    scene.look(0);
    assert_eq!(scene.names(), ["a"], "it made a request within the last minute");
    scene.begin(&["a"]);
    scene.now += 10;
    scene.poll("a");
    scene.look(0);
    assert_eq!(scene.given("a"), Some(Given::default()));
    scene.look(300);
    let given = scene.given("a").unwrap();
    assert!(!given.is_gone && !given.is_silent, "its interval is longer than that: {given:?}");
    scene.poll("a");
    scene.look(1);
    assert!(scene.given("a").unwrap().is_silent);
    scene.accept("a");
    scene.poll("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Accepted));
    scene.instances.clear();
    scene.look(1);
    assert_eq!(scene.group(), &Group::default());
}

#[test]
fn an_instance_that_has_ended_is_no_part_of_a_rollout() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.disconnect("a");
    scene.now += 60;
    scene.look(0);
    assert_eq!(scene.names(), ["b"]);
    scene.begin(&["a", "b"]);
    scene.promote();
    scene.look(1);
    assert_eq!((scene.names(), scene.given("a")), (vec!["b"], None));
    // Another one ends after the first look.
    let mut scene = Scene::in_stage(&["a", "b"], &[]);
    scene.disconnect("a");
    scene.look(1);
    scene.look(59);
    assert_eq!(scene.names(), ["a", "b"]);
    scene.look(1);
    assert_eq!(scene.names(), ["b"]);
}

#[test]
fn incidents_of_other_instances_are_counted_for_a_stage() {
    let mut scene = Scene::in_stage(&["a", "b", "c", "d"], &["a"]);
    scene.look(1);
    assert_eq!(scene.group().other_incidents, 0);
    for name in ["a", "b", "b"] {
        scene.restart(name);
    }
    scene.disconnect("c");
    scene.instances.pop();
    scene.look(1);
    assert_eq!(
        scene.group().other_incidents,
        3,
        "two restarts, and one instance has left the table"
    );
    assert_eq!(scene.next_seconds(), Some(62));
    scene.look(60);
    assert_eq!(scene.group().other_incidents, 5, "one is gone, and the restarted one is silent");
    scene.rollout().phase = Phase::Stage(1);
    scene.look(1);
    assert_eq!(scene.group().other_incidents, 0);
    scene.restart("b");
    scene.reconnect("c");
    scene.look(1);
    assert_eq!(scene.group().other_incidents, 1);
}

#[test]
fn the_time_of_the_next_change_is_the_earliest() {
    let mut scene = Scene::in_stage(&["a", "b"], &["a"]);
    assert_eq!(scene.next_seconds(), Some(60), "a counts as silent");
    scene.look(10);
    scene.accept("a");
    scene.disconnect("b");
    scene.look(1);
    assert_eq!(scene.next_seconds(), Some(71), "b counts as gone");
    scene.reconnect("b");
    scene.look(1);
    assert_eq!(scene.next_seconds(), None);
}
