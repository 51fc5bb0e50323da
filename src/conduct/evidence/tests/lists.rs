//! Which instances a report lists and which it counts, and how much is remembered.

use headwater_rollout::deal::EXACT_COUNT_MAX;
use headwater_rollout::evidence::{Counts, Evidence};
use headwater_rollout::verdict::{Assessment, Fault};

use super::*;

const COUNT: usize = 1000;

/// The names in the order of their buckets.
fn ordered() -> Vec<String> {
    let mut names: Vec<String> = (0..COUNT).map(|number| format!("web-{number}")).collect();
    names.sort_by_key(|name| bucket::bucket(key(name), SALT));
    names
}

fn many() -> (Scene, Vec<String>) {
    let names = ordered();
    let mut scene = Scene::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    // The order of the table says nothing.
    scene.instances.sort_by(|one, other| one.name.cmp(&other.name));
    scene.look(0);
    scene.begin(&[]);
    (scene, names)
}

#[test]
fn the_lowest_buckets_are_listed_and_the_others_counted() {
    let (scene, names) = many();
    let listed: Vec<&str> = scene.group().listed.iter().map(|own| &*own.name).collect();
    assert_eq!(listed, names[..EXACT_COUNT_MAX]);
    let counted = (COUNT - EXACT_COUNT_MAX) as u64;
    let expected = Counts { instances: counted, accepted: counted, ..Counts::default() };
    assert_eq!(scene.group().unlisted, expected);
    let evidence = Evidence::collect(&scene.branch.running[0], &["a".into()], &scene.reports);
    assert_eq!((evidence.counts().instances, evidence.missing.len()), (COUNT as u64, 0));
}

#[test]
fn bad_and_suspect_instances_are_listed_behind_them() {
    let (mut scene, names) = many();
    scene.promote();
    scene.look(1);
    let high = &names[COUNT - 301..];
    for name in high {
        scene.restart(name);
    }
    scene.reject(&names[COUNT - 1]);
    scene.look(1);
    let listed: Vec<&str> = scene.group().listed.iter().map(|own| &*own.name).collect();
    assert_eq!(listed.len(), EXACT_COUNT_MAX + SUSPECT_COUNT_MAX);
    assert_eq!(listed[EXACT_COUNT_MAX], names[COUNT - 1], "the report of a witness comes first");
    assert_eq!(listed[EXACT_COUNT_MAX + 1..], high[..SUSPECT_COUNT_MAX - 1]);
    let unlisted = (COUNT - listed.len()) as u64;
    assert_eq!(scene.group().unlisted.instances, unlisted);
    assert_eq!(scene.group().unlisted.given, unlisted);
}

#[test]
fn instances_that_are_gone_are_listed_and_not_counted() {
    let (mut scene, names) = many();
    scene.promote();
    scene.look(1);
    scene.instances.retain(|own| *own.name == *names[0]);
    scene.look(1);
    scene.look(60);
    let group = scene.group();
    assert_eq!(group.listed.len(), 1 + SUSPECT_COUNT_MAX);
    assert_eq!(group.unlisted, Counts::default());
    let rollout = &scene.branch.running[0];
    let evidence = Evidence::collect(rollout, &["a".into()], &scene.reports);
    assert_eq!(evidence.counts().instances, 1);
}

#[test]
fn names_that_are_used_once_are_forgotten() {
    let mut scene = Scene::in_stage(&[], &[]);
    scene.promote();
    for round in 0..20 {
        scene.instances = (0..100).map(|number| instance(&format!("{round}-{number}"))).collect();
        scene.look(1);
        scene.look(1);
    }
    let remembered = scene.tracker.rollouts[0].members["order"].instances.len();
    assert!(remembered <= 100 + SUSPECT_COUNT_MAX, "{remembered}");
    assert_eq!(scene.tracker.keys.len(), 100);
    scene.branch.running.clear();
    scene.look(1);
    assert!(scene.tracker.rollouts.is_empty());
}

#[test]
fn a_report_decides_as_the_rollout_does() {
    let mut scene = Scene::in_stage(&["a", "b", "c"], &["a"]);
    scene.member().wanted = 1;
    scene.look(1);
    let assess = |scene: &Scene| {
        let rollout = &scene.branch.running[0];
        let evidence = Evidence::collect(rollout, &["a".into()], &scene.reports);
        Assessment::of(rollout, &evidence)
    };
    assert!(assess(&scene).lack.is_some());
    scene.accept("a");
    scene.look(1);
    assert_eq!((assess(&scene).fault, assess(&scene).lack), (None, None));
    scene.reject("a");
    scene.look(1);
    let fault = assess(&scene).fault;
    assert!(matches!(fault, Some(Fault::Rejected { .. })), "{fault:?}");
}
