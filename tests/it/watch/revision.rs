//! Reads that want nothing older than what the client has seen.

use std::time::{Duration, Instant};

use super::{Events, shop};
use crate::fixture::{Reply, Server};

const HEADER: &str = "Headwater-Min-Revision";
/// Longer than a server holds a request that wants more than it has.
const HELD: Duration = Duration::from_secs(5);

const PATHS: [&str; 3] = ["/cart/default", "/cart-default.yml", "/cart/default/main/cart.yml"];

fn ask(server: &Server, method: &str, path: &str, revision: &str) -> Reply {
    server.ask(method, path, &[(HEADER, revision)])
}

#[test]
fn a_revision_that_is_there_or_lies_behind_is_answered_at_once() {
    let (repository, server) = shop();
    let first = server.get(PATHS[0]).expect(200).header("headwater-revision").unwrap().to_owned();
    let second = repository.commit("//- cart.yml\na: 2\n");
    for path in PATHS {
        for revision in [&second, &first] {
            let reply = ask(&server, "GET", path, revision).expect(200);
            assert_eq!(reply.header("headwater-revision"), Some(second.as_str()), "{path}");
            // An environment says that it was made by who knows the revision.
            let knows = (path == PATHS[0]).then_some(revision.as_str());
            assert_eq!(reply.header("headwater-min-revision"), knows, "{path}");
        }
    }
}

#[test]
fn a_revision_on_its_way_is_waited_for() {
    let (repository, server) = shop();
    // In the repository, but not on any branch yet.
    let coming = repository.commit_on("coming", "//- cart.yml\na: 2\n");
    for path in PATHS {
        server.get(path).expect(200);
    }
    std::thread::scope(|scope| {
        let waiting = PATHS.map(|path| scope.spawn(|| ask(&server, "GET", path, &coming)));
        let mut events = Events::open(*server, PATHS[0], &format!("{HEADER}: {coming}\r\n"));
        repository.force("main", &coming);
        for waiting in waiting {
            let reply = waiting.join().unwrap().expect(200);
            assert_eq!(reply.header("headwater-revision"), Some(coming.as_str()));
            assert!(reply.text().contains('2'), "{}", reply.text());
        }
        assert!(events.head().contains("http/1.1 200"));
        assert!(events.environment().0.id.starts_with(&coming));
    });
}

#[test]
fn a_revision_that_does_not_come_is_answered_with_503_and_never_with_something_older() {
    let (_repository, server) = shop();
    // Asked for before, so that the shortest way could answer.
    for _ in 0..3 {
        server.get(PATHS[0]).expect(200);
    }
    let tip = server.get(PATHS[0]).header("headwater-revision").unwrap().to_owned();
    let unknown = "f".repeat(40);
    std::thread::scope(|scope| {
        let begun = Instant::now();
        let waiting = PATHS.map(|path| scope.spawn(|| ask(&server, "GET", path, &unknown)));
        let stream = scope.spawn(|| {
            let headers = format!("{HEADER}: {unknown}\r\n");
            Events::open(*server, PATHS[0], &headers).head()
        });
        let poll = scope.spawn(|| {
            let headers =
                [(HEADER, unknown.as_str()), ("If-None-Match", "*"), ("Prefer", "wait=40")];
            server.get_with(PATHS[0], &headers)
        });
        for reply in waiting.into_iter().chain([poll]) {
            let reply = reply.join().unwrap().expect(503);
            assert_eq!(reply.header("retry-after"), Some("1"));
            assert_eq!(reply.header("headwater-revision"), Some(tip.as_str()));
        }
        assert!(stream.join().unwrap().contains("http/1.1 503"));
        assert!(begun.elapsed() >= HELD);
    });
    // HEAD never waits, and a label that is not there yet is something older too.
    let begun = Instant::now();
    ask(&server, "HEAD", PATHS[0], &unknown).expect(503);
    let nowhere = ask(&server, "GET", "/cart/default/nowhere", &unknown).expect(503);
    assert_eq!(nowhere.header("headwater-revision"), Some("0".repeat(40).as_str()));
    assert!(begun.elapsed() < HELD);
}

#[test]
fn what_is_no_revision_is_refused() {
    let (_repository, server) = shop();
    server.get(PATHS[0]).expect(200);
    for path in PATHS {
        let begun = Instant::now();
        let commit = "0".repeat(40);
        for revision in [
            "",
            "r",
            "7",
            "ab",
            "main~1",
            "refs/heads/main",
            "a b",
            ",",
            "\"x\"",
            &commit[1..],
            &"F".repeat(40),
            &format!("{commit},"),
            &format!("{commit},r"),
            &"a".repeat(5_000),
        ] {
            ask(&server, "GET", path, revision).expect(400);
            ask(&server, "HEAD", path, revision).expect(400);
        }
        server.get_with(path, &[(HEADER, &*commit), (HEADER, &*commit)]).expect(400);
        assert!(begun.elapsed() < HELD, "a revision that cannot come was waited for");
    }
}
