//! Tests of the audit trail: writing, recovery, verification, queries.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn chain(head: Head) -> Chain {
    Chain::new(head, "r1", "b1")
}

fn entry(number: usize) -> Entry {
    Entry {
        principal: Some(format!("p{}", number % 3)),
        application: Some("orders,billing".to_owned()),
        outcome: Some("denied".to_owned()),
        ..Entry::new(AuditEvent::Denied)
    }
}

/// The bytes of a trail of a number of lines, and its head.
fn written(count: usize) -> (Vec<u8>, Head) {
    let mut trail = Trail::new(chain(Head::EMPTY), usize::MAX);
    for number in 0..count {
        trail.record(&entry(number), at(number as i64)).unwrap();
    }
    let mut bytes = Vec::new();
    trail.flush(&mut bytes).unwrap();
    (bytes, trail.head())
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn verified(bytes: &[u8], expected: &Expected) -> Result<VerifiedTrail, AuditVerifyError> {
    verify([("audit.log".to_owned(), bytes)], expected)
}

/// The line and the cause of a broken trail.
fn broken(bytes: &[u8], expected: &Expected) -> (u64, BreakCause) {
    match verified(bytes, expected) {
        Err(AuditVerifyError::Broken { line, cause, .. }) => (line, cause),
        other => panic!("expected a broken trail: {other:?}"),
    }
}

const UNKNOWN: Expected = Expected { start: None, end: None };

/// A writer that takes a number of bytes at a time and fails when its space is used up.
struct SmallDisk {
    bytes: Vec<u8>,
    space: usize,
    step: usize,
}

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.step).min(self.space - self.bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_has_its_fields_in_a_fixed_order() {
    let mut trail = Trail::new(chain(Head::EMPTY), usize::MAX);
    let push = Entry {
        principal: Some("jo".to_owned()),
        kind: Some("person".to_owned()),
        proof: Some("token:ba7816bf".to_owned()),
        claimed: Some("Jo".to_owned()),
        commits: vec!["c1".to_owned()],
        paths: vec!["orders.yml".to_owned()],
        outcome: Some("accepted".to_owned()),
        ..Entry::new(AuditEvent::Push)
    };
    trail.record(&push, at(0)).unwrap();
    let mut bytes = Vec::new();
    trail.flush(&mut bytes).unwrap();
    let expected = format!(
        "{{\"seq\":1,\"time\":\"2027-01-15T08:00:00.000Z\",\"replica\":\"r1\",\"boot\":\"b1\",\
         \"event\":\"push\",\"principal\":\"jo\",\"kind\":\"person\",\"proof\":\"token:ba7816bf\",\
         \"outcome\":\"accepted\",\"claimed\":\"Jo\",\"commits\":[\"c1\"],\
         \"paths\":[\"orders.yml\"],\"prev\":\"{}\"}}\n",
        "0".repeat(64)
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn text_from_outside_is_cut_and_escaped() {
    let hostile = "a\u{1b}[2J\u{202e}\n\"\\\u{7f}ö😀";
    let entry = Entry {
        application: Some(hostile.to_owned()),
        label: Some("ö".repeat(1000)),
        paths: vec!["x".to_owned(); 100],
        ..Entry::new(AuditEvent::Denied)
    };
    let mut trail = Trail::new(chain(Head::EMPTY), usize::MAX);
    trail.record(&entry, at(0)).unwrap();
    let mut bytes = Vec::new();
    trail.flush(&mut bytes).unwrap();
    let (end, text) = bytes.split_last().unwrap();
    assert_eq!(*end, b'\n');
    assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)));
    let line: AuditLine = serde_json::from_slice(text).unwrap();
    assert_eq!(line.application.as_deref(), Some(hostile));
    let label = line.label.unwrap();
    assert!(label.len() <= TEXT_BYTES_MAX && label.ends_with("ö…"), "{label}");
    assert_eq!((line.paths.len(), line.omitted), (64, Some(36)));
}

#[test]
fn a_whole_trail_is_verified() {
    let (bytes, head) = written(5);
    let expected = VerifiedTrail { line_count: 5, first_seq: 1, head };
    assert_eq!(verified(&bytes, &UNKNOWN).unwrap(), expected);
    let known = Expected { start: Some(Head::EMPTY), end: Some(head) };
    assert_eq!(verified(&bytes, &known).unwrap(), expected);
    assert!(matches!(verified(b"", &UNKNOWN), Err(AuditVerifyError::Empty)));
    assert_eq!(Head::parse(&head.to_string()), Some(head));
    assert_eq!(Head::parse("5:xyz"), None);
}

