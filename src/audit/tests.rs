//! The trail on a real disk: restarts, torn lines, rotation, failures, counts.

use std::fs;
use std::io::BufReader;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use headwater_access::audit::{AuditLine, Expected, VerifiedTrail, verify};
use tempfile::TempDir;

use super::file::AuditFileError;
use super::*;
use crate::faults::FaultKind;
use crate::model::{Digest, Label, Query};

/// The time within which something happens that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Place {
    directory: TempDir,
    faults: Arc<Faults>,
    options: AuditOptions,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = AuditOptions {
            file: Some(directory.path().join("audit.jsonl")),
            stdout: false,
            rotate_bytes: 1024 * 1024 * 1024,
            keep_count: usize::MAX,
            is_required: false,
            replica: "one".to_owned(),
        };
        Self { directory, faults: Arc::default(), options }
    }

    fn open(&self) -> Arc<Audit> {
        Audit::open(&self.options, Arc::clone(&self.faults)).unwrap()
    }

    fn path(&self) -> &Path {
        self.options.file.as_deref().unwrap()
    }

    /// All files of the trail, in order.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.directory.path()).unwrap().map(|it| it.unwrap().path()).collect();
        files.retain(|file| file.is_file());
        files.sort();
        // The current file has the shortest name.
        files.rotate_left(1);
        files
    }

    #[track_caller]
    fn verify(&self) -> VerifiedTrail {
        let files = self.files().into_iter().map(|path| {
            (path.display().to_string(), BufReader::new(fs::File::open(path).unwrap()))
        });
        verify(files, &Expected::default()).unwrap()
    }

    fn lines(&self) -> Vec<AuditLine> {
        let texts = self.files().into_iter().map(|file| fs::read_to_string(file).unwrap());
        let text: String = texts.collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Makes writing fail: another object takes the place of the file.
    fn block(&self) {
        fs::rename(self.path(), self.path().with_extension("moved.000000000001")).unwrap();
        fs::create_dir(self.path()).unwrap();
    }

    fn unblock(&self) {
        fs::remove_dir(self.path()).unwrap();
    }
}

fn push(name: &str) -> Entry {
    Entry { principal: Some(name.to_owned()), ..Entry::new(AuditEvent::Push) }
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < until, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn a_restart_continues_the_chain() {
    let place = Place::new();
    for round in 0..3 {
        let audit = place.open();
        audit.record(&Entry::new(AuditEvent::Started));
        audit.record_act(&push("ada")).await.unwrap();
        // The line of an act is in the file before the act takes place.
        assert_eq!(place.lines().len(), 3 * round + 2);
        audit.close(&Entry::new(AuditEvent::Stopped)).await;
    }
    assert_eq!(place.verify().line_count, 9);
    let mode = fs::metadata(place.path()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    let boots: std::collections::BTreeSet<String> =
        place.lines().into_iter().map(|line| line.boot).collect();
    assert_eq!(boots.len(), 3);
}

#[tokio::test]
async fn a_line_that_was_cut_anywhere_is_removed() {
    let place = Place::new();
    let audit = place.open();
    audit.record_act(&push("ada")).await.unwrap();
    let kept = fs::read(place.path()).unwrap();
    audit.record_act(&push("grace")).await.unwrap();
    audit.close(&Entry::new(AuditEvent::Stopped)).await;
    let whole = fs::read(place.path()).unwrap();
    let torn_end = kept.len() + whole[kept.len()..].iter().position(|it| *it == b'\n').unwrap();
    for end in (kept.len()..=torn_end).step_by(9).chain([torn_end, torn_end + 1]) {
        fs::write(place.path(), &whole[..end]).unwrap();
        let audit = place.open();
        audit.record_act(&push("alan")).await.unwrap();
        audit.close(&Entry::new(AuditEvent::Stopped)).await;
        let expected = if end > torn_end { 4 } else { 3 };
        assert_eq!(place.verify().line_count, expected, "cut at {end}");
    }
}

#[test]
fn the_trail_is_whole_after_rotations_under_load() {
    let mut place = Place::new();
    place.options.rotate_bytes = 2_000;
    let audit = place.open();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    audit.record(&Entry::new(AuditEvent::Denied));
                    audit.record_act_blocking(&push("ada")).unwrap();
                }
            });
        }
    });
    let files = place.files();
    assert!(files.len() > 3, "{files:?}");
    assert_eq!(place.verify().line_count, 400);
    // A new file that has no line yet continues the newest renamed one.
    drop(audit);
    let newest = &files[files.len() - 2];
    let newest_lines = fs::read_to_string(newest).unwrap().lines().count();
    assert!(newest_lines > 0, "{newest:?}");
    eventually("the file is closed", || fs::File::open(place.path()).unwrap().try_lock().is_ok());
    fs::remove_file(place.path()).unwrap();
    let before = place.lines().len() as u64;
    let audit = place.open();
    audit.record_act_blocking(&push("grace")).unwrap();
    assert_eq!(place.lines().last().unwrap().seq, before + 1);
    place.verify();
}

