//! The standing of an instance before the rollout began, also after a restart of the server.

use super::*;

/// The last acknowledgement, the reports of `down`, and the standing that follows.
type Reported = (Option<(u8, Ack)>, u32, Standing);

/// What an instance has reported, and what that makes of it.
const REPORTS: [Reported; 9] = [
    (None, 0, Standing::Unknown),
    (Some((STABLE, Ack::Applied)), 0, Standing::Accepted),
    (Some((FORMER, Ack::Applied)), 0, Standing::Accepted),
    (Some((FORMER, Ack::Rejected)), 0, Standing::Accepted),
    (Some((STABLE, Ack::Applied)), 1, Standing::Broken),
    (Some((STABLE, Ack::Rejected)), 0, Standing::Broken),
    (Some((CANDIDATE, Ack::Applied)), 0, Standing::Unknown),
    (Some((CANDIDATE, Ack::Rejected)), 0, Standing::Unknown),
    (None, 2, Standing::Broken),
];

fn set(scene: &mut Scene, reported: Option<(u8, Ack)>, down_count: u32) {
    let own = scene.of("a");
    own.applied = reported.map(|(number, outcome)| acknowledgement(number, outcome));
    own.health = (down_count > 0).then_some(InstanceHealth::Down);
    own.down_count = down_count;
}

#[test]
fn the_standing_is_what_an_instance_reported_before_the_first_stage() {
    for (reported, down_count, expected) in REPORTS {
        let mut scene = Scene::new(&["a"]);
        set(&mut scene, reported, down_count);
        scene.look(0);
        assert_eq!(scene.standing("a"), Some(expected), "{reported:?} {down_count}");
        // It is frozen when the first stage begins.
        scene.begin(&[]);
        for (reported, down_count, _) in REPORTS {
            set(&mut scene, reported, down_count);
            scene.look(1);
            assert_eq!(scene.standing("a"), Some(expected), "{reported:?} {down_count}");
        }
    }
}

#[test]
fn an_instance_that_appears_in_a_stage_is_unknown() {
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    scene.instances.push(instance("b"));
    scene.look(1);
    assert_eq!(scene.standing("b"), Some(Standing::Unknown));
    scene.look(1);
    assert_eq!(scene.standing("b"), Some(Standing::Unknown));
}

#[test]
fn a_restart_of_an_instance_does_not_change_its_standing() {
    let mut scene = Scene::new(&["a"]);
    scene.look(0);
    scene.restart("a");
    scene.look(1);
    assert_eq!(scene.standing("a"), Some(Standing::Accepted));
    scene.begin(&["a"]);
    scene.restart("a");
    scene.look(1);
    assert_eq!(scene.standing("a"), Some(Standing::Accepted));
}

#[test]
fn a_restart_of_the_server_before_the_first_stage_loses_nothing() {
    let mut scene = Scene::new(&[]);
    scene.look(0);
    scene.instances.push(instance("a"));
    scene.look(3600);
    assert_eq!(scene.standing("a"), Some(Standing::Accepted));
}

/// A rollout that this server sees first in a stage, because it was restarted.
fn returning() -> Scene {
    let mut scene = Scene::new(&[]);
    scene.begin(&["a"]);
    scene
}

#[test]
fn after_a_restart_of_the_server_instances_come_back() {
    for (reported, down_count, expected) in [
        (Some((STABLE, Ack::Applied)), 0, Standing::Accepted),
        (Some((FORMER, Ack::Applied)), 0, Standing::Accepted),
        (Some((CANDIDATE, Ack::Applied)), 0, Standing::Accepted),
        (None, 0, Standing::Unknown),
        // It is a canary. Both may be the fault of the candidate.
        (Some((CANDIDATE, Ack::Rejected)), 0, Standing::Unknown),
        (Some((CANDIDATE, Ack::Applied)), 1, Standing::Unknown),
    ] {
        let mut scene = returning();
        scene.instances.push(instance("a"));
        scene.of("a").is_witness = false;
        set(&mut scene, reported, down_count);
        scene.look(59);
        assert_eq!(scene.standing("a"), Some(expected), "{reported:?} {down_count}");
    }
}

#[test]
fn an_instance_that_was_bad_on_stable_comes_back_as_such() {
    for (outcome, down_count) in [(Ack::Rejected, 0), (Ack::Applied, 1)] {
        let mut scene = returning();
        scene.member().named.clear();
        scene.instances.push(instance("a"));
        set(&mut scene, Some((STABLE, outcome)), down_count);
        scene.look(1);
        assert_eq!(scene.standing("a"), Some(Standing::Broken));
    }
}

#[test]
fn an_instance_that_comes_back_too_late_is_unknown() {
    let mut scene = returning();
    scene.instances.push(instance("a"));
    scene.look(60);
    assert_eq!(scene.standing("a"), Some(Standing::Unknown));
}

#[test]
fn a_canary_that_acknowledged_before_the_restart_may_come_back_with_a_rejection() {
    let mut scene = returning();
    scene.instances.push(instance("a"));
    scene.reject("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Rejected));
    assert_eq!(scene.standing("a"), Some(Standing::Accepted));
}

#[test]
fn a_rejection_never_becomes_the_report_of_a_witness() {
    let mut scene = returning();
    scene.instances.push(instance("a"));
    scene.of("a").is_witness = false;
    scene.reject("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Rejected));
    for number in [STABLE, CANDIDATE, FORMER] {
        scene.acknowledge("a", number, Ack::Applied);
        scene.look(1);
        assert_eq!(scene.standing("a"), Some(Standing::Unknown));
        assert_eq!(scene.outcome("a"), Some(Outcome::Rejected));
    }
}

#[test]
fn an_instance_that_was_bad_on_stable_may_accept_the_fix_after_a_rejection() {
    let mut scene = Scene::new(&["a"]);
    scene.acknowledge("a", STABLE, Ack::Rejected);
    scene.look(0);
    scene.begin(&["a"]);
    scene.now += 1;
    scene.reject("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Rejected));
    scene.accept("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Accepted));
}

#[test]
fn a_rejection_of_an_earlier_rollout_does_not_count() {
    let mut scene = Scene::new(&["a"]);
    scene.reject("a");
    scene.look(1);
    scene.begin(&["a"]);
    assert_eq!(scene.given("a"), Some(Given::default()));
    // It acknowledged stable in between, and rejects again.
    scene.now += 1;
    scene.reject("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Rejected));
}
