//! `/-/instances`: what services say that they run with.

use std::io::{Read, Write};

use serde_json::Value;

use super::shop;
use crate::fixture::{Address, Repository, Server, eventually, settings};

const NAME: &str = "Headwater-Instance";
const APPLIED: &str = "Headwater-Applied";

fn instances(server: Address) -> Vec<Value> {
    server.get("/-/instances").expect(200).json()["instances"].as_array().unwrap().clone()
}

#[test]
fn an_instance_says_who_it_is_and_what_it_applied() {
    let (_repository, server) = shop();
    // Asked for before, so that the shortest way could answer.
    for _ in 0..3 {
        server.get("/orders/prod").expect(200);
    }
    assert_eq!(instances(*server), Vec::<Value>::new());
    let first = server.get_with("/orders/prod", &[(NAME, "node-1:8/a")]).expect(200);
    let known = &instances(*server)[0];
    assert_eq!((&known["instance"], &known["outcome"]), (&"node-1:8/a".into(), &Value::Null));
    let (etag, revision) =
        ["etag", "headwater-revision"].map(|name| first.header(name).unwrap()).into();
    let digest = etag.strip_prefix("W/\"").unwrap().split('.').next().unwrap();
    for (method, outcome) in [("GET", "ok"), ("HEAD", "rejected"), ("HEAD", "ok")] {
        let told = format!("{revision}.{digest} {outcome}");
        let headers = [(NAME, "node-1:8/a"), (APPLIED, told.as_str()), ("If-None-Match", etag)];
        server.ask(method, "/orders/prod", &headers).expect(304);
        let listed = instances(*server);
        assert_eq!(listed.len(), 1);
        for (member, value) in [
            ("application", "orders"),
            ("profiles", "prod"),
            ("revision", revision),
            ("digest", digest),
            ("outcome", outcome),
        ] {
            assert_eq!(listed[0][member], value, "{member}");
        }
        assert_eq!((&listed[0]["label"], &listed[0]["connected"]), (&Value::Null, &false.into()));
    }
    server.get_with("/cart/prod/main", &[(NAME, "node-1:8/a")]).expect(200);
    let labels: Vec<_> = instances(*server).iter().map(|known| known["label"].clone()).collect();
    assert_eq!(labels, [Value::from("main"), Value::Null]);
}

