//! Many of everything: names, labels, connections; and a stop in the midst of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{assert_well, shop};
use crate::fixture::{Child, Repository, Session, Until, eventually};

/// More names than answers are kept.
const NAME_COUNT: usize = 21_000;

#[test]
fn random_names_and_labels_fill_nothing() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let series = |server: &Child| server.get("/metrics").expect(200).text().lines().count();
    for path in
        ["/orders/dev", "/orders/dev/nope", "/orders/dev/a..b", "/orders-dev.yml", "/metrics"]
    {
        server.get(path);
    }
    let before = series(&server);
    let address = *server;
    thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || {
                let mut session = Session::new(address);
                for count in 0..NAME_COUNT / 2 {
                    session.get(&format!("/name-{part}-{count}/p{count}")).expect(200);
                }
                for count in 0..500 {
                    session.get(&format!("/orders/dev/label-{part}-{count}")).expect(404);
                    session.get(&format!("/orders/dev/{part}{count:039}")).expect(404);
                }
            });
        }
    });
    assert_eq!(series(&server), before, "a metric for a name");
    let metrics = server.get("/metrics").text();
    let gauge = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
        line.trim().parse().expect("a number")
    };
    assert!(gauge("headwater_environments ") <= 20_000, "{metrics}");
    assert_eq!(gauge("headwater_labels "), 1);
    let known = server.get("/-/environments").expect(200).json();
    assert!(known["applications"].as_array().expect("names").len() <= 10_010);
    assert!(server.resident_kib() < 300 * 1024, "{} KiB", server.resident_kib());
    assert_well(address);
}

#[test]
fn a_stop_under_load_ends_what_is_under_way() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let address = *server;
    let (stopping, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let (status, log) = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stopping.load(Ordering::Relaxed) {
                    let mut session = Session::new(address);
                    for path in ["/orders/dev", "/orders/prod", "/orders-dev.yml", "/orders/dev"] {
                        let reply = session.get(path);
                        // Nothing, once it has stopped; but never an error.
                        assert!(matches!(reply.status, 0 | 200), "{}", reply.everything());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _until = Until(&stopping);
        eventually("some answers", || answered.load(Ordering::Relaxed) > 200);
        server.stop()
    });
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopping"), "{log}");
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn many_idle_connections_keep_nobody_out() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let idle: Vec<_> = (0..500).map(|_| server.connect()).collect();
    assert_well(*server);
    assert!(server.resident_kib() < 200 * 1024);
    drop(idle);
    assert_well(*server);
}

/// Connections that stand are answered, and new ones as soon as there is room again.
#[test]
fn reads_go_on_when_descriptors_run_out() {
    let repository = Repository::new("//- orders.yml\nport: 1\n");
    let server = Child::serve(&["--source", &repository.uri(), "--workers", "1"]);
    let mut session = Session::new(*server);
    session.get("/orders/default").expect(200);
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &server.id().to_string(), "--nofile=48:48"])
        .status();
    assert!(limited.expect("prlimit").success());
    let flood: Vec<_> = (0..100).map(|_| server.connect()).collect();
    eventually("no descriptor is left", || server.log().contains("Too many open files"));
    session.get("/orders/default").expect(200);
    drop(flood);
    server.get("/orders/default").expect(200);
}
