//! Tests of strictness.

use proptest::prelude::*;

use super::*;

fn plan(text: &str) -> Arc<Plan> {
    let file = parse(&format!("[plan.p]\n{text}"));
    file.plan("p").unwrap().clone()
}

fn built_in(name: &str) -> Arc<Plan> {
    Arc::new(Plan::built_in(name).unwrap())
}

#[test]
fn the_built_in_plans_are_ordered() {
    let [all, auto, careful] = ["all-at-once", "auto", "careful"].map(built_in);
    assert!(careful.is_stricter_than(&auto));
    assert!(auto.is_stricter_than(&all));
    assert!(careful.is_stricter_than(&all));
    assert!(!auto.is_stricter_than(&careful));
    assert!(auto.is_at_least_as_strict_as(&auto) && !auto.is_stricter_than(&auto));
}

#[test]
fn each_guarantee_counts() {
    let base = plan("stages = [\"5%\", \"all\"]\nbake = [\"5m\", \"10m\"]\nchecks = [\"errors\"]");
    for (text, expected) in [
        (
            "stages = [\"5%\", \"all\"]\nbake = [\"5m\", \"10m\"]\nchecks = [\"errors\", \"latency\"]",
            true,
        ),
        (
            "stages = [\"1\", \"5%\", \"all\"]\nbake = [\"1m\", \"5m\", \"10m\"]\nchecks = [\"errors\"]",
            true,
        ),
        ("stages = [\"5%\", \"all\"]\nbake = [\"4m\", \"10m\"]\nchecks = [\"errors\"]", false),
        ("stages = [\"5%\", \"all\"]\nbake = [\"5m\", \"9m\"]\nchecks = [\"errors\"]", false),
        ("stages = [\"6%\", \"all\"]\nbake = [\"5m\", \"10m\"]\nchecks = [\"errors\"]", false),
        ("stages = [\"2\", \"all\"]\nbake = [\"5m\", \"10m\"]\nchecks = [\"errors\"]", false),
        ("stages = [\"5%\", \"all\"]\nbake = [\"5m\", \"10m\"]", false),
        (
            "stages = [\"5%\", \"all\"]\nbake = \"10m\"\nchecks = [\"errors\"]\nunwatched = \"now\"",
            false,
        ),
        (
            "stages = [\"5%\", \"all\"]\nbake = \"10m\"\nchecks = [\"errors\"]\nunwatched = \"refuse\"",
            true,
        ),
        (
            "stages = [\"5%\", \"all\"]\nbake = \"10m\"\nchecks = [\"errors\"]\ncanaries = { zone = \"a\" }",
            true,
        ),
        ("by = \"zone\"\nbake = \"10m\"\nchecks = [\"errors\"]", false),
    ] {
        assert_eq!(plan(text).is_stricter_than(&base), expected, "{text}");
    }
    let narrowed = plan("stages = [\"5%\", \"all\"]\nbake = \"5m\"\ncanaries = { zone = \"a\" }");
    let wide = plan("stages = [\"5%\", \"all\"]\nbake = \"1h\"");
    assert!(
        !wide.is_at_least_as_strict_as(&narrowed),
        "the operator of zone a expects its canaries"
    );
    let zones = plan("by = \"zone\"\nbake = \"5m\"");
    assert!(zones.is_stricter_than(&built_in("all-at-once")));
    assert!(plan("by = \"zone\"\nbake = \"10m\"").is_stricter_than(&zones));
    assert!(!plan("by = \"version\"\nbake = \"10m\"").is_at_least_as_strict_as(&zones));
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let reach = prop_oneof![
        (1u32..4).prop_map(|count| Reach::Size(Size::Count(count))),
        (1u32..4).prop_map(|percent| Reach::Size(Size::Share(Share::percent(percent * 20)))),
    ];
    let stage = (reach, 1u64..4).prop_map(|(reach, bake)| Stage { reach, bake: minutes(bake) });
    let by = proptest::option::weighted(0.2, proptest::sample::select(vec!["zone", "version"]));
    (
        proptest::collection::vec(stage, 0..3),
        0u64..3,
        by,
        proptest::sample::subsequence(vec!["errors", "latency"], 0..=2),
        proptest::sample::select(vec![Unwatched::Now, Unwatched::Last, Unwatched::Refuse]),
        any::<bool>(),
    )
        .prop_map(|(stages, last, by, checks, unwatched, is_narrowed)| {
            let all = Stage { reach: Reach::All, bake: minutes(last) };
            let stages = if by.is_some() { Vec::new() } else { stages };
            let mut plan = Plan::with_stages("p", stages.into_iter().chain([all]).collect());
            if let Some(by) = by {
                (plan.by, plan.by_bake) = (Some(by.into()), minutes(1));
            }
            plan.checks = checks.into_iter().map(Into::into).collect();
            plan.unwatched = unwatched;
            if is_narrowed {
                plan.canaries.attributes.push(("zone".into(), "a".into()));
            }
            plan
        })
}

proptest! {
    #[test]
    fn strictness_is_a_partial_order(a in any_plan(), b in any_plan(), c in any_plan()) {
        prop_assert!(a.is_at_least_as_strict_as(&a));
        if a.is_at_least_as_strict_as(&b) && b.is_at_least_as_strict_as(&c) {
            prop_assert!(a.is_at_least_as_strict_as(&c));
        }
        prop_assert!(!(a.is_stricter_than(&b) && b.is_stricter_than(&a)));
    }

    #[test]
    fn a_stricter_plan_never_reaches_more(a in any_plan(), b in any_plan(), count in 1u64..500) {
        // Independent of the code: both schedules with real numbers of instances, minute by minute.
        if a.by.is_none() && b.by.is_none() && a.is_at_least_as_strict_as(&b) {
            let reached = |plan: &Plan, minute: u64| {
                let mut begin = 0;
                let mut reached = 0;
                for stage in &plan.stages {
                    if begin <= minute {
                        reached = match &stage.reach {
                            Reach::Size(size) => size.of(count).min(count),
                            _ => count,
                        };
                    }
                    begin += stage.bake.as_secs() / 60;
                }
                reached
            };
            for minute in 0..20 {
                prop_assert!(reached(&a, minute) <= reached(&b, minute));
            }
        }
    }
}
