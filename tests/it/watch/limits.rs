//! How many may watch, in all and of one client.

use super::{Events, shop, watchers};
use crate::fixture::{Repository, Server, eventually, settings};
use headwater::settings::{Network, WatchSettings};

fn with(watch: WatchSettings) -> (Repository, Server) {
    let repository = Repository::new(super::SHOP);
    let mut settings = settings(&repository.uri());
    settings.watch = watch;
    let server = Server::with(settings);
    (repository, server)
}

fn open(server: &Server, forwarded: &str) -> Events {
    let headers = match forwarded {
        "" => String::new(),
        forwarded => format!("X-Forwarded-For: {forwarded}\r\n"),
    };
    Events::open(**server, "/cart/default", &headers)
}

#[test]
fn a_server_has_no_more_watchers_than_it_may_and_reads_go_on() {
    let limits = WatchSettings { watchers_max: 3, ..WatchSettings::default() };
    let (_repository, server) = with(limits);
    let tag = server.get("/cart/default").expect(200).header("etag").unwrap().to_owned();
    let mut streams: Vec<_> = (0..3).map(|_| open(&server, "").after_head()).collect();
    eventually("they watch", || watchers(*server) == 3);
    let head = open(&server, "").head();
    assert!(head.contains("http/1.1 503") && head.contains("retry-after: 1"), "{head}");
    // By that header clients know a server that is behind.
    assert!(!head.contains("headwater-revision"), "{head}");
    let poll = [("If-None-Match", tag.as_str()), ("Prefer", "wait=30")];
    let refused = server.get_with("/cart/default", &poll).expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("headwater-revision"), None);
    server.get("/-/events").expect(503);
    server.get("/cart/default").expect(200);
    // Whoever was refused is not counted, and a place that is free is given away.
    assert_eq!(watchers(*server), 3);
    streams.pop();
    eventually("one has left", || watchers(*server) == 2);
    open(&server, "").after_head();
}

#[test]
fn a_client_has_no_more_watchers_than_it_may_whatever_it_says_about_itself() {
    let limits = WatchSettings { watchers_per_client_max: Some(2), ..WatchSettings::default() };
    let (_repository, server) = with(limits);
    let streams = ["192.0.2.1", "192.0.2.2"].map(|client| open(&server, client).after_head());
    let head = open(&server, "192.0.2.3").head();
    assert!(head.contains("http/1.1 429") && head.contains("retry-after: 1"), "{head}");
    assert_eq!(watchers(*server), 2);
    drop(streams);
    eventually("they have left", || watchers(*server) == 0);
    open(&server, "").after_head();
}

#[test]
fn a_trusted_proxy_says_whose_watchers_they_are() {
    let limits = WatchSettings {
        watchers_per_client_max: Some(1),
        trusted_proxies: vec![Network { address: [127, 0, 0, 0].into(), prefix_bits: 8 }],
        ..WatchSettings::default()
    };
    let (_repository, server) = with(limits);
    let _one = open(&server, "192.0.2.1").after_head();
    let _other = open(&server, "192.0.2.2").after_head();
    // What stands before the address that the proxy has seen is what the client made up.
    for forwarded in ["192.0.2.1", "203.0.113.9, 192.0.2.2"] {
        let head = open(&server, forwarded).head();
        assert!(head.contains("http/1.1 429"), "{forwarded}: {head}");
    }
}

#[test]
fn a_hundred_years_are_45_seconds() {
    let (_repository, server) = shop();
    let tag = server.get("/cart/default").expect(200).header("etag").unwrap().to_owned();
    // Answered at once, since something else is there; what was granted is said all the same.
    let poll = [("If-None-Match", "\"else\""), ("Prefer", "wait=3155760000")];
    let reply = server.get_with("/cart/default", &poll).expect(200);
    assert_eq!(reply.header("preference-applied"), Some("wait=45"));
    assert_eq!(reply.header("etag"), Some(tag.as_str()));
}
