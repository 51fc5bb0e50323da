//! `headwater status` as a person and as a script see it.

use std::process::Output;

use serde_json::{Value, json};

use super::{Meeting, one, sees, shop};
use crate::fixture::{
    Address, Cluster, Repository, Server, command, directory, eventually, settings,
};

fn status(servers: &str, more: &[&str]) -> Output {
    let place = directory("");
    let mut command = command(place.path());
    command.arg("status").args(more).env("HEADWATER_URL", servers);
    command.output().unwrap()
}

fn url(server: Address) -> String {
    format!("http://{}", server.0)
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}{errors}", text(output));
    assert!(errors.is_empty() || code == 2, "{errors}");
    text(output)
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The lines, with one space between two columns and the age, which nobody knows, as a dash.
fn columns(table: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut cells: Vec<&str> = line.split_whitespace().collect();
        cells[4] = if cells[4] == "AGE" { "AGE" } else { "-" };
        cells.join(" ")
    };
    table.lines().take_while(|line| !line.is_empty()).map(line).collect()
}

#[test]
fn people_see_a_table_and_what_is_wrong() {
    let meeting = Meeting::new();
    let [(place, here), (_other, there)] = [shop(), shop()];
    let server = meeting.replica("one", &here);
    let second = meeting.child("two", &there);
    for server in [*server, *second] {
        server.get("/orders/dev").expect(200);
    }
    sees(*server, &[("one", "live"), ("two", "live")]);
    eventually("what both serve is known", || {
        ["one", "two"].iter().all(|name| one(*server, name)["labels"][0].is_object())
    });
    let revision = one(*server, "one")["labels"][0]["revision"].as_str().unwrap()[..10].to_owned();
    let version = env!("CARGO_PKG_VERSION");
    // The first one that answers is asked.
    let servers = format!("http://127.0.0.1:1,{}", url(*server));
    let well = said(&status(&servers, &[]), 0);
    assert_eq!(
        columns(&well),
        [
            "REPLICA STATE REVISION LAG AGE VERSION".to_owned(),
            format!("one live {revision} 0s - {version}"),
            format!("two live {revision} 0s - {version}"),
        ]
    );
    assert_eq!(well.lines().count(), 3, "{well}");

    std::fs::write(place.path().join("orders.yml"), "limit: [\n").unwrap();
    eventually("it is held back", || {
        server.get("/-/problems").json()["problems"].as_array().is_some_and(|it| it.len() == 1)
    });
    drop(second);
    sees(*server, &[("one", "live"), ("two", "gone")]);
    let bad = said(&status(&url(*server), &[]), 1);
    let (table, findings) = bad.split_once("\n\n").unwrap();
    assert_eq!(columns(table)[2], format!("two gone {revision} - - {version}"));
    let findings: Vec<&str> = findings.lines().collect();
    assert_eq!(findings.len(), 2, "{bad}");
    assert!(findings[0].starts_with("two is gone, last contact "), "{bad}");
    assert!(findings[1].starts_with("orders/dev is held back: orders.yml:"), "{bad}");

    let told: Value =
        serde_json::from_str(&said(&status(&url(*server), &["--output", "json"]), 1)).unwrap();
    assert_eq!(told["findings"].as_array().unwrap().len(), 2);
    assert_eq!(told["replicas"][1]["state"], "gone");
    assert_eq!(told["problems"][0]["application"], "orders");
}

#[test]
fn what_is_wrong_with_a_source_is_told_and_one_that_is_away_is_no_error() {
    let cluster = Cluster::start(1);
    cluster.put("shop/v1/files/main/orders.yml", b"limit: 1\n");
    cluster.put("shop/v1/refs/a//b", b"nothing of ours");
    let server = Server::start(&cluster.uri("shop"));
    eventually("the key is found", || {
        let problems = server.get("/-/problems").expect(200).json();
        problems["problems"].as_array().is_some_and(|it| it.len() == 1)
    });
    let bad = said(&status(&url(*server), &[]), 1);
    let (_, findings) = bad.split_once("\n\n").unwrap();
    assert!(findings.starts_with("etcd:shop: ") && findings.lines().count() == 1, "{bad}");
    cluster.kill(0);
    eventually("it is known to be away", || {
        let problems = server.get("/-/problems").expect(200).json();
        problems["problems"].as_array().is_some_and(|it| it.len() == 2)
    });
    said(&status(&url(*server), &[]), 1);
}

#[test]
fn one_server_alone_is_well() {
    let repository = Repository::new("//- orders.yml\nlimit: 1\n");
    let server = Server::start(&repository.uri());
    let table = said(&status(&url(*server), &[]), 0);
    assert_eq!(columns(&table).len(), 2, "{table}");
    let told = said(&status(&url(*server), &["--output", "json"]), 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["findings"], &told["share"]), (&json!([]), &Value::Null));
}

#[test]
fn who_cannot_be_asked_is_said() {
    let repository = Repository::new("//- orders.yml\nlimit: 1\n");
    let place = directory("//- token\nsesame\n");
    let mut settings = settings(&repository.uri());
    settings.token_file = Some(place.path().join("token"));
    let server = Server::with(settings);
    let refused = status(&url(*server), &[]);
    said(&refused, 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"));
    let token = place.path().join("token").display().to_string();
    said(&status(&url(*server), &["--token-file", &token]), 0);
    let nobody = status("http://127.0.0.1:1", &[]);
    said(&nobody, 2);
    assert_eq!(String::from_utf8_lossy(&nobody.stderr).lines().count(), 1);
    // It is a server, and below that path it has no such thing.
    let elsewhere = status(&format!("{}/nowhere", url(*server)), &["--token-file", &token]);
    said(&elsewhere, 2);
}
