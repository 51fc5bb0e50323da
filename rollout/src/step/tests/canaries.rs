//! Tests of the canaries of stages, and of rollouts that depend on others.

use super::*;

#[test]
fn vanished_canaries_are_replaced() {
    let plan = "[plan.p]\nstages = [\"2\", \"all\"]\nbake = \"1m\"\n[[rule]]\nplan = \"p\"\n";
    let (mut scene, mut keeper) = in_first_stage(plan);
    keeper.step(&mut scene, 0);
    let bound = scene.running()[0].members["order"].bound;
    let group = keeper.reports[0].applications.get_mut("order").unwrap();
    let canary = group.listed.iter_mut().find(|own| own.given.is_some()).unwrap();
    canary.given.as_mut().unwrap().is_gone = true;
    let gone = canary.clone();
    assert!(keeper.words(&mut scene, 0)[0].contains("has disconnected. The bake begins again"));
    assert_eq!(
        keeper.words(&mut scene, 0),
        ["order: canaries have vanished, and others take their place"]
    );
    assert!(scene.running()[0].members["order"].bound > bound);
    assert_eq!(scene.running()[0].members["order"].wanted, 2);
    observe(&mut keeper, &scene, ACCEPTED);
    let group = keeper.reports[0].applications.get_mut("order").unwrap();
    *group.listed.iter_mut().find(|own| own.key == gone.key).unwrap() = gone.clone();
    keeper.step(&mut scene, 0);
    assert_eq!(keeper.words(&mut scene, 60), ["going to all instances"]);
}

#[test]
fn instances_that_have_not_come_back_are_awaited() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    let rollout = scene.running()[0].clone();
    keeper.reports = vec![report(&rollout, vec![("order", vec![sighting("order", 0)])])];
    assert_eq!(keeper.words(&mut scene, 0), [""; 0]);
    assert_eq!(keeper.words(&mut scene, 599), [""; 0]);
    observe(&mut keeper, &scene, None);
    assert_eq!(keeper.words(&mut scene, 0), ["stage 1 of 2: order 1 of 12"]);
    // Three of twelve come back. After a minute, a canary among them is named.
    let mut few = Scene::new();
    few.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    let three = (0..3).map(|index| sighting("order", index)).collect();
    keeper.reports = vec![report(&few.running()[0], vec![("order", three)])];
    assert_eq!(keeper.words(&mut few, 0), [""; 0]);
    assert_eq!(keeper.words(&mut few, 59), [""; 0]);
    assert_eq!(keeper.words(&mut few, 1), ["stage 1 of 2: order 1 of 3"]);
    let member = &few.running()[0].members["order"];
    assert_eq!((member.bound, member.named.len()), (Bound::NONE, 1));
    let (mut scene, mut keeper) = auto();
    keeper.step(&mut scene, 0);
    keeper.step(&mut scene, 10);
    assert!(scene.running()[0].is_in_last_stage());
    keeper.reports = vec![report(&scene.running()[0], vec![])];
    keeper.step(&mut scene, 0);
    let words = keeper.words(&mut scene, 600);
    assert!(words[0].contains("0 of 0 instances accepted it"), "{words:?}");
    assert!(scene.running()[0].paused.is_some());
}

#[test]
fn a_scope_without_a_possible_canary_goes_to_all_and_is_watched() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    let rollout = scene.running()[0].clone();
    let all = vec![("order", vec![sighting("order", 0)]), ("cart", vec![sighting("cart", 0)])];
    keeper.reports = vec![report(&rollout, all)];
    keeper.step(&mut scene, 0);
    assert_eq!(keeper.words(&mut scene, 60), ["going to all instances"], "half of one is none");
    assert_eq!(scene.running().len(), 1);
}

#[test]
fn canaries_that_no_instance_matches_pause() {
    let plan = "[plan.p]\nstages = [\"1\", \"all\"]\nbake = \"1m\"\ncanaries = { zone = \"eu-9\" }\n[[rule]]\nplan = \"p\"\n";
    let mut scene = Scene::with_plan(plan);
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    observe(&mut keeper, &scene, None);
    let words = keeper.words(&mut scene, 0);
    assert!(words[0].contains("no instance matches canaries of the plan"), "{words:?}");
    assert_eq!(scene.running()[0].members["order"].bound, Bound::NONE);
}

#[test]
fn each_zone_is_a_stage() {
    let plan = "[plan.p]\nby = \"zone\"\nbake = \"1m\"\n[[rule]]\nplan = \"p\"\n";
    let mut scene = Scene::with_plan(plan);
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    let zone = |index: usize| if index.is_multiple_of(3) { "eu-2" } else { "eu-1" };
    let observe = |keeper: &mut Keeper, scene: &Scene| {
        let rollout = &scene.running()[0];
        let admitted = rollout.admitted();
        let all = (0..12).map(|index| {
            let mut own = sighting("order", index);
            own.attributes.insert("zone".into(), zone(index).into());
            let is_canary = admitted.iter().any(|(_, value)| &**value == zone(index));
            if is_canary { crate::fixture::given(own, ACCEPTED) } else { own }
        });
        keeper.reports = vec![report(rollout, vec![("order", all.collect())])];
    };
    observe(&mut keeper, &scene);
    assert_eq!(keeper.words(&mut scene, 0), ["stage 1 of 3: order 8 of 12"]);
    assert_eq!(scene.running()[0].admitted(), [("zone".into(), "eu-1".into())]);
    observe(&mut keeper, &scene);
    keeper.step(&mut scene, 0);
    assert_eq!(keeper.words(&mut scene, 60), ["stage 2 of 3: order 12 of 12"]);
}

#[test]
fn a_rollout_is_not_ahead_of_those_it_depends_on() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    scene.push(&[change("order", 1, 2)]).unwrap();
    let mut keeper = Keeper::new();
    let mut stages = Vec::new();
    for _ in 0..12 {
        for _ in 0..3 {
            observe(&mut keeper, &scene, ACCEPTED);
            keeper.step(&mut scene, 0);
        }
        keeper.step(&mut scene, 10);
        stages.push(scene.running().iter().map(|own| own.stage()).collect::<Vec<_>>());
    }
    assert!(stages.contains(&vec![Some(1), Some(0)]), "{stages:?}");
    assert!(!stages.contains(&vec![Some(0), Some(1)]), "{stages:?}");
    assert_eq!(stages.last(), Some(&vec![]));
}

#[test]
fn a_broken_stable_version_is_no_baseline() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let mut keeper = Keeper::new();
    let broken = |keeper: &mut Keeper| {
        for own in &mut keeper.reports[0].applications.get_mut("order").unwrap().listed {
            own.standing = Standing::Broken;
        }
    };
    observe(&mut keeper, &scene, None);
    broken(&mut keeper);
    assert_eq!(keeper.words(&mut scene, 0), ["stage 1 of 2: order 1 of 12"]);
    observe(&mut keeper, &scene, ACCEPTED);
    broken(&mut keeper);
    assert_eq!(
        keeper.words(&mut scene, 0),
        ["going to all instances"],
        "with the first that accepts it"
    );
}
