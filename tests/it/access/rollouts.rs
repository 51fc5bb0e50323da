//! Rollouts under a policy: a caller sees the applications that it may read, and commands what it has the right for.

use std::sync::Arc;

use headwater_access::audit::AuditEvent;
use headwater_rollout::event::EventKind;
use headwater_rollout::verdict::Fault;
use serde_json::json;

use super::{PolicyFile, SHOP, Stream, bearer, get, policy};
use crate::audit::TrailFile;
use crate::fixture::{Address, Reply, Repository, Server, settings};
use crate::rollouts::{Rollouts, body, command, notice, running};

/// `lister` reads and commands `orders`, `builder` commands both applications and reads none.
const RULES: &str = r#"
[[allow]]
who = ["lister"]
may = ["read", "rollout"]
application = ["orders"]
profile = ["*"]
[[allow]]
who = ["lister"]
may = ["list"]
[[allow]]
who = ["builder"]
may = ["rollout"]
application = ["orders", "billing"]
[[allow]]
who = ["orders"]
may = ["read"]
application = ["orders"]
profile = ["*"]
[[allow]]
who = ["ops"]
may = ["read", "rollout"]
application = ["*"]
profile = ["*"]
label = ["*"]
[[allow]]
who = ["ops"]
may = ["list", "overview", "audit"]
"#;

const ORDERS: &str = "r-0000000001";
const BILLING: &str = "r-0000000002";
const BOTH: &str = "r-0000000003";
const EVERYONE: &str = "r-0000000004";
const UNKNOWN: &str = "r-0000000005";

struct Commanded {
    rollouts: Arc<Rollouts>,
    server: Server,
    store: Arc<headwater::store::Store>,
    _repository: Repository,
    _policy: PolicyFile,
}

impl Commanded {
    fn new(change: impl FnOnce(&mut headwater::settings::Settings)) -> Self {
        let mut other_branch = running("r-0000000006", &["orders"]);
        other_branch.branch = "secret".into();
        other_branch.is_head = false;
        let rollouts = Rollouts::of(vec![
            running(ORDERS, &["orders"]),
            running(BILLING, &["billing"]),
            running(BOTH, &["billing", "orders"]),
            running(EVERYONE, &["*"]),
            other_branch,
        ]);
        let (repository, file) = (Repository::new(SHOP), PolicyFile::new(&policy(RULES)));
        let mut settings = settings(&repository.uri());
        settings.sources[0].default_label = Some("main".to_owned());
        settings.access.policy_file = Some(file.path());
        change(&mut settings);
        let control = Arc::clone(&rollouts);
        let (server, store) = Server::changed(settings, |http| http.rollouts = Some(control));
        Self { rollouts, server, store, _repository: repository, _policy: file }
    }
}

fn ids(server: Address, principal: &str) -> Vec<String> {
    let list = get(server, "/-/rollouts", principal).expect(200).json();
    let rollouts = list["rollouts"].as_array().unwrap().iter();
    rollouts.map(|own| own["id"].as_str().unwrap().to_owned()).collect()
}

fn one(server: Address, id: &str, principal: &str) -> Reply {
    get(server, &format!("/-/rollouts/{id}"), principal)
}

fn order(server: Address, id: &str, principal: &str) -> Reply {
    command(server, id, &body("pause"), &[("Authorization", &bearer(principal, 1))])
}

#[test]
fn a_rule_for_the_default_label_shows_the_rollouts_of_the_head() {
    let commanded = Commanded::new(|settings| settings.sources[0].default_label = None);
    assert_eq!(ids(*commanded.server, "lister"), [ORDERS, BOTH, EVERYONE]);
}

#[test]
fn a_caller_sees_the_applications_that_it_may_read() {
    let commanded = Commanded::new(|_| {});
    let server = *commanded.server;
    assert_eq!(ids(server, "ops").len(), 5);
    // The rollout of another branch, whose label it may not read, is hidden too.
    assert_eq!(ids(server, "lister"), [ORDERS, BOTH, EVERYONE]);
    let whole = one(server, BOTH, "ops").expect(200);
    assert!(whole.text().contains("billing-7") && whole.text().contains("ada"));
    let part = one(server, BOTH, "lister").expect(200);
    for hidden in ["billing", "ada"] {
        assert!(!part.text().contains(hidden), "{hidden}: {}", part.text());
    }
    let part = part.json();
    assert_eq!(part["applications"].as_array().unwrap().len(), 1);
    assert_eq!((&part["instances"], &part["ok"]), (&json!(3), &json!(1)));
    assert_eq!(part["events"][0]["text"], "opened for orders with plan careful");
    assert_eq!(part["events"][1]["text"], "an instance has restarted. The bake begins again");
    // Every other application counts as hidden.
    let everyone = one(server, EVERYONE, "lister").expect(200).json();
    assert_eq!(everyone["applications"][0]["application"], "*");
    assert_eq!(everyone["instances"], json!(null));
    assert_eq!(everyone["by"], "");
    let own = one(server, ORDERS, "lister").expect(200).json();
    assert_eq!((&own["by"], &own["instances"]), (&json!("ada"), &json!(3)));
    let [hidden, unknown] = [BILLING, UNKNOWN].map(|id| one(server, id, "lister").expect(404));
    assert_eq!((hidden.body, hidden.headers.len()), (unknown.body, unknown.headers.len()));
    // A caller without the right to lists learns nothing of the path.
    for path in ["/-/rollouts", "/-/rollouts/r-0000000001"] {
        let reply = get(server, path, "orders").expect(404);
        let absent = get(server, "/-/no-such-path", "orders").expect(404);
        assert_eq!(reply.header("content-type"), absent.header("content-type"));
        server.get(path).expect(401);
    }
}

