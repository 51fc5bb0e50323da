//! Tests of the options of a push.

use super::*;

fn parse(options: &[&str]) -> Result<PushOptions, OptionError> {
    PushOptions::parse(options.len(), options)
}

#[track_caller]
fn rejects(option: &str, parts: &[&str]) {
    let line = parse(&[option]).expect_err(option).rejection();
    for part in ["push rejected, no branch was updated"].iter().chain(parts) {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn every_option_has_its_typed_value() {
    assert_eq!(parse(&[]).unwrap(), PushOptions::default());
    let wait = |options| parse(options).unwrap().wait.map(|it| (it.percent, it.timeout.as_secs()));
    assert_eq!(wait(&["wait"]), Some((100, 300)));
    assert_eq!(wait(&["wait=50%", "timeout=20"]), Some((50, 20)));
    assert_eq!(wait(&["timeout=840", "wait=1"]), Some((1, 840)));
    assert_eq!(wait(&["timeout=840"]), None);
    assert!(parse(&["dry-run"]).unwrap().is_dry_run);
    let options = parse(&["override=contract", "now", "reason= a fix = now ", "wait"]).unwrap();
    assert!(options.ignores_contracts() && options.has_overrides());
    assert_eq!(options.facts(), ["override=contract", "now", "wait=100%", "reason=a fix = now"]);
}

#[test]
fn the_last_one_of_an_option_counts() {
    let options = parse(&["wait=10", "reason=a", "wait=20", "reason=b"]).unwrap();
    assert_eq!(options.facts(), ["wait=20%", "reason=b"]);
}

#[test]
fn an_unknown_option_is_rejected_with_the_known_ones() {
    rejects("wiat", &["option wiat is unknown. Did you mean wait? Known options: wait[=<share>]"]);
    rejects("DRYRUN=yes", &["option DRYRUN is unknown", "Did you mean dry-run?", "reason=<text>"]);
    rejects("ci.skip", &["option ci.skip is unknown. Known options:"]);
    rejects("no", &["Did you mean now?"]);
    rejects("", &["is unknown. Known"]);
    // The value may be a secret that went to the wrong server.
    let line = parse(&["token=s3cr3t"]).unwrap_err().rejection();
    assert!(!line.contains("s3cr3t"), "{line}");
}

#[test]
fn values_out_of_their_bounds_are_rejected() {
    for option in ["wait=0", "wait=101%", "wait=", "wait=half", "wait=+5", "wait=5%%"] {
        rejects(option, &["option wait[=<share>]: expected a share from 1% to 100%"]);
    }
    for option in ["timeout", "timeout=0", "timeout=841", "timeout=5m", "timeout=-1"] {
        rejects(option, &["option timeout=<seconds>: expected a number of seconds from 1 to 840"]);
    }
    for option in ["reason", "reason= ", &format!("reason={}", "a".repeat(241))] {
        rejects(option, &["expected a text of 1 to 240 bytes"]);
    }
    assert!(parse(&[&format!("reason={}", "a".repeat(240))]).is_ok());
    rejects("override=schema", &["option override=contract: expected contract"]);
    rejects("now=yes", &["option now: expected no value"]);
    rejects("dry-run=1", &["option dry-run: expected no value"]);
    rejects("override=contract", &["needs a reason"]);
}

#[test]
fn options_are_bounded_and_printable() {
    let all = ["now"; OPTION_COUNT_MAX];
    assert!(parse(&all).is_ok());
    let line = PushOptions::parse(OPTION_COUNT_MAX + 1, &all).unwrap_err().rejection();
    assert!(line.contains("it has 17 options, and at most 16"), "{line}");
    rejects(&"x".repeat(OPTION_BYTES_MAX + 1), &["option 1 has more than 512 bytes"]);
    for text in ["reason=a\u{1b}[2J", "reason=a\u{202e}b", "reason=a\u{fffd}", "a\nb"] {
        rejects(text, &["option 1 contains a character that cannot be printed"]);
    }
    assert!(parse(&["reason=\u{dc}berfall \u{1f30a}"]).is_ok());
}

#[test]
fn options_of_rollouts_become_those_of_the_rollout() {
    assert_eq!(parse(&["wait", "reason=x"]).unwrap().for_rollout().reason, Some("x".into()));
    let options = parse(&["now", "plan=careful", "blast", "reason=incident 7"]).unwrap();
    let expected = Options {
        is_now: true,
        plan: Some("careful".into()),
        is_blast: true,
        reason: Some("incident 7".into()),
    };
    assert_eq!(options.for_rollout(), expected);
    assert_eq!(options.facts(), ["now", "blast", "plan=careful", "reason=incident 7"]);
    assert_eq!(parse(&[]).unwrap().for_rollout(), Options::default());
    rejects("plan=../x", &["expected the name of a plan"]);
    rejects("plam=careful", &["Did you mean plan?", "blast, plan=<name>"]);
}

#[test]
fn a_repository_without_rollouts_names_the_options_without_effect() {
    let line = |options| parse(options).unwrap().without_rollouts().unwrap();
    assert_eq!(line(&["wait", "override=contract", "reason=x"]), None);
    let both = line(&["now", "blast"]).unwrap();
    assert!(both.starts_with("option now, blast: no effect, because this repository"), "{both}");
    assert!(line(&["blast"]).unwrap().starts_with("option blast: no effect"));
    let rejection = parse(&["now", "plan=careful"]).unwrap().without_rollouts().unwrap_err();
    let rejection = rejection.rejection();
    assert!(
        rejection.contains("option plan=<name>: this repository has no rollouts"),
        "{rejection}"
    );
}

#[test]
fn an_option_without_effect_is_named() {
    assert_eq!(parse(&["timeout=5"]).unwrap().notices().len(), 1);
    assert_eq!(parse(&["timeout=5", "wait"]).unwrap().notices().len(), 0);
}
