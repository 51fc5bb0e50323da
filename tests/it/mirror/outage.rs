//! The remote is away: at start, later, and back again.

use std::process::Command;
use std::time::{Duration, Instant};

use super::host::{Host, Manner};
use super::{Home, comes, remote, value_of};
use crate::fixture::{Address, Repository, eventually};

/// The value of a metric, whatever its labels.
fn metric(server: &Address, name: &str) -> Option<f64> {
    let text = server.get("/metrics").expect(200).text();
    let line = text.lines().find(|line| line.starts_with(&format!("headwater_{name}")))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn without_a_copy_and_without_the_remote_it_comes_up_by_itself() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    host.behave(Manner::Away);
    let home = Home::of(&host.uri());
    let server = home.serve();
    eventually("the outage is seen", || !remote(&server)["error"].is_null());
    let refused = server.get("/orders/dev").expect(503);
    assert!(refused.text().contains("is unavailable"), "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    server.get("/readyz").expect(503);
    server.get("/livez").expect(200);
    assert_eq!(remote(&server)["lastFetchSeconds"], serde_json::Value::Null);
    host.behave(Manner::Good);
    comes(&server, "/orders/dev", "a", "1");
    server.get("/readyz").expect(200);
    eventually("the outage is over", || remote(&server)["error"].is_null());
}

#[test]
fn the_last_revision_is_served_while_the_remote_is_away_also_after_a_restart() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    let server = home.serve();
    let before = comes(&server, "/orders/dev", "a", "1");
    host.behave(Manner::Away);
    eventually("the outage is seen", || !remote(&server)["error"].is_null());
    let health = server.get("/actuator/health").expect(200).json();
    let details = &health["components"]["configServer"]["details"];
    assert!(details["repositories"][0]["staleSeconds"].is_u64(), "{health}");
    assert_eq!(metric(&server, "source_fetch_failing{"), Some(1.0));
    eventually("its age is told", || {
        metric(&server, "source_last_fetch_age_seconds{") >= Some(1.0)
    });
    let (_, log) = server.stop();
    assert_eq!(log.matches("the remote cannot be fetched, its last revision is served").count(), 1);

    let server = home.serve();
    let after = comes(&server, "/orders/dev", "a", "1");
    assert_eq!((before.body, before.headers.len()), (after.body, after.headers.len()));
    server.get("/readyz").expect(200);
    eventually("the outage is seen", || !remote(&server)["error"].is_null());
    assert!(remote(&server)["lastFetchSeconds"].as_u64() >= Some(1));
    repository.commit("//- orders.yml\na: 2\n");
    host.behave(Manner::Good);
    comes(&server, "/orders/dev", "a", "2");
    // What a fetch brought is served before the fetch is over.
    eventually("the outage is over", || metric(&server, "source_fetch_failing{") == Some(0.0));
    eventually("it is said once", || server.log().contains("the remote can be fetched again"));
}

#[test]
fn a_slow_remote_delays_no_read() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    repository.commit_on("other", "//- orders.yml\na: 2\n");
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    let before = host.request_count();
    host.behave(Manner::Silent);
    eventually("a fetch hangs", || host.request_count() > before);
    let begun = Instant::now();
    for path in ["/orders/dev", "/orders/dev/other", "/billing/prod", "/orders-dev.yml"] {
        server.get(path).expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Only a label that nobody has waits, and not for long.
    server.get("/orders/dev/nobody").expect(404);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(is_running(&host.uri()), "the fetch hangs still");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    eventually("no git is left", || !is_running(&host.uri()));
}

/// Whether a process has a text in its command line.
fn is_running(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    processes.into_iter().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
}

#[test]
fn a_copy_that_is_broken_is_made_anew() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    repository.commit("//- orders.yml\na: 2\n");
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    comes(&home.serve(), "/orders/dev", "a", "2");
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 5] = [
        ("objects are gone", |copy| {
            std::fs::remove_dir_all(copy.join("objects")).expect("removed");
            std::fs::create_dir(copy.join("objects")).expect("made");
        }),
        ("a branch is empty, as after a power cut", |copy| {
            std::fs::write(copy.join("refs/heads/main"), "").expect("written");
        }),
        ("a branch leads nowhere", |copy| {
            std::fs::write(copy.join("refs/heads/main"), "1".repeat(40) + "\n").expect("written");
        }),
        ("it is no repository", |copy| {
            std::fs::remove_file(copy.join("HEAD")).expect("removed");
        }),
        ("it is a file", |copy| {
            std::fs::remove_dir_all(copy).expect("removed");
            std::fs::write(copy, "").expect("written");
        }),
    ];
    for (what, damage) in damages {
        damage(&home.copy());
        let server = home.serve();
        comes(&server, "/orders/dev", "a", "2");
        let log = server.log();
        assert!(log.contains("is thrown away and made anew"), "{what}: {log}");
    }
}

#[test]
fn a_copy_that_breaks_under_a_running_server_is_made_anew() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    std::fs::remove_dir_all(home.copy()).expect("removed");
    repository.commit("//- orders.yml\na: 2\n");
    comes(&server, "/orders/dev", "a", "2");
}

#[test]
fn a_server_that_is_killed_leaves_a_copy_that_can_be_used() {
    let repository = Repository::new("//- orders.yml\na: 0\n");
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    comes(&home.serve(), "/orders/dev", "a", "0");
    for round in 1..=6 {
        let server = home.serve();
        repository.commit(&format!("//- orders.yml\na: {round}\n"));
        // An instant to be killed at, later in each round: wherever its fetch is then.
        std::thread::sleep(Duration::from_millis(20 * round));
        drop(server);
        std::fs::write(home.copy().join("refs/heads/main.lock"), "").expect("left behind");
    }
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "6");
    let whole = Command::new("git")
        .args(["-c", "safe.directory=*", "fsck", "--strict"])
        .env("GIT_DIR", home.copy())
        .output()
        .expect("git runs");
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    assert_eq!(value_of(&server.get("/orders/dev"), "a").as_deref(), Some("6"));
}
