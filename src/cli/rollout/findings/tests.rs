//! The words of findings about rollouts.

use super::*;
use crate::cli::rollout::fixture::{application, record, rollout};

fn withheld() -> RolloutStatus {
    RolloutStatus {
        id: "r-0012345678".to_owned(),
        state: RolloutState::Withheld,
        why: Some("web-3 rejected it (type catalogue.page-size)".to_owned()),
        missing: None,
        since: Some("2026-11-30T20:03:00Z".to_owned()),
        stage: None,
        reach: None,
        ok: None,
        ..rollout()
    }
}

#[test]
fn a_list_has_a_row_for_each_and_a_line_for_those_that_are_open() {
    let done = RolloutStatus { state: RolloutState::Done, missing: None, ..rollout() };
    let text = list(&[rollout(), withheld(), done]);
    assert_eq!(
        text,
        "ROLLOUT       BRANCH  COMMIT      STATE     STAGE   HAVE IT  APPLICATIONS  OPENED\n\
         r-7f3a2c91d0  main    e796e2dd67  stage     1 of 2  1 of 12  product       2026-11-30T20:01:02Z\n\
         r-0012345678  main    e796e2dd67  withheld  -       -        product       2026-11-30T20:01:02Z\n\
         r-7f3a2c91d0  main    e796e2dd67  done      1 of 2  1 of 12  product       2026-11-30T20:01:02Z\n\
         \n\
         r-7f3a2c91d0: it waits: watching for 7 s more\n\
         r-0012345678: withheld: web-3 rejected it (type catalogue.page-size)\n"
    );
    assert_eq!(list(&[]), "no rollout runs, is withheld or has ended lately\n");
}

#[test]
fn several_repositories_are_named() {
    let other = RolloutStatus { repository: "other".to_owned(), ..rollout() };
    let text = list(&[rollout(), other]);
    assert!(text.contains("main of config") && text.contains("main of other"), "{text}");
}

#[test]
fn a_status_says_what_is_missing_and_what_has_happened() {
    assert_eq!(
        status(&rollout()),
        "r-7f3a2c91d0 is in stage 1 of 2 (5%), plan auto, on branch main of repository config\n\
         commit e796e2dd67, before it 81668b06af, opened 2026-11-30T20:01:02Z by ada\n\
         1 of 12 instances have it\n\
         it waits: watching for 7 s more\n\
         \n\
         APPLICATION  STABLE      INSTANCES  CANARIES  HAVE IT\n\
         product      81668b06af  12         1         1\n\
         \n\
         2026-11-30T20:01:02Z  opened for product with plan auto\n\
         2026-11-30T20:01:02Z  stage 1 of 2: product 1 of 12\n"
    );
}

#[test]
fn a_status_names_the_reason_of_a_pause_and_of_a_rollback() {
    let first_lines = |rollout: &RolloutStatus| {
        let text = status(rollout);
        let lines: Vec<String> = text.lines().take(4).map(str::to_owned).collect();
        lines
    };
    let lines = first_lines(&withheld());
    assert_eq!(
        lines[0],
        "r-0012345678 has been withheld since 2026-11-30T20:03:00Z, plan auto, on branch main of repository config"
    );
    assert_eq!(lines[2], "withheld: web-3 rejected it (type catalogue.page-size)");
    let paused = RolloutStatus {
        state: RolloutState::Paused,
        why: Some("by ada: lunch".to_owned()),
        because: Some("ten percent".to_owned()),
        depends_on: vec!["r-0012345678".to_owned()],
        ..rollout()
    };
    let text = status(&paused);
    assert!(text.starts_with("r-7f3a2c91d0 is paused in stage 1 of 2 (5%), "), "{text}");
    assert!(text.contains(" by ada: ten percent\n"), "{text}");
    assert!(text.contains("\npaused: by ada: lunch\n"), "{text}");
    assert!(text.contains("\nit falls with r-0012345678, and ends after\n"), "{text}");
    let deadline = "the deadline has passed: no instance to try it on. Resume it";
    let late = RolloutStatus { why: Some(deadline.to_owned()), stage: None, ..paused };
    let text = status(&late);
    assert!(text.starts_with("r-7f3a2c91d0 is paused before its first stage, "), "{text}");
    // After the command retry no freeze need be in force.
    let begun = RolloutStatus { state: RolloutState::Waiting, why: None, stage: None, ..rollout() };
    let answer = RolloutCommandAnswer { rollout: begun, effects: Vec::new() };
    assert_eq!(effects(&answer), "r-7f3a2c91d0 has not begun\n");
    assert!(text.contains("\npaused: the deadline has passed: no instance"), "{text}");
}

#[test]
fn a_rollout_without_counts_and_with_every_application_is_shown() {
    let mut hidden = RolloutStatus { ok: None, instances: None, ..rollout() };
    hidden.applications =
        ["a", "b", "c", "d", "e", OTHERS].map(|own| application(own, None)).into();
    hidden.applications[5].instances = None;
    let text = status(&hidden);
    assert!(!text.contains("instances have it"), "{text}");
    assert!(text.contains("\nall others   81668b06af  -          -         -\n"), "{text}");
    assert!(list(&[hidden]).contains("  a, b, c, d and 2 more  "));
}

#[test]
fn texts_of_others_cannot_steer_the_terminal() {
    let evil = "\u{1b}[2J\n\u{202e}".to_owned();
    let mut rollout = RolloutStatus {
        id: evil.clone(),
        branch: evil.clone(),
        by: evil.clone(),
        because: Some(evil.clone()),
        missing: Some(evil.clone()),
        ..rollout()
    };
    rollout.events = vec![record("opened", &evil)];
    rollout.applications = vec![application(&evil, None)];
    let answer = RolloutCommandAnswer { rollout: rollout.clone(), effects: rollout.events.clone() };
    for text in [list(std::slice::from_ref(&rollout)), status(&rollout), effects(&answer)] {
        let is_plain = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(text.chars().all(is_plain), "{text:?}");
    }
}

#[test]
fn a_command_shows_its_effects_and_the_state_after_it() {
    let last = RolloutStatus { stage: Some(2), reach: Some("all".to_owned()), ..rollout() };
    let effects_of = vec![record("promoted", "promoted by ada: it is safe")];
    let answer = RolloutCommandAnswer { rollout: last, effects: effects_of };
    assert_eq!(
        effects(&answer),
        "promoted by ada: it is safe\nr-7f3a2c91d0 is in stage 2 of 2 (all)\n"
    );
}

#[test]
fn withheld_and_paused_rollouts_need_a_person() {
    for state in RolloutState::ALL {
        let own = RolloutStatus { state, ..rollout() };
        let expected = matches!(state, RolloutState::Paused | RolloutState::Withheld);
        assert_eq!(needs_attention(&own), expected, "{state:?}");
        let is_open = state.is_running() || state == RolloutState::Withheld;
        assert_eq!(is_over(&own), !is_open, "{state:?}");
    }
}
