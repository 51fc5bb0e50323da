//! Tests of the file format and its messages.

use proptest::prelude::*;

use super::*;

fn reaches(plan: &Plan) -> Vec<String> {
    let text = |stage: &Stage| match &stage.reach {
        Reach::Size(size) => size.to_string(),
        Reach::Attribute { name, value } => format!("{name}={value}"),
        Reach::All => "all".into(),
    };
    plan.stages.iter().map(text).collect()
}

#[test]
fn the_example_is_valid() {
    let file = parse(EXAMPLE);
    assert_eq!(
        file.names().collect::<Vec<_>>(),
        ["all-at-once", "auto", "careful", "payments", "slow", "zones"]
    );
    let plan = file.plan("payments").unwrap();
    assert_eq!(reaches(plan), ["1", "5%", "25%", "all"]);
    assert!(plan.stages.iter().all(|stage| stage.bake == minutes(5)));
    assert_eq!(plan.checks, ["errors".into(), "latency".into()]);
    assert_eq!(plan.canaries.attributes, [("zone".into(), "eu-1".into())]);
    assert_eq!(plan.deadline(minutes(5)), minutes(15));
    assert_eq!(plan.deadline(minutes(1)), minutes(10));
    let slow = reaches(file.plan("slow").unwrap());
    assert_eq!(slow, ["1%", "2%", "4%", "8%", "16%", "32%", "64%", "all"]);
    assert_eq!(file.limits().applications, Some(10));
    assert_eq!(file.limits().instances, Some(Size::Share(Share::percent(50))));
}

#[test]
fn the_built_in_plans_are_those_of_the_design() {
    let plan = |name| Plan::built_in(name).unwrap();
    assert_eq!(reaches(&plan("auto")), ["5%", "all"]);
    assert_eq!(reaches(&plan("careful")), ["1", "5%", "25%", "all"]);
    assert!(plan("all-at-once").is_all_at_once());
    let bakes: Vec<u64> = plan("careful").stages.iter().map(|one| one.bake.as_secs()).collect();
    assert_eq!(bakes, [120, 300, 300, 600]);
    assert_eq!(Plan::built_in("fast"), None);
}

#[test]
fn the_values_of_an_attribute_become_stages() {
    let file = parse(EXAMPLE);
    let zones = file.plan("zones").unwrap();
    assert!(!zones.is_all_at_once());
    let plan = zones.expanded(["eu-2", "eu-1", "eu-2"]);
    assert_eq!(reaches(&plan), ["zone=eu-1", "zone=eu-2", "all"]);
    let bakes: Vec<Duration> = plan.stages.iter().map(|stage| stage.bake).collect();
    assert_eq!(bakes, [minutes(5), minutes(5), minutes(10)]);
    let many: Vec<String> = (0..40).map(|index| format!("z{index:02}")).collect();
    assert_eq!(zones.expanded(many.iter().map(|own| &**own)).stages.len(), STAGE_COUNT_MAX);
    // One value, or none, divides nothing.
    for values in [&[][..], &["eu-1"]] {
        assert_eq!(reaches(&zones.expanded(values.iter().copied())), ["5%", "all"]);
    }
}

