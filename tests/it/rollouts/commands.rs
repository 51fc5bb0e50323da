//! Commands by the tokens of the settings: who may send one, and how a command without effect is answered.

use std::sync::Arc;

use headwater::settings::Settings;
use headwater_access::audit::AuditEvent;
use serde_json::json;

use super::{Rollouts, UNFIT, UNWRITABLE, body, command, running};
use crate::audit::TrailFile;
use crate::fixture::{Repository, Server, directory, settings};

struct Commanded {
    rollouts: Arc<Rollouts>,
    server: Server,
    _repository: Repository,
}

impl Commanded {
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let views = ["r-1", UNFIT, UNWRITABLE].map(|id| running(id, &["orders"]));
        let rollouts = Rollouts::of(views.into());
        let repository = Repository::new("//- orders.yml\na: 1\n");
        let mut settings = settings(&repository.uri());
        change(&mut settings);
        let control = Arc::clone(&rollouts);
        let (server, _store) = Server::changed(settings, |http| http.rollouts = Some(control));
        Self { rollouts, server, _repository: repository }
    }
}

#[test]
fn a_client_on_this_machine_may_command_without_a_push_token() {
    let commanded = Commanded::with(|_| {});
    let server = *commanded.server;
    let answer = command(server, "r-1", &body("pause"), &[]).expect(200).json();
    assert_eq!(answer["rollout"]["state"], "paused");
    assert_eq!(answer["rollout"]["why"], "by pusher: a test");
    assert_eq!(answer["effects"][0]["event"], "paused");
    assert_eq!(answer["effects"][0]["text"], "paused: by pusher: a test");
    let order = ("r-1".to_owned(), "pause", "pusher".to_owned(), "a test".to_owned());
    assert_eq!(commanded.rollouts.orders(), [order]);
    let proxied = [("X-Forwarded-For", "192.0.2.1")];
    let reply = command(server, "r-1", &body("pause"), &proxied).expect(403);
    assert!(reply.text().contains("HEADWATER_PUSH_TOKEN"), "{}", reply.text());
    // A page in a browser of this machine is no user of it.
    command(server, "r-1", &body("pause"), &[("Origin", "http://evil.example")]).expect(403);
    assert_eq!(commanded.rollouts.orders().len(), 1);
    let options = server.ask("OPTIONS", "/-/rollouts/r-1", &[]).expect(200);
    assert_eq!(options.header("allow"), Some("GET,HEAD,POST,OPTIONS"));
    let other = server.ask("DELETE", "/-/rollouts/r-1", &[]).expect(405);
    assert_eq!(other.header("allow"), Some("GET,POST"));
    server.ask("POST", "/-/rollouts", &[]).expect(405);
}

#[test]
fn the_push_token_commands_and_the_read_token_reads() {
    let place = directory("//- read\nread-secret\n//- push\npush-secret\n");
    let commanded = Commanded::with(|settings| {
        settings.token_file = Some(place.path().join("read"));
        settings.push.token_file = Some(place.path().join("push"));
    });
    let server = *commanded.server;
    let (read, push) = ("Bearer read-secret", "Bearer push-secret");
    for path in ["/-/rollouts", "/-/rollouts/r-1"] {
        let rejected = server.get(path).expect(401);
        assert!(rejected.text().contains("the read token or the push token"), "{path}");
        assert!(rejected.header("www-authenticate").is_some());
        // A user that may command may see.
        for token in [read, push] {
            server.get_with(path, &[("Authorization", token)]).expect(200);
        }
    }
    for headers in [&[][..], &[("Authorization", read)]] {
        let rejected = command(server, "r-1", &body("pause"), headers).expect(401);
        let text = rejected.text();
        assert!(text.contains("a command for a rollout needs the push token"), "{text}");
    }
    // Other lists stay with the read token.
    server.get_with("/-/instances", &[("Authorization", push)]).expect(401);
    // A caller without permission does not learn which ids exist.
    let [known, unknown] =
        ["r-1", "r-2"].map(|id| command(server, id, &body("pause"), &[("Authorization", read)]));
    assert_eq!(known.body, unknown.body);
    assert_eq!(commanded.rollouts.orders(), []);
    command(server, "r-1", &body("promote"), &[("Authorization", push)]).expect(200);
    let named = crate::access::basic("ada", "push-secret");
    command(server, "r-1", &body("abort"), &[("Authorization", &named)]).expect(200);
    let orders = commanded.rollouts.orders();
    let who: Vec<(&str, &str)> = orders.iter().map(|order| (order.1, &*order.2)).collect();
    assert_eq!(who, [("promote", "pusher"), ("abort", "ada")]);
    let typed = ["rollout", "abort", "r-1", "--because", "x", "--token-file", "push", "--url"];
    let url = format!("http://{}", server.0);
    let output = crate::fixture::command(place.path()).args(typed).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(commanded.rollouts.orders().len(), 3);
}

#[test]
fn a_command_without_effect_is_answered_with_its_reason() {
    let commanded = Commanded::with(|_| {});
    let server = *commanded.server;
    let unfit = command(server, UNFIT, &body("resume"), &[]).expect(409).json();
    assert_eq!(unfit["detail"], json!(format!("{UNFIT} is not paused")));
    let unwritable = command(server, UNWRITABLE, &body("abort"), &[]).expect(503);
    assert_eq!(unwritable.header("retry-after"), Some("1"));
    assert!(unwritable.text().contains("nothing was done"), "{}", unwritable.text());
    assert!(!unwritable.text().contains("/srv"), "{}", unwritable.text());
    let unknown = command(server, "r-2", &body("abort"), &[]).expect(404);
    assert_eq!(unknown.body, server.get("/-/rollouts/r-2").expect(404).body);
    for bad in ["{", "[]", r#"{"do":"stop","because":"x"}"#, r#"{"do":"pause","because":" "}"#] {
        let reply = command(server, "r-1", bad, &[]).expect(400);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    }
    command(server, "r-1", &" ".repeat(5_000), &[]).expect(413);
    assert_eq!(commanded.rollouts.orders(), []);
}

#[test]
fn a_command_is_in_the_trail_before_it_takes_effect() {
    let trail = TrailFile::new();
    let commanded = Commanded::with(|settings| settings.audit.file = Some(trail.path()));
    let server = *commanded.server;
    command(server, "r-1", &body("pause"), &[]).expect(200);
    let lines = trail.of(AuditEvent::Rollout);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(line.principal.as_deref(), Some("pusher"));
    assert_eq!(line.outcome.as_deref(), Some("accepted"));
    assert_eq!(line.reason.as_deref(), Some("a test"));
    assert_eq!(line.application.as_deref(), Some("orders"));
    assert_eq!((line.path.as_deref(), line.branch.as_deref()), (Some("main"), Some("main")));
    assert_eq!(line.details, ["do=pause", "rollout=r-1", "applications=orders"]);
    command(server, UNFIT, &body("resume"), &[]).expect(409);
    let rejected = trail.wait_for("the rejection", |line| {
        line.event == AuditEvent::Rollout && line.outcome.as_deref() == Some("rejected")
    });
    assert_eq!(rejected.reason, Some(format!("{UNFIT} is not paused")));
    // Without a durable line, nothing happens.
    trail.block();
    let reply = command(server, "r-1", &body("abort"), &[]).expect(503);
    assert!(reply.text().contains("audit trail"), "{}", reply.text());
    assert_eq!(commanded.rollouts.orders().len(), 1);
    trail.unblock();
}
