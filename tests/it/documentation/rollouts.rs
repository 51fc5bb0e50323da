//! The pages about rollouts against the program: built-in plans, states, commands, limits and detection.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_rollout::plan::{Plan, PlanFile, STAGE_COUNT_MAX};
use headwater_rollout::state::{
    ENTRY_COUNT_MAX, OPENED_BYTES_MAX, PAST_COUNT_MAX, PAST_SECONDS, RUNNING_COUNT_MAX,
    STATE_BYTES_MAX, WITHHELD_COUNT_MAX,
};
use headwater_rollout::words::detection;
use headwater_wire::{RolloutAction, RolloutState};

use super::page::Page;
use super::{rows, table_rows};

const REFERENCE: &str = "docs/rollout-reference.md";

/// The words in the first cells, without their quotes.
fn words(page: &str, heading: &str) -> BTreeSet<String> {
    let cells = rows(page, heading).into_iter().map(|row| row[0].clone());
    cells.flat_map(|cell| cell.split(", ").map(bare).collect::<Vec<_>>()).collect()
}

fn bare(code: &str) -> String {
    code.trim_matches('`').trim_matches('"').to_owned()
}

#[test]
fn the_built_in_plans_are_those_of_the_program() {
    let rows = rows("docs/plan-file.md", "Built-in plans");
    let names: Vec<String> = rows.iter().map(|row| bare(&row[0])).collect();
    assert_eq!(names, PlanFile::BUILT_IN);
    for row in rows {
        let plan = Plan::built_in(&bare(&row[0])).unwrap();
        let stages: Vec<String> = row[1].split(", ").map(bare).collect();
        let reaches: Vec<String> = plan.stages.iter().map(|own| own.reach.to_string()).collect();
        assert_eq!(stages, reaches, "{}", plan.name);
        let bakes: Vec<Duration> = plan.stages.iter().map(|own| own.bake).collect();
        assert_eq!(row[2].split(", ").map(duration).collect::<Vec<_>>(), bakes, "{}", plan.name);
    }
}

/// `10 s`, `2 min` or `none`.
fn duration(text: &str) -> Duration {
    let Some((number, unit)) = text.split_once(' ') else {
        assert_eq!(text, "none");
        return Duration::ZERO;
    };
    let factor = if unit == "min" { 60 } else { 1 };
    Duration::from_secs(number.parse::<u64>().unwrap() * factor)
}

#[test]
fn every_state_and_every_command_is_described() {
    let states: BTreeSet<String> = RolloutState::ALL.map(|own| own.name().to_owned()).into();
    assert_eq!(words(REFERENCE, "States"), states);
    let actions: BTreeSet<String> = RolloutAction::ALL.map(|own| own.name().to_owned()).into();
    assert_eq!(words(REFERENCE, "Commands"), actions);
}

/// The events that the wire crate lists are those of the page and of the rollout crate.
#[test]
fn every_event_is_described() {
    let code = std::fs::read_to_string(super::root().join("rollout/src/words.rs")).unwrap();
    let (_, names) = code.split_once("fn as_str(&self)").expect("the names of events");
    let (names, _) = names.split_once("\n    }\n").expect("the end of the function");
    let names: BTreeSet<String> = names.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(words(REFERENCE, "Events"), names);
}

#[test]
fn the_limits_are_those_of_the_program() {
    let text: String =
        rows(REFERENCE, "Limits").into_iter().flatten().collect::<Vec<_>>().join("|");
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    for (subject, limit) in [
        ("running rollouts of a branch", RUNNING_COUNT_MAX.to_string()),
        ("running and withheld rollouts of a branch", WITHHELD_COUNT_MAX.to_string()),
        ("bounds and named canaries of a repository", format!("{},000", ENTRY_COUNT_MAX / 1_000)),
        ("the state of a repository, `headwater-rollouts.json`", kib(STATE_BYTES_MAX)),
        ("stages of a plan", STAGE_COUNT_MAX.to_string()),
    ] {
        assert!(text.contains(&format!("{subject}|{limit}|")), "{subject} {limit}: {text}");
    }
    assert!(text.contains(&format!("from {} on", kib(OPENED_BYTES_MAX))), "{text}");
    let past = format!("{PAST_COUNT_MAX} for each application, for {} hours", PAST_SECONDS / 3600);
    assert!(text.contains(&past), "{text}");
}

#[test]
fn the_table_of_detection_is_computed_as_in_the_program() {
    let page = Page::read("docs/rollouts.md").text.replace("\n  |", "\n|");
    let rows = table_rows(&page).into_iter();
    let rows: Vec<_> = rows.filter(|row| row.len() == 5 && row[0].parse::<u64>().is_ok()).collect();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let canaries = row[0].parse().unwrap();
        let shares = [0.5, 0.2, 0.05, 0.01];
        let percent = |share| format!("{:.0} %", (detection(canaries, share) * 100.0).round());
        assert_eq!(row[1..], shares.map(percent), "{canaries} canaries");
    }
}
