//! Tests of the state machine with one replica and a fleet of values.

mod canaries;

use super::*;
use crate::bucket::Bound;
use crate::check::Measurement;
use crate::evidence::{Outcome, Standing};
use crate::fixture::{BRANCH, Keeper, Scene, change, instances, report, sighting, try_of};
use crate::state::Phase;

const ACCEPTED: Option<Outcome> = Some(Outcome::Accepted);

/// Reports 12 instances of `order` and 4 of `cart`, whose canaries have an outcome.
fn observe(keeper: &mut Keeper, scene: &Scene, outcome: Option<Outcome>) {
    keeper.reports = scene
        .running()
        .iter()
        .map(|rollout| {
            let listed = rollout.applications().map(|name| {
                let count = if &**name == "order" { 12 } else { 4 };
                (&**name, instances(rollout, name, count, outcome))
            });
            report(rollout, listed.collect())
        })
        .collect();
}

/// A rollout of `order` that has just entered its first stage.
fn in_first_stage(plan: &str) -> (Scene, Keeper) {
    let mut scene = Scene::with_plan(plan);
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    observe(&mut keeper, &scene, None);
    keeper.step(&mut scene, 0);
    assert_eq!(scene.running()[0].phase, Phase::Stage(0));
    observe(&mut keeper, &scene, ACCEPTED);
    (scene, keeper)
}

fn auto() -> (Scene, Keeper) {
    in_first_stage("")
}

fn withheld(scene: &Scene) -> Vec<&str> {
    scene.state.branch(BRANCH).unwrap().withheld.iter().map(|own| &*own.because).collect()
}

#[test]
fn a_good_change_goes_through_its_stages() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    assert_eq!(keeper.words(&mut scene, 0), [""; 0], "no evidence yet");
    observe(&mut keeper, &scene, None);
    assert_eq!(keeper.words(&mut scene, 1), ["stage 1 of 2: order 1 of 12"]);
    observe(&mut keeper, &scene, None);
    assert_eq!(keeper.words(&mut scene, 20), [""; 0], "no canary has accepted it");
    observe(&mut keeper, &scene, ACCEPTED);
    assert_eq!(keeper.words(&mut scene, 1), [""; 0]);
    assert_eq!(keeper.words(&mut scene, 9), [""; 0], "9 of 10 s");
    let number = scene.running()[0].number;
    assert_eq!(keeper.words(&mut scene, 1), ["going to all instances"]);
    assert!(scene.running()[0].number > number);
    assert_eq!(scene.running()[0].members["order"].bound, Bound::EVERYONE);
    assert_eq!(keeper.words(&mut scene, 30), [""; 0], "the report is of the stage before");
    observe(&mut keeper, &scene, ACCEPTED);
    assert_eq!(keeper.words(&mut scene, 0), [""; 0]);
    assert_eq!(keeper.words(&mut scene, 10), ["done"]);
    assert!(scene.running().is_empty());
    assert!(scene.state.branch(BRANCH).unwrap().entry("order").is_none());
}

#[test]
fn a_rejection_rolls_back_at_once_in_every_stage() {
    for outcome in [Outcome::Rejected, Outcome::Down] {
        let (mut scene, mut keeper) = auto();
        observe(&mut keeper, &scene, Some(outcome));
        let words = keeper.words(&mut scene, 0);
        assert!(words[0].starts_with("rolled back: order-"), "{words:?}");
        assert!(words[0].ends_with("is withheld until a push changes it"), "{words:?}");
        assert_eq!(withheld(&scene).len(), 1);
    }
    let (mut scene, mut keeper) = auto();
    keeper.step(&mut scene, 0);
    keeper.step(&mut scene, 10);
    assert!(scene.running()[0].is_in_last_stage());
    observe(&mut keeper, &scene, Some(Outcome::Rejected));
    let words = keeper.words(&mut scene, 0);
    assert!(words[0].contains("12 bad reports or incidents among 12 instances"), "{words:?}");
}

#[test]
fn a_rejection_rolls_back_a_paused_rollout() {
    let (mut scene, mut keeper) = auto();
    scene.state.branches.get_mut(BRANCH).unwrap().running[0].paused =
        Some(Pause::Deadline { why: "x".into() });
    keeper.step(&mut scene, 100);
    assert!(scene.running()[0].paused.is_some(), "a pause never ends by itself");
    observe(&mut keeper, &scene, Some(Outcome::Rejected));
    keeper.step(&mut scene, 0);
    assert_eq!(withheld(&scene).len(), 1);
}