#[test]
fn the_chain_continues_across_files_and_restarts() {
    let (first, head) = written(3);
    let mut trail = Trail::new(Chain::new(head, "r1", "b2"), usize::MAX);
    trail.record(&entry(3), at(3)).unwrap();
    let mut second = Vec::new();
    trail.flush(&mut second).unwrap();
    let files = |names: [&str; 2], bytes: [&'static [u8]; 2]| {
        let names = names.map(str::to_owned);
        verify(names.into_iter().zip(bytes), &UNKNOWN)
    };
    let (first, second): (&'static [u8], &'static [u8]) = (first.leak(), second.leak());
    let both = files(["1", "2"], [first, second]).unwrap();
    assert_eq!((both.line_count, both.head), (4, trail.head()));
    assert_eq!(verified(second, &UNKNOWN).unwrap().first_seq, 4);
    match files(["2", "1"], [second, first]) {
        Err(AuditVerifyError::Broken { file, line, cause }) => {
            let sequence = BreakCause::Sequence { expected: 5, found: 1 };
            assert_eq!((&*file, line, cause), ("1", 1, sequence));
        }
        other => panic!("{other:?}"),
    }
    let start = Expected { start: Some(Head::EMPTY), end: None };
    assert_eq!(broken(second, &start), (1, BreakCause::Start));
}

#[test]
fn a_changed_line_is_named() {
    let (bytes, head) = written(5);
    let known = Expected { start: None, end: Some(head) };
    for changed in 0..5 {
        let mut all = lines(&bytes);
        let text = String::from_utf8(all[changed].clone()).unwrap();
        all[changed] = text.replace("denied\",\"prev", "DENIED\",\"prev").into_bytes();
        let all = all.concat();
        assert_ne!(all, bytes);
        assert_eq!(broken(&all, &known), (changed as u64 + 1, BreakCause::Changed), "{changed}");
    }
}

