//! Tests of the verdict of one moment.

use super::*;
use crate::evidence::{Given, Group, Outcome, Report};
use crate::fixture::{Keeper, Scene, change, given, instances, report, sighting};
use crate::state::Phase;

/// A rollout of 12 instances of one application in a stage: one canary, or all.
fn in_stage(index: usize) -> Rollout {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    let rollout = scene.running()[0].clone();
    keeper.reports =
        vec![report(&rollout, vec![("order", instances(&rollout, "order", 12, None))])];
    keeper.step(&mut scene, 0);
    let mut rollout = scene.running()[0].clone();
    assert_eq!(rollout.phase, Phase::Stage(0));
    if index == 1 {
        rollout.enter_last_stage(9);
    }
    rollout
}

fn assess_group(rollout: &Rollout, group: Group) -> Assessment {
    let mut own: Report = report(rollout, vec![]);
    own.applications.insert("order".into(), group);
    Assessment::of(rollout, &Evidence::collect(rollout, &["a".into()], &[own]))
}

fn assess(rollout: &Rollout, listed: Vec<Sighting>) -> Assessment {
    assess_group(rollout, Group { listed, ..Group::default() })
}

/// The instances of the rollout, whose canaries a function changes.
fn with_canaries(rollout: &Rollout, change: impl Fn(&mut Sighting)) -> Vec<Sighting> {
    let mut all = instances(rollout, "order", 12, Outcome::Accepted);
    all.iter_mut().filter(|own| own.given.is_some()).for_each(change);
    all
}

fn outcome(sighting: &mut Sighting, outcome: Outcome) {
    sighting.given.as_mut().unwrap().outcome = Some(outcome);
}

#[test]
fn one_rejection_by_a_witness_is_a_fault() {
    let rollout = in_stage(0);
    for (bad, expected) in [(Outcome::Rejected, "rejected it"), (Outcome::Down, "is down")] {
        let found = assess(&rollout, with_canaries(&rollout, |own| outcome(own, bad)));
        let fault = found.fault.unwrap().to_string();
        assert!(fault.contains(expected), "{fault}");
    }
    let good = assess(&rollout, instances(&rollout, "order", 12, Outcome::Accepted));
    assert_eq!((good.fault, good.lack, good.incident_count), (None, None, 0));
}

#[test]
fn a_client_that_appears_only_to_report_a_failure_decides_nothing_alone() {
    let rollout = in_stage(0);
    let mut all = instances(&rollout, "order", 12, Outcome::Accepted);
    let liar = |index| Sighting {
        standing: Standing::Unknown,
        ..given(sighting("order", index), Outcome::Rejected)
    };
    all.push(liar(100));
    let found = assess(&rollout, all.clone());
    assert_eq!((found.fault, found.incident_count), (None, 1));
    // Several new instances that crash do decide.
    all.push(liar(101));
    assert!(matches!(assess(&rollout, all).fault, Some(Fault::Suspects { count: 2, .. })));
}

#[test]
fn an_instance_that_was_bad_on_stable_is_no_witness() {
    let rollout = in_stage(0);
    let all = with_canaries(&rollout, |own| {
        own.standing = Standing::Broken;
        outcome(own, Outcome::Rejected);
    });
    let found = assess(&rollout, all);
    assert_eq!((found.fault, found.incident_count, found.is_fix), (None, 0, false));
}

#[test]
fn a_candidate_is_a_fix_if_every_instance_was_bad_on_stable() {
    let rollout = in_stage(0);
    let mut all = instances(&rollout, "order", 12, Outcome::Accepted);
    all.iter_mut().for_each(|own| own.standing = Standing::Broken);
    assert!(assess(&rollout, all.clone()).is_fix);
    all[0].standing = Standing::Accepted;
    all[1].standing = Standing::Accepted;
    assert!(!assess(&rollout, all).is_fix);
}

#[test]
fn incidents_of_canaries_are_compared_with_those_of_others() {
    let rollout = in_stage(0);
    let restarted =
        |count| with_canaries(&rollout, |own| own.given.as_mut().unwrap().restarts = count);
    let found = |restarts, other_incidents| {
        let group = Group { listed: restarted(restarts), other_incidents, ..Group::default() };
        assess_group(&rollout, group)
    };
    assert_eq!(found(1, 0).fault, None, "one incident is a suspect");
    assert_eq!(found(1, 0).incident_count, 1);
    let fault = found(2, 0).fault.unwrap().to_string();
    assert!(
        fault.ends_with("has restarted twice: 2 incidents among 1 canary, none among the other 11"),
        "{fault}"
    );
    assert_eq!(found(2, 11).fault, None, "a deployment restarts all of them");
    assert!(found(2, 10).fault.is_some(), "2 of 1 is more than twice 10 of 11");
}

