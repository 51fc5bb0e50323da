//! `headwater audit`, as an auditor types it.

use headwater_access::audit::{AuditEvent, Chain, Entry, Head, Trail};
use jiff::Timestamp;
use tempfile::TempDir;

use super::{Said, refuses, type_in};
use crate::fixture::directory;

/// Three files of one trail with two lines each. Returns the head after the last line.
fn trail() -> (TempDir, Head) {
    let place = directory("");
    let mut trail = Trail::new(Chain::new(Head::EMPTY, "one", "boot"), 1024 * 1024);
    for (number, file) in ["audit.jsonl.000000000002", "audit.jsonl.000000000004", "audit.jsonl"]
        .into_iter()
        .enumerate()
    {
        let at = |second: i64| {
            Timestamp::from_second(1_764_547_200 + 86_400 * number as i64 + second).unwrap()
        };
        let push = Entry {
            principal: Some("payments-ci".to_owned()),
            address: Some("192.0.2.7".to_owned()),
            path: Some("main".to_owned()),
            outcome: Some("accepted".to_owned()),
            ..Entry::new(AuditEvent::Push)
        };
        let open = Entry {
            principal: Some("orders".to_owned()),
            application: Some("orders".to_owned()),
            profiles: Some("prod".to_owned()),
            outcome: Some("opened".to_owned()),
            count: Some(7),
            ..Entry::new(AuditEvent::Open)
        };
        trail.record(&push, at(0)).unwrap();
        trail.record(&open, at(1)).unwrap();
        let mut bytes = Vec::new();
        trail.flush(&mut bytes).unwrap();
        std::fs::write(place.path().join(file), bytes).unwrap();
    }
    (place, trail.head())
}

const FILES: [&str; 3] = ["audit.jsonl", "audit.jsonl.000000000002", "audit.jsonl.000000000004"];

fn audit(place: &TempDir, verb: &str, more: &[&str]) -> Said {
    type_in(place.path(), &[&["audit", verb], &FILES[..], more].concat())
}

#[test]
fn a_whole_trail_has_no_fault() {
    let (place, head) = trail();
    let expected = format!("6 lines, from 1 to 6: no fault\nhead {head}\n");
    let head = head.to_string();
    for more in [&[][..], &["--head", &head]] {
        let said = audit(&place, "verify", more);
        assert_eq!((said.out.as_str(), said.err.as_str(), said.code), (&*expected, "", Some(0)));
    }
    refuses(&type_in(place.path(), &["audit", "verify", "none"]), &["cannot read none"]);
    assert_eq!(audit(&place, "verify", &["--head", "6"]).code, Some(2));
}

#[track_caller]
fn names(said: &Said, message: &str) {
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        ("", format!("headwater: {message}\n").as_str())
    );
    assert_eq!(said.code, Some(1));
}

#[test]
fn the_first_bad_line_is_named() {
    let (place, head) = trail();
    let file = place.path().join("audit.jsonl.000000000004");
    let whole = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let write = |text: String| std::fs::write(&file, text).unwrap();
    write(whole.replacen("payments-ci", "payments-cj", 1));
    names(
        &audit(&place, "verify", &[]),
        "audit.jsonl.000000000004:1: the line was changed. The next line has the hash of another text",
    );
    write(lines[1].to_owned() + lines[0]);
    names(
        &audit(&place, "verify", &[]),
        "audit.jsonl.000000000004:1: expected line number 3, found 4. Lines were removed, added or moved",
    );
    write(lines[0].to_owned());
    names(
        &audit(&place, "verify", &[]),
        "audit.jsonl:1: expected line number 4, found 5. Lines were removed, added or moved",
    );
    write(whole[..whole.len() - 9].to_owned());
    let said = audit(&place, "verify", &[]);
    assert!(said.err.contains("audit.jsonl.000000000004:2: "), "{}", said.err);
    write(whole);
    // A removed end is detected by the head in the log of the server.
    let last = std::fs::read_to_string(place.path().join("audit.jsonl")).unwrap();
    let kept = last.split_inclusive('\n').next().unwrap();
    std::fs::write(place.path().join("audit.jsonl"), kept).unwrap();
    assert_eq!(audit(&place, "verify", &[]).code, Some(0));
    names(
        &audit(&place, "verify", &["--head", &head.to_string()]),
        "audit.jsonl:1: the trail ends with line number 5, but line number 6 was written",
    );
}

#[test]
fn lines_are_found_by_their_members() {
    let (place, _) = trail();
    let said = audit(&place, "query", &["--principal", "payments-ci", "--since", "2025-12-02"]);
    assert_eq!(
        said.out,
        "TIME                      EVENT  PRINCIPAL    ADDRESS    OBJECT  OUTCOME   COUNT\n\
         2025-12-02T00:00:00.000Z  push   payments-ci  192.0.2.7  main    accepted\n\
         2025-12-03T00:00:00.000Z  push   payments-ci  192.0.2.7  main    accepted\n"
    );
    let more = ["--event", "open", "--application", "orders", "--output", "json"];
    let said = audit(&place, "query", &[&more[..], &["--until", "2025-12-01T12:00:00Z"]].concat());
    let line: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((line["seq"].as_u64(), line["count"].as_u64()), (Some(2), Some(7)));
    let said = audit(&place, "query", &["--outcome", "rejected"]);
    assert_eq!((said.out.as_str(), said.code), ("", Some(1)));
    assert_eq!(audit(&place, "query", &["--event", "nonsense"]).code, Some(2));
    std::fs::write(place.path().join("audit.jsonl"), "{}\n").unwrap();
    let said = audit(&place, "query", &["--principal", "ops"]);
    refuses(&said, &["audit.jsonl", "line 1 is not an audit line"]);
}

#[test]
fn a_denied_right_on_the_whole_server_is_shown_by_its_request() {
    let place = directory("");
    let mut trail = Trail::new(Chain::new(Head::EMPTY, "one", "boot"), 1024 * 1024);
    let denied = |reason: &str, application: Option<&str>| Entry {
        principal: Some("orders".to_owned()),
        application: application.map(str::to_owned),
        outcome: Some("denied".to_owned()),
        reason: Some(reason.to_owned()),
        ..Entry::new(AuditEvent::Denied)
    };
    let at = Timestamp::from_second(1_764_547_200).unwrap();
    trail.record(&denied("read metrics", None), at).unwrap();
    trail.record(&denied("read billing/prod at @default", Some("billing")), at).unwrap();
    let mut bytes = Vec::new();
    trail.flush(&mut bytes).unwrap();
    std::fs::write(place.path().join("audit.jsonl"), bytes).unwrap();
    let said = type_in(place.path(), &["audit", "query", "audit.jsonl"]);
    let objects: Vec<&str> = said.out.lines().skip(1).collect();
    assert!(objects[0].contains("  read metrics  denied"), "{}", said.out);
    assert!(objects[1].contains("  billing       denied"), "{}", said.out);
}