#[test]
fn a_changed_predecessor_or_number_is_named() {
    let (bytes, head) = written(5);
    let all = lines(&bytes);
    let known = Expected { start: None, end: Some(head) };
    let with = |index: usize, from: &str, to: &str| {
        let mut all = all.clone();
        let text = String::from_utf8(all[index].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        all[index] = text.replacen(from, to, 1).into_bytes();
        all.concat()
    };
    let prev = format!("\"prev\":\"{}", "0".repeat(64));
    let other = format!("\"prev\":\"{}", "1".repeat(64));
    assert_eq!(broken(&with(0, &prev, &other), &known), (1, BreakCause::Start));
    assert_eq!(broken(&with(2, "\"seq\":3", "\"seq\":9"), &known), (3, BreakCause::Changed));
    let mut middle = all.clone();
    let text = String::from_utf8(middle[2].clone()).unwrap();
    let at_prev = text.find("\"prev\":\"").unwrap() + 8;
    let digit = if &text[at_prev..=at_prev] == "0" { "1" } else { "0" };
    middle[2] = format!("{}{digit}{}", &text[..at_prev], &text[at_prev + 1..]).into_bytes();
    assert_eq!(broken(&middle.concat(), &known), (3, BreakCause::Changed));
}

#[test]
fn removed_added_and_moved_lines_are_named() {
    let (bytes, head) = written(5);
    let all = lines(&bytes);
    let known = Expected { start: None, end: Some(head) };
    let sequence = |expected, found| BreakCause::Sequence { expected, found };
    let pick = |order: &[usize]| -> Vec<u8> {
        order.iter().flat_map(|index| all[*index].clone()).collect()
    };
    assert_eq!(broken(&pick(&[0, 1, 3, 4]), &known), (3, sequence(3, 4)));
    assert_eq!(broken(&pick(&[0, 2, 1, 3, 4]), &known), (2, sequence(2, 3)));
    assert_eq!(broken(&pick(&[0, 1, 1, 2, 3, 4]), &known), (3, sequence(3, 2)));
    let end = BreakCause::End { expected: 5, found: 4 };
    assert_eq!(broken(&pick(&[0, 1, 2, 3]), &known), (4, end));
    assert!(verified(&pick(&[0, 1, 2, 3]), &UNKNOWN).is_ok());
    assert_eq!(verified(&pick(&[2, 3, 4]), &known).unwrap().first_seq, 3);
}

#[test]
fn text_that_is_no_line_is_named() {
    let (bytes, _) = written(3);
    let torn = &bytes[..bytes.len() - 1];
    assert_eq!(broken(torn, &UNKNOWN), (3, BreakCause::Torn));
    for text in ["\n", "{}\n", "[]\n", "{\"seq\":4,\"prev\":\"x\"}\n", "\u{0}\n"] {
        let all = [&bytes, text.as_bytes()].concat();
        assert_eq!(broken(&all, &UNKNOWN), (4, BreakCause::NotALine), "{text:?}");
    }
    let long = [&bytes[..], &vec![b'x'; LINE_BYTES_MAX + 2]].concat();
    assert_eq!(broken(&long, &UNKNOWN), (4, BreakCause::TooLong));
}

#[test]
fn lines_wait_and_events_are_counted_while_the_disk_is_full() {
    let mut trail = Trail::new(chain(Head::EMPTY), 1000);
    let mut disk = SmallDisk { bytes: Vec::new(), space: 500, step: 64 };
    let mut recorded = 0;
    while trail.record_or_count(&entry(recorded), at(recorded as i64)) {
        recorded += 1;
        let _ = trail.flush(&mut disk);
    }
    assert!(disk.bytes.len() == 500 && recorded > 3, "{recorded}");
    let refused = trail.record(&entry(0), at(100)).unwrap_err();
    assert_eq!(refused.waiting, trail.waiting_bytes());
    assert!(trail.waiting_bytes() <= 1000);
    let counted = Entry { count: Some(41), ..entry(0) };
    assert!(!trail.record_or_count(&counted, at(101)));
    assert_eq!(trail.lost_count(), 42);
    disk.space = usize::MAX;
    trail.flush(&mut disk).unwrap();
    trail.record(&entry(1), at(200)).unwrap();
    trail.flush(&mut disk).unwrap();
    assert_eq!((trail.lost_count(), trail.waiting_bytes()), (0, 0));
    let known = Expected { start: Some(Head::EMPTY), end: Some(trail.head()) };
    let verified = verified(&disk.bytes, &known).unwrap();
    assert_eq!(verified.line_count, recorded as u64 + 2);
    let gap = Filter { event: Some(AuditEvent::Gap), ..Filter::default() };
    let gaps: Vec<AuditLine> = query(&disk.bytes[..], &gap).map(Result::unwrap).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].count, Some(42));
    assert_eq!(gaps[0].last.as_deref(), Some("2027-01-15T08:01:41.000Z"));
}

#[test]
fn events_are_counted_until_half_of_the_space_is_free() {
    let mut trail = Trail::new(Chain::new(Head::EMPTY, "r", "b"), 2_000);
    let long = Entry { reason: Some("x".repeat(200)), ..Entry::new(AuditEvent::Denied) };
    while trail.record_or_count(&long, at(1)) {}
    let short = Entry::new(AuditEvent::Denied);
    for count in 2..5 {
        assert!(!trail.record_or_count(&short, at(1)));
        assert_eq!(trail.lost_count(), count);
    }
    trail.flush(&mut Vec::new()).unwrap();
    assert!(trail.record_or_count(&short, at(2)));
    assert_eq!(trail.lost_count(), 0);
}

#[test]
fn a_trail_continues_after_a_crash_at_any_byte() {
    let (bytes, _) = written(4);
    for end in 0..=bytes.len() {
        let recovered = recover(&mut &bytes[..end]).unwrap();
        let whole = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        assert_eq!(recovered.whole_bytes, whole as u64, "{end}");
        assert_eq!(recovered.has_torn_line, end != whole, "{end}");
        let head = recovered.head.unwrap_or(Head::EMPTY);
        let mut file = bytes[..whole].to_vec();
        let mut trail = Trail::new(chain(head), usize::MAX);
        trail.record(&entry(9), at(9)).unwrap();
        trail.flush(&mut file).unwrap();
        let verified = verified(&file, &UNKNOWN).unwrap();
        assert_eq!(verified.head.seq, head.seq + 1, "{end}");
    }
    let foreign = recover(&mut &b"hello\n"[..]);
    assert!(matches!(foreign, Err(RecoverError::NotALine { line: 1 })));
}

