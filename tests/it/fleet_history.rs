//! The history of instances: what ran where at a time in the past.

use std::path::Path;

use headwater::settings::Settings;
use serde_json::Value;

use crate::fixture::{Address, Server, command, directory, eventually, hosted_settings};

const SEED: &str = "//- orders.yml\nlimit: 1\n";

fn serve(data: &Path, change: impl FnOnce(&mut Settings)) -> Server {
    let seed = directory(SEED);
    let mut settings = hosted_settings(data, seed.path());
    change(&mut settings);
    Server::with(settings)
}

/// Requests an environment as an instance that acknowledges a content with this digit.
pub(crate) fn report(server: Address, name: &str, digit: &str, outcome: &str) {
    let applied = format!("{}.{} {outcome}", digit.repeat(40), digit.repeat(64));
    let headers = [("Headwater-Instance", name), ("Headwater-Applied", &*applied)];
    server.get_with("/orders/prod", &headers).expect(200);
}

fn history(server: Address, name: &str) -> Vec<Value> {
    let path = format!("/-/fleet/history?instance={name}");
    server.get(&path).expect(200).json()["records"].as_array().unwrap().clone()
}

/// Waits for a record of a change, and returns its time.
#[track_caller]
pub(crate) fn recorded(server: Address, name: &str, change: &str) -> String {
    let find = || history(server, name).into_iter().find(|record| record["change"] == change);
    eventually(&format!("{change} is recorded"), || find().is_some());
    find().unwrap()["at"].as_str().unwrap().to_owned()
}

pub(crate) fn at(server: Address, time: &str) -> Value {
    server.get(&format!("/-/fleet?at={time}")).expect(200).json()
}

#[test]
fn a_past_time_shows_what_ran_then_also_after_a_restart() {
    let place = directory("");
    let data = place.path().join("data");
    let server = serve(&data, |_| {});
    report(*server, "web-1", "1", "ok");
    let applied = recorded(*server, "web-1", "applied");
    report(*server, "web-1", "2", "rejected");
    report(*server, "web-2", "1", "ok");
    let rejected = recorded(*server, "web-1", "rejected");
    recorded(*server, "web-2", "applied");
    let outcomes = |time: &str, server: Address| {
        let found = at(server, time);
        let records = found["records"].as_array().unwrap().iter();
        let shown = records.map(|it| format!("{} {}", it["instance"], it["outcome"]));
        shown.map(|it| it.replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&applied, *server), ["web-1 ok"]);
    assert_eq!(outcomes(&rejected, *server)[0], "web-1 rejected");
    let before = at(*server, "2020-01-01T00:00:00Z");
    let failure = before["replicas"][0]["failure"].as_str().unwrap();
    assert_eq!(failure, "its history does not reach back to this time");
    drop(server);
    let server = serve(&data, |_| {});
    assert_eq!(outcomes(&applied, *server), ["web-1 ok"]);
    // What was known before the start is not current.
    report(*server, "web-3", "1", "ok");
    let restarted = recorded(*server, "web-3", "applied");
    assert_eq!(outcomes(&restarted, *server), ["web-3 ok"]);

    let place = directory("");
    let mut command = command(place.path());
    let url = format!("http://{}", server.0);
    command.args(["fleet", "orders", "--at", &applied]).env("HEADWATER_URL", url);
    let output = command.output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.contains("web-1") && table.contains("1111111111"), "{table}");
}

#[test]
fn a_server_that_records_nothing_says_so() {
    let place = directory("");
    let data = place.path().join("data");
    let server = serve(&data, |settings| settings.fleet.history_days = 0);
    report(*server, "web-1", "1", "ok");
    let found = at(*server, "2026-01-01T00:00:00Z");
    let failure = found["replicas"][0]["failure"].as_str().unwrap();
    assert!(failure.contains("fleet.history_days is 0"), "{failure}");
    assert!(!data.join("history").exists());
}