#[test]
fn only_the_newest_renamed_files_are_kept() {
    let mut place = Place::new();
    (place.options.rotate_bytes, place.options.keep_count) = (1, 2);
    let audit = place.open();
    for _ in 0..6 {
        audit.record_act_blocking(&push("ada")).unwrap();
    }
    eventually("old files are removed", || place.files().len() == 3);
    drop(audit);
    let names = place.files().into_iter().map(|it| it.file_name().unwrap().to_owned());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(names, ["audit.jsonl.000000000005", "audit.jsonl.000000000006", "audit.jsonl"]);
}

#[tokio::test]
async fn without_a_disk_acts_fail_and_other_events_wait() {
    let mut place = Place::new();
    place.options.is_required = true;
    let audit = place.open();
    audit.record_act(&push("before")).await.unwrap();
    assert!(audit.permits_opened_reads());
    place.block();
    assert_eq!(audit.record_act(&push("during")).await, Err(UnwrittenError));
    assert!(place.faults.contains(FaultKind::AuditUnwritable, "the audit trail of the server"));
    assert_eq!(audit.record_act(&push("later")).await, Err(UnwrittenError));
    assert!(!audit.permits_opened_reads());
    audit.record(&Entry::new(AuditEvent::Open));
    assert!(audit.figures().waiting_bytes > 0);
    place.unblock();
    eventually("the trail is written again", || audit.permits_opened_reads());
    audit.record_act(&push("after")).await.unwrap();
    assert!(place.faults.is_empty());
    audit.close(&Entry::new(AuditEvent::Stopped)).await;
    let names = place.lines().into_iter().filter_map(|line| line.principal);
    // The second one was never recorded. The caller of the first one records that it did not take place.
    assert_eq!(names.collect::<Vec<_>>(), ["before", "during", "after"]);
}

#[tokio::test]
async fn events_without_space_become_one_gap() {
    let place = Place::new();
    let audit = place.open();
    audit.record_act(&push("before")).await.unwrap();
    place.block();
    assert_eq!(audit.record_act(&push("during")).await, Err(UnwrittenError));
    let long = Entry { reason: Some("x".repeat(250)), ..Entry::new(AuditEvent::Denied) };
    let mut count = 0;
    while audit.figures().lost_count < 1_000 {
        audit.record(&long);
        count += 1;
    }
    assert!(audit.figures().waiting_bytes <= WAITING_BYTES_MAX as u64 + 1024);
    place.unblock();
    // There is space again once the waiting lines are taken.
    eventually("acts are recorded again", || audit.record_act_blocking(&push("after")).is_ok());
    assert!(place.faults.is_empty());
    audit.close(&Entry::new(AuditEvent::Stopped)).await;
    let lines = place.lines();
    let gaps: Vec<_> = lines.iter().filter(|line| line.event == AuditEvent::Gap).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].count, Some(1_000));
    let denials = lines.iter().filter(|line| line.event == AuditEvent::Denied).count();
    assert_eq!(denials + 1_000, count);
    place.verify();
}

