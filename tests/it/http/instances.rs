//! `/-/instances`: what services say that they run with.

use std::io::Write;

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
    assert_eq!(listed, serde_json::json!({"instances": [], "left_out": 0}));
}
