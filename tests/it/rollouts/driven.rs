//! A rollout that a real push opens, driven over HTTP to each of its ends.

use headwater::settings::{RolloutDefault, Settings};
use headwater_access::audit::AuditEvent;
use headwater_wire::RolloutEvent;
use serde_json::Value;

use super::{body, command};
use crate::audit::TrailFile;
use crate::fixture::{Address, Hosted, apply, eventually};
use crate::watch::Events;

/// A service, and a plan whose stages last until somebody decides.
const SLOW: &str = "\
//- orders.yml
limit: 1
//- .headwater/rollout.toml
[plan.slow]
stages = [\"1\", \"all\"]
bake = \"1h\"
[[rule]]
plan = \"slow\"
";

const INSTANCES: [&str; 2] = ["web-0", "web-1"];

fn hosted() -> Hosted {
    hosted_with(|_| {})
}

fn hosted_with(change: impl FnOnce(&mut Settings)) -> Hosted {
    let hosted = Hosted::with(SLOW, |settings| {
        settings.rollout.default = RolloutDefault::Auto;
        change(settings);
    });
    for name in INSTANCES {
        apply(*hosted.server, "/orders/dev", name);
    }
    hosted
}

fn list(server: Address) -> Vec<Value> {
    let list = server.get("/-/rollouts").expect(200).json();
    list["rollouts"].as_array().unwrap().clone()
}

fn one(server: Address, id: &str) -> Value {
    server.get(&format!("/-/rollouts/{id}")).expect(200).json()
}

/// Pushes a limit, and returns the id of the rollout once it is in its first stage.
#[track_caller]
fn open(hosted: &Hosted, limit: u64) -> String {
    let tree = hosted.clone(&format!("work-{limit}"));
    tree.commit(&format!("//- orders.yml\nlimit: {limit}\n"));
    tree.push(&["main"]).succeeds();
    let mut id = String::new();
    eventually("the first stage", || {
        let running = list(*hosted.server).into_iter().find(|own| own["state"] == "stage");
        id = running.map_or(String::new(), |own| own["id"].as_str().unwrap().to_owned());
        !id.is_empty()
    });
    id
}

/// The limit that a client without a name receives.
fn served(server: Address) -> String {
    server.get("/orders-dev.properties").expect(200).text().trim().to_owned()
}

/// The limits that the instances receive, in order.
fn received(server: Address) -> Vec<u64> {
    let limit = |name| {
        let reply = server.get_with("/orders-dev.json", &[("Headwater-Instance", name)]);
        reply.expect(200).json()["limit"].as_u64().unwrap()
    };
    let mut limits: Vec<u64> = INSTANCES.into_iter().map(limit).collect();
    limits.sort_unstable();
    limits
}

fn events(server: Address, id: &str) -> Vec<String> {
    let events = one(server, id)["events"].as_array().unwrap().clone();
    events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

/// The kind of the next event of a rollout in a stream of events.
fn next(stream: &mut Events, id: &str) -> String {
    loop {
        let event = stream.next().expect("the stream goes on");
        if event.name == "rollout" {
            let event: RolloutEvent = serde_json::from_str(&event.data).unwrap();
            assert_eq!((event.rollout, event.applications), (id.to_owned(), vec!["orders".into()]));
            return event.event;
        }
    }
}

fn figure(server: Address, name: &str) -> String {
    let text = server.get("/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn a_rollout_is_paused_resumed_and_promoted() {
    let hosted = hosted();
    let server = *hosted.server;
    let mut stream = Events::open(server, "/-/events", "").after_head();
    eventually("it listens", || figure(server, "headwater_watchers") == "1");
    let id = open(&hosted, 2);
    let status = one(server, &id);
    assert_eq!(status["stage"], 1, "{status}");
    assert_eq!((&status["stages"], &status["reach"]), (&2.into(), &"1".into()));
    assert_eq!(status["applications"][0]["application"], "orders");
    assert_eq!(status["applications"][0]["canaries"], 1);
    assert_eq!(received(server), [1, 2]);
    let paused = command(server, &id, &body("pause"), &[]).expect(200).json();
    assert_eq!(paused["rollout"]["state"], "paused");
    assert_eq!(paused["rollout"]["why"], "by pusher: a test");
    let again = command(server, &id, &body("pause"), &[]).expect(409).json();
    assert_eq!(again["detail"], format!("{id} is paused already"));
    assert_eq!(figure(server, "headwater_rollouts{repository=\"main\",state=\"paused\"}"), "1");
    command(server, &id, &body("retry"), &[]).expect(409);
    command(server, &id, &body("resume"), &[]).expect(200);
    let promoted = command(server, &id, &body("promote"), &[]).expect(200).json();
    assert_eq!(promoted["effects"][0]["event"], "promoted", "{promoted}");
    assert_eq!(promoted["rollout"]["stage"], 2, "{promoted}");
    assert_eq!((served(server), received(server)), ("limit: 2".to_owned(), vec![2, 2]));
    // From the last stage, a promotion leads to the end.
    let done = command(server, &id, &body("promote"), &[]).expect(200).json();
    assert_eq!(done["rollout"]["state"], "done", "{done}");
    let expected =
        ["opened", "stage", "paused", "resumed", "promoted", "promoted", "done"].map(str::to_owned);
    assert_eq!(events(server, &id), expected);
    let streamed: Vec<String> = expected.iter().map(|_| next(&mut stream, &id)).collect();
    assert_eq!(streamed, expected);
    let over = command(server, &id, &body("abort"), &[]).expect(409).json();
    assert!(over["detail"].as_str().unwrap().contains("runs or is withheld"), "{over}");
    assert_eq!(figure(server, "headwater_rollouts_ended_total{outcome=\"done\"}"), "1");
}

#[test]
fn a_state_that_cannot_be_written_declines_commands_and_is_reported() {
    let hosted = hosted();
    let server = *hosted.server;
    let id = open(&hosted, 2);
    // A directory takes the place of the new file, also for root.
    let blocked = hosted.repository().path.join("headwater-rollouts.lock");
    std::fs::create_dir(&blocked).unwrap();
    let reply = command(server, &id, &body("abort"), &[]).expect(503);
    assert!(reply.text().contains("nothing was done"), "{}", reply.text());
    assert_eq!(one(server, &id)["state"], "stage");
    assert_eq!(received(server), [1, 2]);
    let reported = || {
        let problems = server.get("/-/problems").expect(200).text();
        problems.contains("\"kind\":\"rollouts-unwritable\"")
    };
    assert!(reported());
    let faults = "headwater_faults{kind=\"rollouts-unwritable\"}";
    assert_eq!(figure(server, faults), "1");
    let health = server.get("/actuator/health").expect(200).text();
    assert!(health.contains("rollouts-unwritable"), "{health}");
    let place = crate::fixture::directory("");
    let status = crate::fixture::command(place.path())
        .args(["status", "--url", &format!("http://{}", server.0)])
        .output()
        .unwrap();
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("main: the state of rollouts cannot be written: "), "{text}");
    std::fs::remove_dir(&blocked).unwrap();
    command(server, &id, &body("abort"), &[]).expect(200);
    assert!(!reported());
    assert_eq!(received(server), [1, 1]);
}

#[test]
fn steps_and_commands_are_in_the_trail_and_each_of_them_once() {
    let trail = TrailFile::new();
    let hosted = hosted_with(|settings| settings.audit.file = Some(trail.path()));
    let server = *hosted.server;
    let id = open(&hosted, 2);
    command(server, &id, &body("promote"), &[]).expect(200);
    command(server, &id, &body("promote"), &[]).expect(200);
    trail.wait_for("the end", |line| line.outcome.as_deref() == Some("done"));
    let lines = trail.of(AuditEvent::Rollout);
    let told: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line.principal.as_deref().unwrap(), line.outcome.as_deref().unwrap()))
        .collect();
    let expected = [
        ("rollout", "opened"),
        ("rollout", "stage"),
        ("pusher", "accepted"),
        ("pusher", "accepted"),
        ("rollout", "done"),
    ];
    assert_eq!(told, expected);
    for line in &lines {
        assert!(line.details.contains(&format!("rollout={id}")), "{line:?}");
        assert_eq!(line.application.as_deref(), Some("orders"), "{line:?}");
    }
    trail.verify();
}