#[test]
fn an_instance_with_a_stream_or_a_long_poll_is_connected() {
    let (_repository, server) = shop();
    let etag = server.get("/orders/prod").expect(200).header("etag").unwrap().to_owned();
    for wish in [
        "Accept: text/event-stream\r\n".to_owned(),
        format!("Prefer: wait=40\r\nIf-None-Match: {etag}\r\n"),
    ] {
        let mut stream = server.connect();
        let head = format!("GET /orders/prod HTTP/1.1\r\nHost: x\r\n{NAME}: a\r\n{wish}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let is_connected = || instances(*server).iter().any(|known| known["connected"] == true);
        eventually("it is connected", is_connected);
        drop(stream);
        eventually("it is not any more", || !is_connected());
    }
    assert_eq!(instances(*server).len(), 1);
}

#[test]
fn who_is_refused_is_not_listed_and_nobody_is_refused_for_a_name() {
    let repository = Repository::new(super::SHOP);
    let place = tempfile::tempdir().unwrap();
    let token_file = place.path().join("token");
    std::fs::write(&token_file, "sesame\n").unwrap();
    let server = Server::with(headwater::settings::Settings {
        token_file: Some(token_file),
        accept_empty: false,
        ..settings(&repository.uri())
    });
    let token = ("Authorization", "Bearer sesame");
    server.get("/-/instances").expect(401);
    server.get_with("/orders/prod", &[(NAME, "a")]).expect(401);
    server.get_with("/orders/prod/nowhere", &[token, (NAME, "a")]).expect(404);
    for name in ["a b", "<script>", &"a".repeat(200)] {
        server.get_with("/orders/prod", &[token, (NAME, name)]).expect(200);
    }
    let listed = server.get_with("/-/instances", &[token]).expect(200).json();
    assert_eq!((&listed["instances"], &listed["left_out"]), (&serde_json::json!([]), &0.into()));
}

/// Requests an environment as an instance, with further headers.
fn report(server: Address, path: &str, headers: &[(&str, &str)]) {
    server.get_with(path, headers).expect(200);
}

#[test]
fn an_instance_shows_its_incarnation_attributes_health_and_restarts() {
    let (_repository, server) = shop();
    let digest = "0".repeat(64);
    let rejected = format!("{}.{digest} rejected", "1".repeat(40));
    let first = [
        (NAME, "web-3"),
        ("Headwater-Incarnation", "web-3-17-00c0ffee"),
        ("Headwater-Attributes", "zone=eu-1, version=1.4"),
        (APPLIED, &rejected),
        ("Headwater-Health", "down"),
        ("Headwater-Reason", "type catalogue.page-size"),
    ];
    report(*server, "/orders/prod", &first);
    let shown = instances(*server).remove(0);
    for (member, value) in [
        ("incarnation", Value::from("web-3-17-00c0ffee")),
        ("attributes", serde_json::json!({"version": "1.4", "zone": "eu-1"})),
        ("health", "down".into()),
        ("down_reports", 1.into()),
        ("reason", "type catalogue.page-size".into()),
        ("witness", false.into()),
        ("restarts", 0.into()),
    ] {
        assert_eq!(shown[member], value, "{member}");
    }
    assert!(shown["disconnected_since"].is_string());
    // The same instance with another incarnation has restarted, and has reported nothing yet.
    report(*server, "/orders/prod", &[(NAME, "web-3"), ("Headwater-Incarnation", "web-3-18-2")]);
    let restarted = instances(*server);
    assert_eq!(restarted.len(), 1);
    assert_eq!((&restarted[0]["restarts"], &restarted[0]["outcome"]), (&1.into(), &Value::Null));
    assert_eq!((&restarted[0]["health"], &restarted[0]["reason"]), (&Value::Null, &Value::Null));
    let applied = format!("{}.{digest} ok", "1".repeat(40));
    report(*server, "/orders/prod", &[(NAME, "web-3"), (APPLIED, &applied)]);
    assert_eq!(instances(*server)[0]["witness"], true);
}

#[test]
fn invalid_reports_are_ignored_and_do_no_harm() {
    let (_repository, server) = shop();
    report(
        *server,
        "/orders/prod",
        &[
            (NAME, "a"),
            ("Headwater-Incarnation", "a b"),
            ("Headwater-Attributes", "Zone=eu"),
            ("Headwater-Health", "ill"),
            ("Headwater-Reason", "type \u{e4}"),
        ],
    );
    let shown = instances(*server).remove(0);
    for member in ["incarnation", "health", "reason"] {
        assert_eq!(shown[member], Value::Null, "{member}");
    }
    assert_eq!(shown["attributes"], serde_json::json!({}));
    // A name of a megabyte, and names with control characters, which HTTP itself rejects.
    let names =
        ["n".repeat(1 << 20), "a\u{1b}[2J".to_owned(), "a\0".to_owned(), "a\u{7f}".to_owned()];
    for name in names {
        let mut connection = server.connect();
        let head = format!("GET /orders/prod HTTP/1.1\r\nHost: x\r\n{NAME}: {name}\r\n\r\n");
        // The server may close the connection before it has read everything.
        let _ = connection.write_all(head.as_bytes());
        let mut status = [0; 12];
        if connection.read_exact(&mut status).is_ok() {
            let status = String::from_utf8_lossy(&status).into_owned();
            assert!(!status.ends_with('5'), "{status}");
        }
        drop(connection);
        assert_eq!(instances(*server).len(), 1);
        server.get("/orders/prod").expect(200);
    }
}

#[test]
fn the_list_is_filtered_and_paged() {
    let (_repository, server) = shop();
    for (path, name) in [
        ("/orders/prod", "b"),
        ("/orders/prod", "a"),
        ("/orders/dev", "a"),
        ("/orders/prod/main", "a"),
        ("/cart/prod", "c"),
    ] {
        report(*server, path, &[(NAME, name)]);
    }
    let names = |query: &str| {
        let list = server.get(&format!("/-/instances{query}")).expect(200).json();
        let shown = list["instances"].as_array().unwrap().iter();
        let shown = shown.map(|it| {
            let text = |member: &str| it[member].as_str().unwrap_or("-").to_owned();
            format!(
                "{}/{}/{} {}",
                text("application"),
                text("profiles"),
                text("label"),
                text("instance")
            )
        });
        (shown.collect::<Vec<_>>(), list["count"].as_u64().unwrap(), list["next"].clone())
    };
    let all = [
        "cart/prod/- c",
        "orders/dev/- a",
        "orders/prod/- a",
        "orders/prod/- b",
        "orders/prod/main a",
    ];
    assert_eq!(names("").0, all);
    assert_eq!(names("?application=cart").0, all[..1]);
    assert_eq!(names("?application=orders&profiles=prod&label=").0, all[2..4]);
    assert_eq!(names("?label=main").0, all[4..]);
    assert_eq!(names("?instance=b").0, all[3..4]);
    assert_eq!(names("?application=none"), (vec![], 0, Value::Null));
    // Each page continues after the one before, also when an instance of that page is gone by then.
    let (mut shown, mut after) = (Vec::new(), String::new());
    loop {
        let (page, count, next) = names(&format!("?limit=2{after}"));
        assert!(page.len() <= 2 && count == 5);
        shown.extend(page);
        let Some(next) = next.as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(shown, all);
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?after=%zz", "?application=%ff"] {
        server.get(&format!("/-/instances{query}")).expect(400);
    }
}