#[test]
fn each_mistake_has_a_place_and_a_remedy() {
    let plan = |lines: &str| format!("[plan.p]\nstages = [\"1\", \"all\"]\nbake = \"1m\"\n{lines}");
    let only = |lines: &str| format!("[plan.p]\n{lines}");
    let with_bake = |lines: &str| format!("[plan.p]\nbake = \"1m\"\n{lines}");
    for (text, expected) in [
        (plan("exec = \"rm\""), "4:1: exec: a plan cannot run or query anything. The operator"),
        (plan("prometheus = \"http://x\""), "4:1: prometheus: a plan cannot run"),
        ("command = \"x\"".into(), "1:1: command: a plan cannot run"),
        (
            plan("checks = [\"erors\"]"),
            "4:11: checks: the operator has defined no check \"erors\". The known checks are errors, latency",
        ),
        (plan("checks = [\"errors\", \"errors\"]"), "4:21: checks: \"errors\" is named twice"),
        (plan("colour = 1"), "4:1: unknown key \"colour\" in [plan]. The known keys are"),
        (plan("unwatched = \"first\""), "4:13: unwatched: expected \"last\", \"now\" or"),
        (plan("deadline = \"30s\""), "plan p: deadline: expected more than the longest bake"),
        (plan("by = \"zone\""), "exclude each other. Keep one"),
        (plan("first = \"1%\"\nfactor = 2"), "exclude each other. Keep one"),
        (plan("canaries = { Zone = \"x\" }"), "\"Zone\" cannot be an attribute"),
        (plan("canaries = \"web-1\""), "canaries: expected a table, got a text"),
        (plan("ack_within = \"0s\""), "4:14: ack_within: expected at least 1s"),
        (only("stages = [\"1\", \"all\"]"), "the plan has no bake. Add bake"),
        (only("stages = [\"1\", \"all\"]\nbake = [\"1m\"]"), "3:9: bake: expected one time or 2"),
        (only("stages = [\"1\", \"all\"]\nbake = [\"0s\", \"1m\"]"), "is watched for at least 1s"),
        (
            only("stages = [\"all\"]\nbake = \"1m\"\ncanaries = { zone = \"x\" }"),
            "no stage for canaries",
        ),
        (only("by = \"zone\"\nbake = \"1m\"\ncanaries = { zone = \"x\" }"), "both use zone"),
        (with_bake(""), "the plan has no stages. Add stages"),
        (with_bake("stages = []"), "stages is an empty list"),
        (with_bake("stages = [\"1\"]"), "3:11: stages: the last stage has to be \"all\""),
        (with_bake("stages = [\"all\", \"all\"]"), "only the last stage can be \"all\""),
        (with_bake("stages = [\"5%\", \"5%\", \"all\"]"), "5% is not more than the stage before"),
        (with_bake("stages = [\"5%\", \"1\", \"all\"]"), "1 is not more than the stage before"),
        (with_bake("stages = [\"0\", \"all\"]"), "at least one instance"),
        (with_bake("stages = [\"0%\", \"all\"]"), "more than 0%"),
        (with_bake("stages = [\"100%\", \"all\"]"), "less than 100%. Write \"all\""),
        (with_bake("stages = [\"-1\", \"all\"]"), "expected a number such as \"3\""),
        (with_bake("stages = [5, \"all\"]"), "stages: expected a text in quotes, got an integer"),
        (with_bake("first = \"1%\""), "factor is missing"),
        (with_bake("factor = 2"), "first is missing"),
        (with_bake("first = \"3\"\nfactor = 2"), "first: expected a share"),
        (with_bake("first = \"1%\"\nfactor = 1"), "expected a whole number from 2 to 100"),
        (with_bake("first = \"0.001%\"\nfactor = 2"), "more than 16 stages"),
        ("[plan.auto]\nstages = [\"all\"]\nbake = \"1m\"".into(), "\"auto\" is a built-in plan"),
        (
            "[[rule]]\nplan = \"p\"".into(),
            "2:8: plan: no plan is named \"p\". The plans are all-at-once",
        ),
        ("[[rule]]\napplications = [\"a\"]".into(), "1:1: [[rule]] has no plan"),
        (
            "[[rule]]\nplan = \"auto\"\n[[rule]]\nplan = \"auto\"".into(),
            "3:1: no change reaches this rule",
        ),
        ("[limits]\napplications = 0".into(), "2:16: applications: expected a number from 1"),
        ("[limits]\ninstances = 5".into(), "instances: expected a text in quotes"),
        ("[[freeze]]\nfrom = \"Fri 16:00\"".into(), "needs from and until"),
        ("[[freeze]]\nfrom = \"Fry 16:00\"\nuntil = \"Mon 08:00\"".into(), "unknown day"),
        (
            "[[freeze]]\nfrom = \"Fri 24:00\"\nuntil = \"Mon 08:00\"".into(),
            "expected a day and a time",
        ),
        ("[[freeze]]\nfrom = \"Fri 16:00\"\nuntil = 2026-01-01".into(), "both dates or both days"),
        ("[[freeze]]\nfrom = 2026-01-01\nuntil = 2026-01-01".into(), "expected a later time"),
        (
            "[[freeze]]\nfrom = \"Fri 16:00\"\nuntil = \"Mon 08:00\"\noffset = \"CET\"".into(),
            "4:10: offset: expected an offset",
        ),
        ("plan = 3".into(), "plan: expected a table, got an integer"),
        ("x = ".into(), "this is not TOML"),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|one| one.contains(expected)), "{text}\n{found:#?}");
    }
}

#[test]
fn all_problems_are_reported_in_order() {
    let text = "[plan.p]\nstages = [\"1\"]\nbake = \"1w\"\n[[rule]]\nplan = \"q\"\n";
    let found = problems(text);
    let lines: Vec<&str> = found.iter().map(|one| one.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "3", "5"], "{found:#?}");
}

#[test]
fn a_file_that_is_no_text_or_too_large_is_rejected() {
    let error = PlanFile::parse("rollout.toml", b"\xff", &[]).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    let large = "#".repeat(300_000);
    assert!(problems(&large)[0].contains("at most 262144 are read"));
}

fn size() -> impl Strategy<Value = Size> {
    let share =
        (1u32..1_000_000).prop_map(|millionths| Share::from_millionths(millionths).unwrap());
    prop_oneof![(1u32..10_000).prop_map(Size::Count), share.prop_map(Size::Share)]
}

proptest! {
    #[test]
    fn a_size_reads_as_it_is_written(size in size()) {
        prop_assert_eq!(Size::parse(&size.to_string()), Ok(size));
    }

    #[test]
    fn any_text_yields_a_plan_or_problems(text in "\\PC{0,200}") {
        let _ = PlanFile::parse("rollout.toml", text.as_bytes(), &["errors"]);
    }

    #[test]
    fn any_damage_to_the_example_yields_a_plan_or_problems(
        at in 0..EXAMPLE.len(),
        insert in "[a-z0-9\"%\\[\\]={}\n]{0,6}",
        skip in 0usize..8,
    ) {
        let after = EXAMPLE.get(at + skip..).unwrap_or("");
        let text = format!("{}{insert}{after}", &EXAMPLE[..at]);
        match PlanFile::parse("rollout.toml", text.as_bytes(), &["errors", "latency"]) {
            Ok(file) => {
                for plan in file.names().filter_map(|name| file.plan(name)) {
                    let (last, before) = plan.stages.split_last().unwrap();
                    prop_assert_eq!(&last.reach, &Reach::All);
                    prop_assert!(before.iter().all(|stage| stage.reach != Reach::All));
                    prop_assert!(plan.stages.len() <= STAGE_COUNT_MAX);
                }
            }
            Err(error) => prop_assert!(!error.problems.is_empty()),
        }
    }
}