#[test]
fn a_rollout_is_aborted_and_begins_again() {
    let hosted = hosted();
    let server = *hosted.server;
    let id = open(&hosted, 3);
    let aborted = command(server, &id, &body("abort"), &[]).expect(200).json();
    assert_eq!(aborted["rollout"]["state"], "withheld", "{aborted}");
    assert_eq!(aborted["rollout"]["why"], "aborted by pusher: a test");
    assert_eq!((served(server), received(server)), ("limit: 1".to_owned(), vec![1, 1]));
    // Withheld content is told apart from content that a problem holds back.
    let problems = server.get("/-/problems").expect(200).json();
    let problem = &problems["problems"][0];
    assert_eq!((&problem["kind"], &problem["application"]), (&"withheld".into(), &"orders".into()));
    let reason = problem["reason"].as_str().unwrap();
    assert!(reason.contains("because aborted by pusher: a test"), "{reason}");
    assert!(problem["since"].is_string(), "{problem}");
    let health = server.get("/actuator/health").expect(200).json();
    let details = &health["components"]["configServer"]["details"];
    assert_eq!((&details["withheld"], &details["heldBack"]), (&1.into(), &0.into()), "{details}");
    assert_eq!(figure(server, "headwater_rollouts{repository=\"main\",state=\"withheld\"}"), "1");
    assert_eq!(figure(server, "headwater_held_back"), "0");
    assert_eq!(figure(server, "headwater_rollouts_ended_total{outcome=\"withheld\"}"), "1");
    let pause = command(server, &id, &body("pause"), &[]).expect(409).json();
    assert!(pause["detail"].as_str().unwrap().contains("because it is withheld"), "{pause}");
    let retried = command(server, &id, &body("retry"), &[]).expect(200).json();
    let next = retried["rollout"]["id"].as_str().unwrap().to_owned();
    assert_ne!(next, id);
    assert_eq!(retried["rollout"]["because"], "a test", "{retried}");
    eventually("the first stage", || one(server, &next)["state"] == "stage");
    assert_eq!(received(server), [1, 3]);
    command(server, &next, &body("abort"), &[]).expect(200);
    // Withheld content can be served to everyone.
    let released = command(server, &next, &body("promote"), &[]).expect(200).json();
    assert_eq!(released["rollout"]["state"], "released", "{released}");
    assert_eq!((served(server), received(server)), ("limit: 3".to_owned(), vec![3, 3]));
    assert_eq!(server.get("/-/problems").expect(200).json()["problems"], serde_json::json!([]));
}
