//! The pages about rollouts against the program: built-in plans, states, commands, limits and detection. What the tutorial
//! tells people to type is typed here.

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
use super::start::{listening, shows};
use super::typed::{blocks, say, shell, shop};
use super::{rows, table_rows};
use crate::cli::watch::Running;
use crate::fixture::eventually;

const TUTORIAL: &str = "docs/first-canary.md";
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

/// The lines of a block that no commit, id or time makes different.
fn stable_lines(block: &str) -> String {
    let varies = ["published main at", " s  ", "rolled back:", "r-"];
    let lines = block.lines().filter(|line| !varies.iter().any(|part| line.contains(part)));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn the_first_canary_is_what_the_page_says() {
    let place = shop();
    let begin = blocks(TUTORIAL, "Start a server and two instances", "sh");
    let mut serve = shell(place.path(), None, &begin[0]);
    // The port of the page may be taken.
    serve.env("HEADWATER_LISTEN", "127.0.0.1:0");
    let serving = Running::spawn(serve);
    let server = listening(&serving);
    let at = |typed: &str| shell(place.path(), Some(&server), typed);
    say(at(&begin[1])).unwrap();
    let instances = [&begin[2], &begin[3]].map(|typed| {
        // A terminal in the directory of the template.
        Running::spawn(at(&format!("cd shelf\n{typed}")))
    });
    eventually("both instances report", || {
        say(at(&begin[4])).is_ok_and(|said| said.contains("product/prod: 2 of 2 run "))
    });

    let good = blocks(TUTORIAL, "Push a good change", "sh");
    let said = say(at(&good[0])).unwrap();
    shows(&said, &stable_lines(&blocks(TUTORIAL, "Push a good change", "text")[0]));
    for part in ["held for product: rollout r-", ", 1 of 2 first, 10 s, then all", " s  done"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // A reload command writes to standard error.
    let is_shown = |own: &Running| own.err().contains("15 percent off\n");
    eventually("both instances show it", || instances.iter().all(is_shown));

    let bad = blocks(TUTORIAL, "Push a bad change", "sh");
    let said = say(at(&format!("cd shop\n{}", bad[0]))).unwrap_err();
    assert!(said.contains(" rejected it (reload)"), "{said}");
    assert!(said.contains("rolled back: product is back at "), "{said}");
    let files = &blocks(TUTORIAL, "Push a bad change", "text")[1];
    let look_at_files = format!("cd shop\n{}", bad[1]);
    eventually("both have the content of before", || say(at(&look_at_files)).as_ref() == Ok(files));
    let bad_count = instances.iter().filter(|own| own.err().contains("150 percent off")).count();
    assert_eq!(bad_count, 1);

    let look = blocks(TUTORIAL, "Look at the rollout", "sh");
    let said = say(at(&look[0])).unwrap_err();
    assert!(said.contains("  withheld  ") && said.contains(": withheld: web-"), "{said}");
    let said = say(at(&look[1].replace("status", "status || true"))).unwrap();
    assert!(said.contains(" has been withheld since ") && said.contains("      15\n"), "{said}");

    let correct = blocks(TUTORIAL, "Correct it", "sh");
    let said = say(at(&format!("cd shop\n{}", correct[0]))).unwrap();
    shows(&said, &stable_lines(&blocks(TUTORIAL, "Correct it", "text")[0]));
    assert!(say(at(&look[0])).unwrap().contains("  released  "));
    assert!(!serving.err().contains("panicked"), "{}", serving.err());
}
