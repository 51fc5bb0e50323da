//! What an acknowledgement is worth: a push that was answered survives the end of the process, of the power and of the room on
//! the disk. Real git pushes to the real binary.

mod disk;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use self::disk::Disk;
use crate::fixture::{Address, Child, Said, WorkingCopy, eventually};

/// How many pushes the server is killed during.
const KILLED_PUSH_COUNT: usize = 200;
/// How many times the power is cut.
const CUT_COUNT: usize = 50;
/// How many pushes are cut off at the moment that they are seen.
const SEEN_COUNT: usize = 15;
/// A push to the binary under test takes about this long at most, so the server is killed somewhere within.
const PUSH_MILLISECONDS_MAX: u64 = 120;

fn serve(data: &Path) -> Child {
    Child::serve(&["--source", "hosted:main", "--data", data.to_str().unwrap()])
}

/// A commit that changes one file and adds another.
fn change(count: usize) -> String {
    format!("//- orders.yml\ncount: {count}\n//- team/{count}.yml\na: 1\n")
}

/// What the server says that the service's key is.
fn served(address: Address) -> Option<i64> {
    let environment = address.get("/orders/default").expect(200).json();
    environment["propertySources"][0]["source"]["count"].as_i64()
}

fn revision(address: Address) -> String {
    revision_if_any(address).expect("a revision")
}

/// The same; none as long as there is nothing to serve.
fn revision_if_any(address: Address) -> Option<String> {
    address.get("/orders/default").header("headwater-revision").map(str::to_owned)
}

/// How a push ended, as far as who pushed can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    Refused,
    Lost,
}

fn outcome(said: &Said) -> Outcome {
    match said.code {
        Some(0) => Outcome::Acknowledged,
        _ if said.err.contains("[remote rejected]") => Outcome::Refused,
        _ => Outcome::Lost,
    }
}

/// No repository may have lost anything that a reference leads to.
fn assert_whole(data: &Path) {
    let repository = data.join("hosted/main.git");
    let output = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "fsck", "--full", "--strict", "--no-dangling"])
        .current_dir(repository)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git fsck: {said}");
    assert!(!said.contains("error") && !said.contains("missing"), "git fsck: {said}");
}

#[test]
fn a_server_that_is_killed_during_pushes_loses_none_that_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let mut server = Some(serve(&data));
    let copy = WorkingCopy::clone(**server.as_ref().unwrap());
    copy.commit("//- orders.yml\ncount: -1\n");
    copy.push().succeeds();
    let mut expected = -1;
    let mut killed_count = 0;
    for count in 0..KILLED_PUSH_COUNT {
        let running = server.take().unwrap_or_else(|| serve(&data));
        copy.points_at(*running);
        let is_bad = count % 7 == 3;
        let value = i64::try_from(count).unwrap();
        let broken = if is_bad { "broken: [\n" } else { "" };
        let before = copy.head();
        let made = copy.commit(&format!("//- orders.yml\ncount: {value}\n{broken}"));
        let is_killed = fastrand::bool();
        let after = Duration::from_millis(fastrand::u64(0..PUSH_MILLISECONDS_MAX));
        let output = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| copy.push());
            if is_killed {
                // How far the push has come is left to chance; that is the point.
                let (_never, instant) = mpsc::channel::<()>();
                let _ = instant.recv_timeout(after);
                drop(running);
            } else {
                server = Some(running);
            }
            pushing.join().unwrap()
        });
        killed_count += usize::from(is_killed);
        let running = server.take().unwrap_or_else(|| serve(&data));
        copy.points_at(*running);
        let tip = copy.remote_head();
        match outcome(&output) {
            Outcome::Acknowledged => {
                assert!(!is_bad, "a bad push was acknowledged");
                assert_eq!(tip, made, "push {count} was acknowledged and is not there");
                expected = value;
            }
            Outcome::Refused => {
                assert!(is_bad || is_killed, "{}", output.err);
                assert_eq!(tip, before, "push {count} was refused and is there");
            }
            Outcome::Lost => {
                assert!(is_killed, "{}", output.err);
                assert!(tip == before || tip == made, "push {count} is neither there nor not");
                assert!(!is_bad || tip == before, "a bad push moved the branch");
                if tip == made {
                    expected = value;
                }
            }
        }
        assert_eq!(served(*running), Some(expected), "after push {count}");
        assert_eq!(revision(*running), tip);
        copy.reset_to(&tip);
        server = Some(running);
    }
    println!("{killed_count} of {KILLED_PUSH_COUNT} pushes saw the server killed");
    drop(server);
    assert_whole(&data);
    assert_nothing_left_behind(&data);
}