#[tokio::test]
async fn denials_are_counted_after_the_first() {
    let place = Place::new();
    let audit = place.open();
    let denial = |principal: &str, proof: &str, address: &str| Entry {
        principal: Some(principal.to_owned()),
        proof: Some(proof.to_owned()),
        address: Some(address.to_owned()),
        reason: Some("read billing/prod".to_owned()),
        ..Entry::new(AuditEvent::Denied)
    };
    for address in ["a", "b", "c"] {
        audit.record_denial(&denial("orders", "token:1", address));
        audit.record_denial(&denial("anonymous", "none", address));
        let entry = Entry::new(AuditEvent::CredentialRejected);
        for digest in ["1", "2"] {
            let reason = Some(format!("no principal has the token {digest}"));
            let address = Some(address.to_owned());
            audit.record_rejection(&Entry { address, reason, ..entry.clone() }, "UnknownToken");
        }
    }
    audit.close(&Entry::new(AuditEvent::Stopped)).await;
    let lines = place.lines();
    let of = |event, name: Option<&str>, is_counted: bool| {
        let is = |line: &&AuditLine| {
            line.event == event
                && line.principal.as_deref() == name
                && line.count.is_some() == is_counted
        };
        lines.iter().filter(is).map(|line| line.count.unwrap_or(1)).collect::<Vec<_>>()
    };
    assert_eq!(of(AuditEvent::Denied, Some("orders"), false), [1]);
    assert_eq!(of(AuditEvent::Denied, Some("orders"), true), [2]);
    // Callers without a credential are told apart by their addresses.
    assert_eq!(of(AuditEvent::Denied, Some("anonymous"), false), [1, 1, 1]);
    assert_eq!(of(AuditEvent::CredentialRejected, None, false), [1, 1, 1]);
    assert_eq!(of(AuditEvent::CredentialRejected, None, true), [1, 1, 1]);
}

#[tokio::test]
async fn reads_are_counted_after_the_first() {
    let place = Place::new();
    let audit = place.open();
    let reads = OpenedReads::new(Arc::clone(&audit));
    let read = |address: &str, digest: u8| OpenedRead {
        principal: "orders".into(),
        query: Query { application: "a".into(), profiles: "p".into(), label: Label::Default },
        digest: Digest([digest; 32]),
        address: Some(address.parse::<IpAddr>().unwrap()),
    };
    let details = || (AuditActor::default(), "r1".to_owned());
    let first = reads.record(&read("127.0.0.1", 1), details).unwrap();
    for _ in 1..500 {
        reads.record(&read("127.0.0.1", 1), details);
        assert!(reads.record_again(first, Instant::now()));
    }
    reads.record(&read("127.0.0.1", 1), details);
    reads.record(&read("127.0.0.2", 1), details);
    reads.record(&read("127.0.0.1", 2), details);
    drop(reads);
    audit.close(&Entry::new(AuditEvent::Stopped)).await;
    let lines = place.lines();
    assert!(lines.iter().all(|line| line.first <= line.last));
    let counts = lines.into_iter().filter(|line| line.event == AuditEvent::Open);
    let counts: Vec<_> = counts.map(|line| (line.count, line.revision.is_some())).collect();
    assert_eq!(counts, [(None, true), (None, true), (None, true), (Some(999), false)]);
}

#[test]
fn files_that_cannot_be_a_trail_are_rejected() {
    let place = Place::new();
    let error = || Audit::open(&place.options, Arc::default()).err().unwrap();
    fs::write(place.path(), "no line\n").unwrap();
    assert!(matches!(error(), AuditFileError::Recover(_)));
    fs::write(place.path(), "").unwrap();
    fs::set_permissions(place.path(), PermissionsExt::from_mode(0o620)).unwrap();
    assert!(error().to_string().contains("0620"), "{}", error());
    fs::remove_file(place.path()).unwrap();
    std::os::unix::fs::symlink("/dev/null", place.path()).unwrap();
    assert!(matches!(error(), AuditFileError::Io(_)));
}