#[test]
fn tries_are_awaited_for_five_seconds() {
    let start = |standing, is_accepted, is_trying| {
        let mut scene = Scene::new();
        scene.push(&[change("order", 0, 1)]).unwrap();
        let mut keeper = Keeper::new();
        observe(&mut keeper, &scene, None);
        keeper.reports[0].is_trying = is_trying;
        keeper.reports[0].tries = vec![try_of("order-1", standing, is_accepted)];
        let first = keeper.words(&mut scene, 0);
        let second = keeper.words(&mut scene, 4);
        let third = keeper.words(&mut scene, 1);
        [first, second, third].map(|words| words.join(" "))
    };
    let [first, ..] = start(Standing::Accepted, true, false);
    assert_eq!(first, "stage 1 of 2: order 1 of 12");
    let [first, second, third] = start(Standing::Accepted, true, true);
    assert_eq!((&*first, &*second, &*third), ("", "", "stage 1 of 2: order 1 of 12"));
    let [first, ..] = start(Standing::Accepted, false, true);
    assert!(
        first.contains("order-1, version 1.4, would reject it (type catalogue.page-size)"),
        "{first}"
    );
    let [first, ..] = start(Standing::Unknown, false, false);
    assert_eq!(first, "stage 1 of 2: order 1 of 12", "a stranger decides nothing");
}

#[test]
fn the_bake_is_without_a_gap() {
    let (mut scene, mut keeper) = auto();
    keeper.step(&mut scene, 0);
    keeper.is_connected = false;
    assert!(keeper.step(&mut scene, 9).next.is_none(), "etcd is unreachable");
    keeper.is_connected = true;
    assert!(keeper.step(&mut scene, 1).next.is_none(), "the bake begins again");
    keeper.live.push("b".into());
    assert!(keeper.step(&mut scene, 9).next.is_none(), "replica b has not reported");
    keeper.live.pop();
    assert!(keeper.step(&mut scene, 1).next.is_none());
    keeper.watches = Watches::default();
    assert!(keeper.step(&mut scene, 9).next.is_none(), "another replica takes over");
    assert!(keeper.step(&mut scene, 9).next.is_none());
    assert!(keeper.step(&mut scene, 1).next.is_some());
}

#[test]
fn the_replica_with_the_lowest_id_is_first() {
    let (mut scene, mut keeper) = auto();
    keeper.rank = 2;
    keeper.step(&mut scene, 0);
    assert!(keeper.step(&mut scene, 13).next.is_none());
    assert!(keeper.step(&mut scene, 1).next.is_some());
    let (mut scene, mut keeper) = auto();
    keeper.rank = 2;
    observe(&mut keeper, &scene, Some(Outcome::Down));
    assert!(keeper.step(&mut scene, 0).next.is_some(), "a fault waits for no rank");
}

#[test]
fn the_first_suspect_makes_the_bake_begin_again_once() {
    let (mut scene, mut keeper) = auto();
    keeper.step(&mut scene, 0);
    let restarted = |keeper: &mut Keeper, count| {
        for own in &mut keeper.reports[0].applications.get_mut("order").unwrap().listed {
            own.given.iter_mut().for_each(|given| given.restarts = count);
        }
    };
    restarted(&mut keeper, 1);
    let words = keeper.words(&mut scene, 9);
    assert!(words[0].ends_with("has restarted. The bake begins again"), "{words:?}");
    assert_eq!(keeper.words(&mut scene, 1), [""; 0]);
    assert_eq!(keeper.words(&mut scene, 9), [""; 0]);
    assert_eq!(keeper.words(&mut scene, 1), ["going to all instances"], "10 s after the suspect");
    let (mut scene, mut keeper) = auto();
    restarted(&mut keeper, 2);
    let words = keeper.words(&mut scene, 0);
    assert!(
        words[0]
            .contains("has restarted twice: 2 incidents among 1 canary, none among the other 11"),
        "{words:?}"
    );
}

#[test]
fn without_evidence_a_rollout_pauses_after_its_deadline() {
    let (mut scene, mut keeper) = auto();
    observe(&mut keeper, &scene, None);
    keeper.step(&mut scene, 0);
    assert_eq!(keeper.words(&mut scene, 599), [""; 0]);
    let words = keeper.words(&mut scene, 1);
    assert_eq!(
        words,
        [
            "paused: the deadline has passed: 0 of 1 instance accepted it. Resume, promote or abort the rollout"
        ]
    );
    observe(&mut keeper, &scene, ACCEPTED);
    assert!(keeper.step(&mut scene, 1000).next.is_none());
    // A replica that never reports has the same effect before the first stage.
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    keeper.step(&mut scene, 0);
    let words = keeper.words(&mut scene, 600);
    assert!(
        words[0].starts_with("paused: the deadline has passed: no current evidence from a"),
        "{words:?}"
    );
}

const ONE_CHECK: &str = "[plan.p]\nstages = [\"1\", \"all\"]\nbake = \"1m\"\nchecks = [\"errors\"]\n[[rule]]\nplan = \"p\"\n";