/// What a killed push left is swept at the next start.
fn assert_nothing_left_behind(data: &Path) {
    drop(serve(data));
    let repository = data.join("hosted/main.git");
    let mut open = vec![repository];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_residue = name.ends_with(".lock")
                || name.starts_with("tmp_objdir-")
                || name.starts_with("incoming-")
                || name.starts_with("tmp_pack_");
            assert!(!is_residue, "{}", entry.path().display());
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
}

#[test]
fn a_power_cut_after_the_acknowledgement_loses_nothing() {
    let Some(disk) = Disk::image() else { return };
    let data = disk.path().join("data");
    let server = serve(&data);
    let copy = WorkingCopy::clone(*server);
    for count in 0..CUT_COUNT {
        let value = i64::try_from(count).unwrap();
        let made = copy.commit(&change(count));
        copy.push().succeeds();
        let after = disk.cut();
        let data = after.path().join("data");
        assert_whole(&data);
        let again = serve(&data);
        assert_eq!(revision(*again), made, "push {count} was acknowledged and is lost");
        assert_eq!(served(*again), Some(value));
    }
}

#[test]
fn what_is_served_is_durable_before_the_push_is_even_answered() {
    let Some(disk) = Disk::image() else { return };
    let server = serve(&disk.path().join("data"));
    let copy = WorkingCopy::clone(*server);
    for count in 0..SEEN_COUNT {
        let made = copy.commit(&change(count));
        let after = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| copy.push().succeeds());
            eventually("the push is served", || revision_if_any(*server).as_ref() == Some(&made));
            let after = disk.cut();
            pushing.join().unwrap();
            after
        });
        let data = after.path().join("data");
        assert_whole(&data);
        assert_eq!(revision(*serve(&data)), made, "push {count} was served and is lost");
    }
}

#[test]
fn a_power_cut_at_any_instant_leaves_a_push_whole_or_absent() {
    let Some(disk) = Disk::image() else { return };
    let server = serve(&disk.path().join("data"));
    let copy = WorkingCopy::clone(*server);
    copy.commit("//- orders.yml\ncount: -1\n");
    copy.push().succeeds();
    for count in 0..CUT_COUNT {
        let before = copy.head();
        let made = copy.commit(&change(count));
        let after = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| copy.push().succeeds());
            let (_never, instant) = mpsc::channel::<()>();
            let wait = Duration::from_millis(fastrand::u64(0..PUSH_MILLISECONDS_MAX));
            let _ = instant.recv_timeout(wait);
            let after = disk.cut();
            pushing.join().unwrap();
            after
        });
        let data = after.path().join("data");
        assert_whole(&data);
        let tip = revision(*serve(&data));
        assert!(tip == before || tip == made, "push {count} is neither there nor not");
    }
}