#[test]
fn gone_and_silent_canaries_are_incidents() {
    let rollout = in_stage(0);
    let found = assess(
        &rollout,
        with_canaries(&rollout, |own| {
            *own.given.as_mut().unwrap() =
                Given { is_gone: true, is_silent: true, ..Given::default() };
        }),
    );
    assert_eq!(found.incident_count, 1, "an instance that is gone cannot report");
    assert!(matches!(found.lack, Some(Lack::Canaries { present: 0, wanted: 1, .. })));
    let found = assess(
        &rollout,
        with_canaries(&rollout, |own| {
            *own.given.as_mut().unwrap() = Given { is_silent: true, ..Given::default() };
        }),
    );
    assert_eq!(found.incident_count, 1);
    assert_eq!(found.lack, Some(Lack::Acknowledgements { ok: 0, given: 1 }));
}

#[test]
fn one_percent_of_many_canaries_is_no_fault() {
    let mut rollout = in_stage(0);
    rollout.members.get_mut("order").unwrap().wanted = 200;
    let mut listed: Vec<Sighting> =
        (0..200).map(|index| given(sighting("order", index), Outcome::Accepted)).collect();
    let mut found = |bad: usize| {
        for own in listed.iter_mut().take(bad) {
            own.given.as_mut().unwrap().restarts = 1;
        }
        let mut group = Group { listed: listed.clone(), ..Group::default() };
        group.unlisted.instances = 2000;
        assess_group(&rollout, group)
    };
    assert_eq!(found(2).fault, None, "2 of 200 are not more than 1 %");
    assert!(matches!(found(3).fault, Some(Fault::Suspects { count: 3, canaries: 200, .. })));
}

#[test]
fn the_last_stage_needs_two_and_one_percent() {
    let rollout = in_stage(1);
    let found = |bad: usize, total: usize| {
        let mut all: Vec<Sighting> =
            (0..total).map(|index| given(sighting("order", index), Outcome::Accepted)).collect();
        all.iter_mut().take(bad).for_each(|own| outcome(own, Outcome::Down));
        assess(&rollout, all).fault
    };
    assert_eq!(found(1, 12), None);
    assert!(matches!(found(2, 12), Some(Fault::Widespread { rejected: 2, instances: 12, .. })));
    assert!(found(2, 200).is_some());
    assert_eq!(found(2, 201), None);
    assert!(found(3, 201).is_some());
    assert!(found(1, 1).is_some(), "no second instance exists");
}

#[test]
fn a_rolling_restart_in_the_last_stage_is_no_fault() {
    let rollout = in_stage(1);
    let all = |change: fn(&mut Given)| {
        let all = (0..12).map(|index| {
            let mut own = given(sighting("order", index), Outcome::Accepted);
            change(own.given.as_mut().unwrap());
            own
        });
        all.collect::<Vec<Sighting>>()
    };
    assert_eq!(assess(&rollout, all(|own| own.restarts = 1)).fault, None);
    assert!(assess(&rollout, all(|own| own.restarts = 2)).fault.is_some(), "they crash");
    let gone = all(|own| own.is_gone = true);
    assert!(assess(&rollout, gone.clone()).fault.is_some(), "they do not come back");
    let new = (20..32).map(|index| Sighting {
        standing: Standing::Unknown,
        ..given(sighting("order", index), Outcome::Accepted)
    });
    let replaced = gone.into_iter().chain(new).collect();
    assert_eq!(assess(&rollout, replaced).fault, None, "others have replaced them");
}

#[test]
fn ninety_five_percent_have_to_accept() {
    let mut rollout = in_stage(0);
    rollout.members.get_mut("order").unwrap().wanted = 20;
    let found = |ok: usize| {
        let all = (0..40).map(|index| match index {
            _ if index < ok => given(sighting("order", index), Outcome::Accepted),
            0..20 => given(sighting("order", index), None),
            _ => sighting("order", index),
        });
        assess(&rollout, all.collect()).lack
    };
    assert_eq!(found(18), Some(Lack::Acknowledgements { ok: 18, given: 20 }));
    assert_eq!(found(19), None);
}

#[test]
fn a_missing_replica_is_named_first() {
    let rollout = in_stage(0);
    let own = report(&rollout, vec![("order", instances(&rollout, "order", 12, None))]);
    let evidence = Evidence::collect(&rollout, &["a".into(), "b".into()], &[own]);
    let found = Assessment::of(&rollout, &evidence).lack;
    assert_eq!(found, Some(Lack::Replicas(vec!["b".into()])));
}

#[test]
fn a_canary_that_is_away_is_not_watched() {
    let rollout = in_stage(0);
    let away = with_canaries(&rollout, |own| own.given.as_mut().unwrap().is_away = true);
    let found = assess(&rollout, away);
    assert_eq!(found.fault, None);
    assert!(matches!(found.lack, Some(Lack::Canaries { present: 0, wanted: 1, .. })), "{found:?}");
}

#[test]
fn an_instance_that_was_bad_on_stable_delays_nobody() {
    for index in [0, 1] {
        let rollout = in_stage(index);
        let mut listed = with_canaries(&rollout, |own| outcome(own, Outcome::Accepted));
        let mut broken = sighting("order", 99);
        broken.standing = Standing::Broken;
        listed.push(given(broken, Outcome::Rejected));
        let found = assess(&rollout, listed);
        assert_eq!((found.fault, found.lack), (None, None));
    }
}
