//! `/-/fleet` and `headwater fleet`: the instances of all replicas together.

use std::process::Output;

use serde_json::{Value, json};

use super::{Meeting, sees, shop};
use crate::fixture::{Address, Server, command, directory, settings};

/// Requests an environment as an instance that reports an outcome for the present content.
fn report(server: Address, name: &str, outcome: &str, reason: Option<&str>) {
    let answer = server.get("/orders/prod").expect(200);
    let [etag, revision] = ["etag", "headwater-revision"].map(|name| answer.header(name).unwrap());
    let digest = etag.strip_prefix("W/\"").unwrap().split('.').next().unwrap();
    let applied = format!("{revision}.{digest} {outcome}");
    let mut headers = vec![("Headwater-Instance", name), ("Headwater-Applied", &*applied)];
    headers.extend(reason.map(|reason| ("Headwater-Reason", reason)));
    server.get_with("/orders/prod", &headers).expect(200);
}

fn fleet(server: Address, query: &str) -> Value {
    server.get(&format!("/-/fleet{query}")).expect(200).json()
}

fn counts(environment: &Value) -> [u64; 5] {
    ["instances", "applied", "rejected", "behind", "unreported"]
        .map(|member| environment[member].as_u64().unwrap())
}

fn run(servers: &str, arguments: &[&str], code: i32) -> String {
    let place = directory("");
    let mut command = command(place.path());
    command.arg("fleet").args(arguments).env("HEADWATER_URL", servers);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (text, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{text}{errors}");
    text
}

#[test]
fn instances_of_all_replicas_are_counted_once() {
    let meeting = Meeting::new();
    let (_place, uri) = shop();
    let [one, two] = ["one", "two"].map(|name| meeting.replica(name, &uri));
    for server in [*one, *two] {
        sees(server, &[("one", "live"), ("two", "live")]);
    }
    report(*one, "web-1", "ok", None);
    report(*one, "web-2", "ok", None);
    // It was connected to one replica and is now at the other one.
    report(*two, "web-2", "rejected", Some("type limit"));
    report(*two, "web-3", "ok", None);
    two.get_with("/orders/prod", &[("Headwater-Instance", "web-4")]).expect(200);
    let old = format!("{}.{} ok", "1".repeat(40), "0".repeat(64));
    let headers = [("Headwater-Instance", "web-5"), ("Headwater-Applied", &*old)];
    two.get_with("/orders/prod", &headers).expect(200);
    for server in [*one, *two] {
        let found = fleet(server, "");
        let [environment] = &**found["environments"].as_array().unwrap() else { panic!("{found}") };
        assert_eq!(counts(environment), [5, 2, 1, 1, 1], "{found}");
        assert_eq!(environment["rejections"][0]["instance"], "web-2");
        assert_eq!(environment["rejections"][0]["reason"], "type limit");
        let failures: Vec<_> = found["replicas"].as_array().unwrap().iter().collect();
        assert_eq!(failures.len(), 2);
        assert!(failures.iter().all(|replica| replica["failure"].is_null()), "{found}");
        assert_eq!(found["instances"], json!([]));
    }
    // One replica alone, and one instance.
    let local = fleet(*one, "?local");
    assert_eq!(counts(&local["environments"][0]), [2, 2, 0, 0, 0], "{local}");
    assert_eq!(local["replicas"].as_array().unwrap().len(), 1);
    let named = fleet(*one, "?instance=web-2");
    assert_eq!(named["instances"][0]["state"], "rejected");
    assert_eq!(named["instances"][0]["replica"], "two");
    assert_eq!(named["instances"].as_array().unwrap().len(), 1);
    assert_eq!(fleet(*one, "?application=cart")["environments"], json!([]));

    let urls = format!("http://{}", one.0);
    let table = run(&urls, &["orders"], 1);
    let revision = one.get("/orders/prod").header("headwater-revision").unwrap()[..10].to_owned();
    let line = format!(
        "orders/prod: 2 of 5 run {revision}, 1 rejected it: type limit (web-2), \
         1 behind, 1 unreported"
    );
    assert!(table.lines().any(|known| known == line), "{table}");
    let shown = run(&urls, &["orders", "--instance", "web-2"], 1);
    assert!(shown.contains("rejected") && shown.contains("type limit"), "{shown}");
    let document: Value = serde_json::from_str(&run(&urls, &["--output", "json"], 1)).unwrap();
    assert_eq!(document["environments"][0]["rejected"], 1);
}

#[test]
fn a_replica_that_does_not_answer_is_named() {
    let meeting = Meeting::new();
    let (_place, uri) = shop();
    let one = meeting.replica("one", &uri);
    // Its address leads to the first replica, as with a load balancer.
    let mut wrong = super::replica("two", &uri, &meeting.uri());
    wrong.share.address = Some(format!("http://{}", one.0));
    let two = Server::with(wrong);
    let third = meeting.child("three", &uri);
    sees(*one, &[("one", "live"), ("three", "live"), ("two", "live")]);
    report(*one, "web-1", "ok", None);
    report(*two, "web-2", "ok", None);
    drop(third);
    let found = fleet(*one, "");
    assert_eq!(counts(&found["environments"][0]), [1, 1, 0, 0, 0], "{found}");
    let failure = |name: &str| {
        let replicas = found["replicas"].as_array().unwrap();
        let replica = replicas.iter().find(|replica| replica["name"] == name);
        replica.unwrap_or_else(|| panic!("{found}"))["failure"].clone()
    };
    assert_eq!(failure("one"), Value::Null);
    let wrong = failure("two").as_str().unwrap().to_owned();
    assert!(wrong.ends_with("leads to the replica one"), "{wrong}");
    assert!(failure("three").is_string());
    // Every known instance runs the present content, and still the command does not say that all do.
    let text = run(&format!("http://{}", one.0), &[], 1);
    assert!(text.contains("the instances of replica two are missing: "), "{text}");
}

#[test]
fn a_converged_fleet_ends_with_success_and_pages_join() {
    let (place, uri) = shop();
    std::fs::write(place.path().join("cart.yml"), "a: 1\n").unwrap();
    let server = Server::with(settings(&uri));
    report(*server, "web-1", "ok", None);
    server.get_with("/cart/prod", &[("Headwater-Instance", "cart-1")]).expect(200);
    let first = fleet(*server, "?limit=1");
    assert_eq!(
        (&first["count"], &first["environments"][0]["application"]),
        (&json!(2), &"cart".into())
    );
    let next = first["next"].as_str().unwrap();
    let second = fleet(*server, &format!("?limit=1&after={next}"));
    assert_eq!(
        (&second["next"], &second["environments"][0]["application"]),
        (&Value::Null, &"orders".into())
    );
    let text = run(&format!("http://{}", server.0), &[], 0);
    assert!(text.contains("orders/prod: 1 of 1 run ") && text.contains("1 unreported"), "{text}");
    let unknown = run(&format!("http://{}", server.0), &["nope"], 1);
    assert_eq!(unknown, "no instance of nope has reported\n");
    for path in ["/-/instances?after=zz", "/-/fleet?local&after=zz"] {
        server.get(path).expect(400);
    }
    run("http://127.0.0.1:1", &[], 2);
}