#[test]
fn a_query_finds_lines_by_their_fields() {
    let (bytes, _) = written(9);
    let count = |filter: &Filter| query(&bytes[..], filter).map(Result::unwrap).count();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(&Filter::default()), 9);
    assert_eq!(count(&Filter { principal: text("p1"), ..Filter::default() }), 3);
    assert_eq!(count(&Filter { application: text("billing"), ..Filter::default() }), 9);
    assert_eq!(count(&Filter { application: text("bill"), ..Filter::default() }), 0);
    assert_eq!(count(&Filter { event: Some(AuditEvent::Push), ..Filter::default() }), 0);
    assert_eq!(count(&Filter { outcome: text("denied"), ..Filter::default() }), 9);
    assert_eq!(count(&Filter { since: Some(at(4)), ..Filter::default() }), 5);
    assert_eq!(count(&Filter { until: Some(at(4)), ..Filter::default() }), 4);
    let window = Filter { since: Some(at(2)), until: Some(at(5)), ..Filter::default() };
    assert_eq!(count(&window), 3);
    assert_eq!(AuditEvent::parse("would_deny"), Some(AuditEvent::WouldDeny));
    assert_eq!(AuditEvent::parse("WouldDeny"), None);
}

#[test]
fn a_counted_line_is_found_in_all_of_its_time() {
    let mut trail = Trail::new(chain(Head::EMPTY), usize::MAX);
    let counted = Entry { first: Some(at(0)), last: Some(at(50)), count: Some(9), ..entry(0) };
    trail.record(&counted, at(60)).unwrap();
    let mut bytes = Vec::new();
    trail.flush(&mut bytes).unwrap();
    let is_found = |since, until| {
        let filter = Filter { since: Some(since), until: Some(until), ..Filter::default() };
        query(&bytes[..], &filter).next().is_some()
    };
    let second = SignedDuration::from_secs(1);
    assert!(is_found(at(20), at(30)));
    assert!(is_found(at(50), at(70)));
    assert!(!is_found(at(50) + second, at(70)));
    assert!(!is_found(at(-9), at(0)));
}

#[test]
fn a_query_reports_damaged_lines_and_goes_on() {
    let (bytes, _) = written(2);
    let damaged = [b"x\n", &bytes[..], b"torn"].concat();
    let found: Vec<_> = query(&damaged[..], &Filter::default()).collect();
    let is_line: Vec<bool> = found.iter().map(Result::is_ok).collect();
    assert_eq!(is_line, [false, true, true, false]);
    assert!(matches!(found[3], Err(AuditQueryError::NotALine { line: 4 })));
}

proptest! {
    #[test]
    fn no_damage_of_one_byte_stays_undetected(
        count in 1_usize..6,
        at_byte in any::<proptest::sample::Index>(),
        flip in 1_u8..,
    ) {
        let (mut bytes, head) = written(count);
        let index = at_byte.index(bytes.len());
        bytes[index] ^= flip;
        let known = Expected { start: Some(Head::EMPTY), end: Some(head) };
        prop_assert!(verified(&bytes, &known).is_err());
    }

    #[test]
    fn a_failed_write_at_any_byte_damages_nothing(
        count in 1_usize..6,
        space in 0_usize..2000,
        step in 1_usize..200,
    ) {
        let (expected, head) = written(count);
        let mut trail = Trail::new(chain(Head::EMPTY), usize::MAX);
        let mut disk = SmallDisk { bytes: Vec::new(), space, step };
        for number in 0..count {
            trail.record(&entry(number), at(number as i64)).unwrap();
            let is_whole = trail.flush(&mut disk).is_ok();
            prop_assert_eq!(is_whole, trail.waiting_bytes() == 0);
            let is_between = disk.bytes.last().is_none_or(|byte| *byte == b'\n');
            prop_assert_eq!(trail.is_between_lines(), is_between);
        }
        disk.space = usize::MAX;
        trail.flush(&mut disk).unwrap();
        prop_assert_eq!(disk.bytes, expected);
        prop_assert_eq!(trail.head(), head);
    }
}
