//! How often a directory is scanned, however many labels clients make up, and what happens when a scan does not end.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater::model::Label;
use headwater::snapshot::Style;
use headwater::source::directory::{DirectoryOptions, DirectorySource};
use headwater::source::{Source, SourceError};
use tempfile::TempDir;

use super::bed::{Bed, DirectoryBed, open_directory};
use super::{PATIENCE, layout, load, named, refusal, text};
use crate::fixture::{Child, Until, eventually, skipped};

/// How many labels a client makes up.
const INVENTED_COUNT: usize = 1_000;
/// How long a scan may take in these tests.
const BRIEF: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_that_ask_at_the_same_time_share_a_scan() {
    let bed = DirectoryBed::new();
    bed.commit(&[("application.yml", Some("a: 1"))]);
    let source = Arc::new(open_directory(&bed.path()));
    let asking = (0..INVENTED_COUNT).map(|number| {
        let source = Arc::clone(&source);
        tokio::spawn(async move { load(&*source, &named(&format!("invented-{number}"))).await })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(text(&asked.await.expect("loads"), "application.yml").as_deref(), Some("a: 1"));
    }
    // As many as end while they are being asked for: a scan of one file takes microseconds.
    assert!(source.scan_count() < INVENTED_COUNT as u64 / 2, "{}", source.scan_count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_is_made_up_costs_no_scan_while_another_one_is_followed() {
    let bed = DirectoryBed::new();
    bed.commit(&[("application.yml", Some("a: 1")), ("live/application.yml", Some("a: 2"))]);
    let source = Arc::new(open_directory(&bed.path()));
    let seen = load(&*source, &Label::Default).await.revision.clone();
    let mut following = Vec::new();
    for number in 0..INVENTED_COUNT {
        let (source, seen) = (Arc::clone(&source), seen.clone());
        let label = named(&format!("invented-{number}"));
        following.push(tokio::spawn(async move {
            source.changed(&label, &(&seen).into()).await.expect("changes");
            load(&*source, &label).await
        }));
    }
    eventually("the labels are followed", || source.follower_count() == INVENTED_COUNT as u64);
    let before = source.scan_count();
    for number in 0..INVENTED_COUNT {
        let found = load(&*source, &named(&format!("another-{number}"))).await;
        assert!(found.members[0].overlays.is_empty());
    }
    let live = load(&*source, &named("live")).await;
    assert_eq!(live.members[0].overlays.len(), 1);
    assert_eq!(source.scan_count(), before);
    // A change is a few scans for all of them together.
    bed.commit(&[("application.yml", Some("a: 3"))]);
    for followed in following {
        let found = followed.await.expect("follows");
        assert_eq!(text(&found, "application.yml").as_deref(), Some("a: 3"));
    }
    let made = source.scan_count() - before;
    assert!(made <= 20, "{made} scans for one change");
}

/// The threads of a process.
fn thread_count(child: &Child) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("its threads").count()
}

#[test]
fn labels_that_are_made_up_cost_a_server_neither_threads_nor_time() {
    let place = crate::fixture::directory("//- application.yml\na: 1\n//- live/orders.yml\nb: 1\n");
    let server = Child::serve(&["--source", place.path().to_str().expect("text")]);
    server.get("/orders/dev").expect(200);
    let before = thread_count(&server);
    for number in 0..INVENTED_COUNT {
        server.get(&format!("/orders/dev/invented-{number}")).expect(200);
    }
    let mut most = thread_count(&server);
    std::fs::write(place.path().join("application.yml"), "a: 2\n").expect("written");
    eventually("the change is served", || {
        most = most.max(thread_count(&server));
        server.get("/orders/dev").text().contains("\"a\":2")
    });
    assert!(most <= before + 24, "{before} threads became {most}");
    server.get("/orders/dev/live").expect(200);
    let last = server.get(&format!("/orders/dev/invented-{}", INVENTED_COUNT - 1)).text();
    assert!(last.contains("\"a\":2"), "{last}");
}

/// A file system that answers nothing, as one on a network whose server is gone.
struct Hanging {
    at: PathBuf,
    _device: File,
}

impl Hanging {
    /// None where the system lets nobody mount.
    fn at(at: &Path) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0", "hang"])
            .arg(at)
            .stdin(Stdio::from(device.try_clone().expect("a descriptor")))
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|it| it.success()).then(|| Self { at: at.to_owned(), _device: device })
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Whoever waits for an answer is told that there is none.
        let _ = Command::new("umount").args(["-f", "-l"]).arg(&self.at).status();
    }
}

fn hanging_place() -> (TempDir, DirectorySource) {
    let place =
        crate::fixture::directory("//- application.yml\na: 1\n//- remote/orders.yml\nb: 1\n");
    let options = DirectoryOptions {
        layout: layout("directory", Style::Native),
        default_label: None,
        scan_time_max: BRIEF,
    };
    let source = DirectorySource::open(place.path(), options).expect("the source");
    (place, source)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_does_not_end_is_reported_and_keeps_one_thread() {
    let (place, source) = hanging_place();
    let seen = load(&source, &Label::Default).await.revision.clone();
    assert!(source.outage().is_none() && source.problems().is_empty());
    let Some(hanging) = Hanging::at(&place.path().join("remote")) else {
        skipped("no file system can be mounted here");
        return;
    };
    std::fs::write(place.path().join("application.yml"), "a: 2").expect("written");
    let before = source.scan_count();
    for _ in 0..5 {
        let error =
            source.changed(&Label::Default, &(&seen).into()).await.expect_err("does not end");
        let error = error.to_string();
        assert!(error.contains("has not finished at \"remote\""), "{error}");
        let error = refusal(&source, &named("invented")).await;
        assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
    }
    assert_eq!(source.scan_count(), before + 1, "one scan hangs, and none begins beside it");
    assert!(source.outage().is_some());
    assert_eq!(&*source.problems()[0].problem.origin.file, "remote");
    drop(hanging);
    eventually("the scan ends", || source.problems().is_empty());
    let found = load(&source, &Label::Default).await;
    assert_eq!(text(&found, "application.yml").as_deref(), Some("a: 2"));
    assert_eq!(text(&found, "remote/orders.yml").as_deref(), Some("b: 1\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_turns_into_a_pipe_and_back_is_not_waited_for() {
    let bed = Arc::new(DirectoryBed::new());
    bed.commit(&[("application.yml", Some("a: 1")), ("orders.yml", Some("b: 1"))]);
    let source = open_directory(&bed.path());
    let over = Arc::new(AtomicBool::new(false));
    let orders = bed.path().join("orders.yml");
    let turning = {
        let (over, orders) = (Arc::clone(&over), orders.clone());
        std::thread::spawn(move || {
            let _until = Until(&over);
            for round in 0..200 {
                std::fs::remove_file(&orders).expect("removed");
                match round % 3 {
                    0 => drop(Command::new("mkfifo").arg(&orders).status()),
                    1 => drop(UnixListener::bind(&orders).expect("a socket")),
                    _ => std::fs::write(&orders, "b: 2").expect("written"),
                }
            }
        })
    };
    while !over.load(Ordering::Relaxed) {
        // A directory that changes all the time may be reported as such.
        let loaded = tokio::time::timeout(PATIENCE, source.load(&Label::Default, None)).await;
        drop(loaded.expect("nothing is waited for"));
    }
    turning.join().expect("turns");
    std::fs::remove_file(&orders).expect("removed");
    bed.commit(&[("orders.yml", Some("b: 3"))]);
    let found = load(&source, &Label::Default).await;
    assert_eq!(text(&found, "orders.yml").as_deref(), Some("b: 3"));
}