#[test]
fn a_command_needs_the_right_for_every_application() {
    let trail = TrailFile::new();
    let commanded = Commanded::new(|settings| settings.audit.file = Some(trail.path()));
    let server = *commanded.server;
    let answer = order(server, ORDERS, "lister").expect(200).json();
    assert_eq!(answer["rollout"]["why"], "by lister: a test");
    // It sees a part of the rollout, and may not command it.
    let unknown = order(server, UNKNOWN, "lister").expect(404);
    for id in [BOTH, BILLING, EVERYONE] {
        assert_eq!(order(server, id, "lister").expect(404).body, unknown.body, "{id}");
    }
    assert_eq!(unknown.body, one(server, UNKNOWN, "lister").expect(404).body);
    // A principal that commands without reading sees the names, and no instance.
    let answer = order(server, BOTH, "builder").expect(200);
    assert!(!answer.text().contains("billing-7"), "{}", answer.text());
    assert_eq!(answer.json()["rollout"]["applications"].as_array().unwrap().len(), 2);
    order(server, EVERYONE, "builder").expect(404);
    order(server, EVERYONE, "ops").expect(200);
    // Without any such right, the path does not exist.
    let none = order(server, ORDERS, "orders").expect(404);
    assert_eq!(none.header("content-type"), Some("application/json"));
    command(server, ORDERS, &body("pause"), &[]).expect(401);
    let orders = commanded.rollouts.orders();
    let who: Vec<(&str, &str)> = orders.iter().map(|order| (&*order.0, &*order.2)).collect();
    assert_eq!(who, [(ORDERS, "lister"), (BOTH, "builder"), (EVERYONE, "ops")]);
    let acts = trail.of(AuditEvent::Rollout);
    let principals: Vec<&str> = acts.iter().filter_map(|line| line.principal.as_deref()).collect();
    assert_eq!(principals, ["lister", "builder", "ops"]);
    let denied = trail.wait_for("a denial", |line| {
        let reason = line.reason.as_deref().unwrap_or_default();
        line.event == AuditEvent::Denied && reason.contains("billing,orders")
    });
    assert_eq!(denied.principal.as_deref(), Some("lister"));
}

#[test]
fn without_enforcement_commands_stay_closed_to_other_machines() {
    let commanded = Commanded::new(|settings| {
        let file = settings.access.policy_file.as_ref().unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let text = text.replacen("version = 1\n", "version = 1\nenforce = false\n", 1);
        std::fs::write(file, text).unwrap();
    });
    let server = *commanded.server;
    order(server, BILLING, "orders").expect(200);
    let authorization = bearer("orders", 1);
    let remote = [("Authorization", &*authorization), ("X-Forwarded-For", "192.0.2.1")];
    command(server, BILLING, &body("pause"), &remote).expect(404);
    assert_eq!(commanded.rollouts.orders().len(), 1);
    assert_eq!(ids(server, "orders").len(), 5);
}

#[test]
fn events_of_rollouts_are_reduced_to_readable_applications() {
    let commanded = Commanded::new(|_| {});
    let server = *commanded.server;
    let mut own = Stream::open(server, "/-/events", &bearer("lister", 1));
    let mut all = Stream::open(server, "/-/events", &bearer("ops", 1));
    own.read_to("retry: ");
    all.read_to("retry: ");
    let both = ["billing", "orders"];
    let fault = Fault::Rejected { instance: "billing-7".into(), reason: Some("type b.c".into()) };
    let withheld = EventKind::Withheld {
        fault,
        applications: both.map(Into::into).into(),
        stable: "a".repeat(40).as_str().into(),
        tip: "b".repeat(40).as_str().into(),
    };
    let log = &commanded.store.events;
    log.record_rollout(notice(BILLING, &["billing"], EventKind::Done));
    log.record_rollout(notice(BOTH, &both, withheld));
    let whole = all.read_to("event: rollout") + &all.read_to("\n\n\r\n") + &all.read_to("\n\n\r\n");
    assert!(whole.contains(BILLING) && whole.contains("billing-7 rejected it"), "{whole}");
    let part = own.read_to("event: rollout") + &own.read_to("\n\n\r\n");
    assert!(part.contains(BOTH) && part.contains("rolled back: an instance rejected it"), "{part}");
    assert!(!part.contains("billing") && !part.contains(BILLING), "{part}");
    assert!(part.contains("\"applications\":[\"orders\"],\"instances\":[]"), "{part}");
}
