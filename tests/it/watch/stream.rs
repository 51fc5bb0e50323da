//! A stream of one environment: what it tells, what it does not, and how it ends.

use super::{Events, shop, watchers};
use crate::fixture::{Server, eventually};

#[test]
fn a_stream_begins_with_the_present_and_tells_every_change_of_its_own() {
    let (repository, server) = shop();
    let mut events = Events::open(*server, "/cart/default", "");
    let head = events.head();
    for part in [
        "http/1.1 200",
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "x-accel-buffering: no",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    let retry: u64 = events.next().unwrap().retry.parse().unwrap();
    assert!((1_000..5_000).contains(&retry));
    let (first, environment) = events.environment();
    let plain = server.get("/cart/default").expect(200);
    assert_eq!(first.data, plain.text(), "the event carries what a GET answers");
    assert_eq!(environment["propertySources"][0]["source"]["a"], 1);

    repository.commit("//- order.yml\nb: 2\n");
    repository.commit("//- cart-prod.yml\nfor: others\n");
    repository.commit("//- cart.yml\n# a comment\na:   1\n");
    let revision = repository.commit("//- cart.yml\na: 2\n");
    let (second, environment) = events.environment();
    assert_eq!(environment["propertySources"][0]["source"]["a"], 2, "nothing came between");
    assert_eq!(second.id.split('.').next().unwrap(), revision);

    let revision = repository.commit("//- application.yml\nshared: 2\n");
    let (third, _) = events.environment();
    assert!(third.id.starts_with(&revision));
}

/// Many clients send the header with every request.
#[test]
fn a_client_that_waits_for_100_is_answered() {
    let (repository, server) = shop();
    let expect = "Expect: 100-continue\r\n";
    let interim = "http/1.1 100 continue\n";
    for path in ["/cart/default", "/-/events"] {
        let mut events = Events::open(*server, path, expect);
        assert_eq!(events.head(), interim, "{path}");
        let head = events.head();
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
    }
    let mut events = Events::open(*server, "/cart/default", expect);
    assert_eq!(events.head(), interim);
    events.head();
    assert_eq!(events.environment().1["propertySources"][0]["source"]["a"], 1);
    repository.commit("//- cart.yml\na: 2\n");
    assert_eq!(events.environment().1["propertySources"][0]["source"]["a"], 2);
    for path in ["/cart/default", "/cart-default.yml", "/cart/default/main/cart.yml"] {
        let reply = server.get_with(path, &[("Expect", "100-continue"), ("Connection", "close")]);
        assert!(reply.everything().to_lowercase().contains("200 ok"), "{}", reply.everything());
    }
}

#[test]
fn a_stream_resumes_where_it_ended() {
    let (repository, server) = shop();
    let (first, _) = Events::open(*server, "/cart/default", "").after_head().environment();
    // Nothing of its own has changed: the next event is the next change.
    repository.commit("//- order.yml\nb: 2\n");
    let last = format!("Last-Event-ID: {}\r\n", first.id);
    let mut resumed = Events::open(*server, "/cart/default", &last).after_head();
    assert!(!resumed.next().unwrap().retry.is_empty());
    let revision = repository.commit("//- cart.yml\na: 2\n");
    assert!(resumed.environment().0.id.starts_with(&revision));
    // Something has changed since: it is told at once, on another server too.
    let other = Server::start(&repository.uri());
    let (missed, _) = Events::open(*other, "/cart/default", &last).after_head().environment();
    assert!(missed.id.starts_with(&revision));
}

#[test]
fn a_server_that_is_behind_says_so_and_never_tells_something_older() {
    let (_repository, server) = shop();
    let unknown = format!("Last-Event-ID: {}.{}\r\n", "f".repeat(40), "0".repeat(64));
    let head = Events::open(*server, "/cart/default", &unknown).head();
    assert!(head.contains("http/1.1 503"), "{head}");
    assert!(head.contains("retry-after"), "{head}");
}

#[test]
fn a_deleted_branch_ends_its_streams_with_gone() {
    let (repository, server) = shop();
    repository.commit_on("feature", "//- cart.yml\na: 9\n");
    let mut events = Events::open(*server, "/cart/default/feature", "").after_head();
    events.environment();
    let path = repository.path();
    let deleted = std::process::Command::new("git")
        .args(["--git-dir", path.to_str().unwrap(), "update-ref", "-d", "refs/heads/feature"])
        .status();
    assert!(deleted.unwrap().success());
    assert_eq!(events.next().unwrap().name, "gone");
    assert_eq!(events.next(), None);
    server.get("/cart/default/feature").expect(404);
}

#[test]
fn a_bad_file_tells_watchers_nothing_and_its_repair_does() {
    let (repository, server) = shop();
    let mut events = Events::open(*server, "/cart/default", "").after_head();
    events.environment();
    repository.commit("//- cart.yml\na: [\n");
    let revision = repository.commit("//- cart.yml\na: 3\n");
    assert!(events.environment().0.id.starts_with(&revision));
}

#[test]
fn watchers_are_counted_and_those_who_left_are_gone() {
    let (_repository, server) = shop();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut events = Events::open(*server, "/cart/default", "").after_head();
        events.environment();
        streams.push(events);
    }
    assert_eq!(watchers(*server), 20);
    drop(streams);
    eventually("all have left", || watchers(*server) == 0);
}

#[test]
fn a_server_that_stops_ends_its_streams() {
    let (_repository, server) = shop();
    let mut events = Events::open(*server, "/cart/default", "").after_head();
    events.environment();
    drop(server);
    assert_eq!(events.next(), None);
}