fn measure(keeper: &mut Keeper, scene: &Scene, measurements: &[Measurement]) {
    let rollout = scene.running()[0].id.clone();
    keeper.measured = measurements
        .iter()
        .map(|own| Measured {
            rollout: rollout.clone(),
            check: "errors".into(),
            measurement: own.clone(),
        })
        .collect();
}

#[test]
fn checks_have_to_be_good_and_may_roll_back() {
    use Measurement::{Bad, Failed, Good};
    let (mut scene, mut keeper) = in_first_stage(ONE_CHECK);
    measure(&mut keeper, &scene, &[Good, Bad, Good]);
    keeper.step(&mut scene, 0);
    assert!(keeper.step(&mut scene, 100).next.is_none(), "two good results of three");
    measure(&mut keeper, &scene, &[Good]);
    assert!(keeper.step(&mut scene, 0).next.is_some());
    let (mut scene, mut keeper) = in_first_stage(ONE_CHECK);
    measure(&mut keeper, &scene, &[Good, Bad, Bad]);
    let words = keeper.words(&mut scene, 0);
    assert!(words[0].starts_with("rolled back: check errors is over its threshold."), "{words:?}");
    // Errors are neither good nor bad, and are reported once.
    let (mut scene, mut keeper) = in_first_stage(ONE_CHECK);
    let failed = Failed { why: "timeout".into() };
    measure(&mut keeper, &scene, &[failed.clone(), failed.clone(), failed.clone(), failed.clone()]);
    assert_eq!(keeper.words(&mut scene, 0), [""; 0]);
    measure(&mut keeper, &scene, std::slice::from_ref(&failed));
    assert_eq!(keeper.words(&mut scene, 0), ["check errors could not be made 5 times in sequence"]);
    let words = keeper.words(&mut scene, 600);
    assert!(words[0].contains("check errors could not be made 5 times"), "{words:?}");
    assert!(scene.running()[0].paused.is_some());
}

/// Nothing is left to compare with in the last stage. A rollout with such a check would never end.
#[test]
fn the_last_stage_needs_no_comparison() {
    for is_comparison in [true, false] {
        let (mut scene, mut keeper) = in_first_stage(ONE_CHECK);
        let rule = CheckRule { is_comparison, samples: 1, ..CheckRule::default() };
        keeper.rules.insert("errors".into(), rule);
        measure(&mut keeper, &scene, &[Measurement::Good]);
        observe(&mut keeper, &scene, ACCEPTED);
        keeper.step(&mut scene, 0);
        keeper.step(&mut scene, 60);
        assert!(scene.running()[0].is_in_last_stage());
        observe(&mut keeper, &scene, ACCEPTED);
        keeper.step(&mut scene, 0);
        keeper.step(&mut scene, 60);
        assert_eq!(scene.running().is_empty(), is_comparison);
    }
}

#[test]
fn a_freeze_ends_by_itself_and_an_old_replica_pauses() {
    let freeze = "[[freeze]]\nfrom = 1970-01-01\nuntil = 1980-01-01\n";
    let mut scene = Scene::with_plan(freeze);
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    keeper.freeze = scene.plans.freeze(scene.wall).cloned();
    observe(&mut keeper, &scene, None);
    assert!(keeper.step(&mut scene, 100_000).next.is_none());
    keeper.freeze = None;
    keeper.step(&mut scene, 0);
    assert_eq!(scene.running()[0].phase, Phase::Trying);
    keeper.unsupported = Some("old".into());
    let words = keeper.words(&mut scene, 0);
    assert_eq!(
        words,
        ["paused: replica old has a version without rollouts. Upgrade it and resume"]
    );
}

#[test]
fn the_progress_names_what_is_missing() {
    let (scene, mut keeper) = auto();
    let text = |keeper: &Keeper| {
        let rollout = &scene.running()[0];
        progress(rollout, &Evidence::collect(rollout, &keeper.live, &keeper.reports)).to_string()
    };
    assert_eq!(text(&keeper), "stage 1 of 2: 1 of 12 have it");
    observe(&mut keeper, &scene, None);
    assert_eq!(text(&keeper), "stage 1 of 2: 0 of 12 have it, 0 of 1 instance accepted it");
    keeper.live.push("b".into());
    assert_eq!(text(&keeper), "stage 1 of 2: 0 of 12 have it, no current evidence from b");
}

#[test]
fn the_same_arguments_have_the_same_result() {
    let (scene, mut keeper) = auto();
    observe(&mut keeper, &scene, Some(Outcome::Rejected));
    let run = || {
        let mut scene = Scene { state: scene.state.clone(), ..Scene::new() };
        let mut own = Keeper { reports: keeper.reports.clone(), ..Keeper::new() };
        own.step(&mut scene, 7);
        scene.state
    };
    assert_eq!(run(), run());
}