#[test]
fn a_full_disk_refuses_pushes_and_disturbs_nobody_else() {
    let Some(disk) = Disk::memory(6 * 1024 * 1024) else { return };
    let data = disk.path().join("data");
    let server = serve(&data);
    let copy = WorkingCopy::clone(*server);
    let first = copy.commit("//- orders.yml\ncount: 1\n");
    copy.push().succeeds();
    assert_eq!(served(*server), Some(1));

    let filler = disk.path().join("filler");
    fill(&filler);
    let large = incompressible(300_000);
    let second = copy.commit(&format!("//- orders.yml\ncount: 2\n//- large.txt\n{large}\n"));
    let output = copy.push();
    assert_ne!(output.code, Some(0), "there was no room for it");
    assert_eq!(served(*server), Some(1));
    assert_eq!(copy.remote_head(), first);
    // An environment that nobody asked for before is answered too: reading needs no room.
    server.get("/other/default").expect(200);
    crate::faults::pushes_are_not_durable(&server);

    std::fs::remove_file(&filler).unwrap();
    crate::faults::pushes_are_durable_again(&server);
    copy.push().succeeds();
    assert_eq!(copy.remote_head(), second);
    eventually("the new revision is served", || served(*server) == Some(2));
    drop(server);
    assert_whole(&data);
    assert_nothing_left_behind(&data);
}

#[test]
fn a_full_disk_of_the_audit_trail_rejects_pushes_and_disturbs_no_reader() {
    let Some(disk) = Disk::memory(512 * 1024) else { return };
    let place = tempfile::tempdir().unwrap();
    let (config, trail) = (place.path().join("headwater.toml"), disk.path().join("audit.jsonl"));
    std::fs::write(&config, format!("[audit]\nfile = {trail:?}\n")).unwrap();
    let (config, data) = (config.display().to_string(), place.path().join("data"));
    let data = data.to_str().unwrap();
    let server = Child::serve(&["--source", "hosted:main", "--data", data, "--config", &config]);
    let copy = WorkingCopy::clone(*server);
    copy.commit("//- orders.yml\ncount: 1\n");
    copy.push().succeeds();
    let filler = disk.path().join("filler");
    fill(&filler);
    let mut second = String::new();
    // The last block of the file has room for some lines.
    let rejected = (2..100).find_map(|count| {
        second = copy.commit(&format!("//- orders.yml\ncount: {count}\n"));
        let said = copy.push();
        (said.code != Some(0)).then_some(said)
    });
    crate::audit::is_rejected_by_the_trail(rejected.expect("a push without room for its line"));
    assert_ne!(copy.remote_head(), second);
    server.get("/other/default").expect(200);
    std::fs::remove_file(&filler).unwrap();
    eventually("the trail is written again", || copy.push().code == Some(0));
    assert_eq!(copy.remote_head(), second);
    server.stop();
    let file = std::io::BufReader::new(std::fs::File::open(&trail).unwrap());
    let expected = headwater_access::audit::Expected::default();
    headwater_access::audit::verify([("audit.jsonl".to_owned(), file)], &expected).unwrap();
}

#[test]
fn a_full_disk_costs_lines_of_the_history_and_no_answer() {
    use crate::fleet_history::{at, recorded, report};
    let Some(disk) = Disk::memory(6 * 1024 * 1024) else { return };
    let data = disk.path().join("data");
    let server = serve(&data);
    let copy = WorkingCopy::clone(*server);
    copy.commit("//- orders.yml\ncount: 1\n");
    copy.push().succeeds();
    report(*server, "web-1", "1", "ok");
    recorded(*server, "web-1", "applied");
    let filler = disk.path().join("filler");
    fill(&filler);
    let has_fault = || server.get("/-/problems").text().contains("\"kind\":\"history-unwritable\"");
    // The last block of the file has room for fewer lines.
    for number in 1..=50 {
        report(*server, &format!("more-{number}"), "1", "ok");
    }
    eventually("the fault is reported", has_fault);
    server.get("/other/default").expect(200);
    std::fs::remove_file(&filler).unwrap();
    eventually("the fault ends", || !has_fault());
    // The state is complete again: an instance whose line was lost is in it.
    eventually("every instance is recorded", || {
        let now = jiff::Timestamp::now().to_string();
        let found = at(*server, &now);
        found["records"].as_array().unwrap().iter().any(|it| it["instance"] == "more-50")
    });
}

/// Writes until there is no room left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let mut block = vec![0; 64 * 1024];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

fn incompressible(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
