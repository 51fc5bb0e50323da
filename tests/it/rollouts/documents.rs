//! The documents of rollouts, on a server without a policy.

use headwater_rollout::Name;
use headwater_rollout::event::EventKind;
use headwater_rollout::plan::WallTime;
use headwater_rollout::state::{Pause, Phase};
use headwater_rollout::verdict::{Fault, Lack};
use headwater_wire::{RolloutList, RolloutState, RolloutStatus};

use super::{Rollouts, recorded, running};
use crate::fixture::{Repository, Server, settings};

fn server(rollouts: &std::sync::Arc<Rollouts>) -> (Repository, Server) {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let rollouts = std::sync::Arc::clone(rollouts);
    let (server, _store) = Server::changed(settings(&repository.uri()), |http| {
        http.rollouts = Some(rollouts);
    });
    (repository, server)
}

#[test]
fn a_running_rollout_is_listed_and_shown() {
    let rollouts = Rollouts::of(vec![running("r-1", &["billing", "orders"])]);
    let (_repository, server) = server(&rollouts);
    let list: RolloutList =
        serde_json::from_value(server.get("/-/rollouts").expect(200).json()).unwrap();
    assert_eq!(list.rollouts.len(), 1);
    assert!(list.rollouts[0].events.is_empty(), "a list has no events");
    let reply = server.get("/-/rollouts/r-1").expect(200);
    let one: RolloutStatus = serde_json::from_value(reply.json()).unwrap();
    assert_eq!(RolloutStatus { events: Vec::new(), ..one.clone() }, list.rollouts[0]);
    assert_eq!((one.state, one.stage, one.stages), (RolloutState::Stage, Some(2), 4));
    assert_eq!((one.reach.as_deref(), &*one.plan), (Some("5%"), "careful"));
    assert_eq!((one.instances, one.ok), (Some(6), Some(2)));
    assert_eq!((&*one.by, one.because.as_deref()), ("ada", Some("billing needs it")));
    assert_eq!((&*one.opened, one.since), ("2025-11-20T14:03:00Z", None));
    let applications: Vec<&str> = one.applications.iter().map(|own| &*own.application).collect();
    assert_eq!(applications, ["billing", "orders"]);
    let orders = &one.applications[1];
    assert_eq!((orders.canaries, orders.instances, orders.ok), (Some(1), Some(3), Some(1)));
    assert_eq!(orders.stable, "a".repeat(40));
    assert_eq!(one.events[0].text, "opened for billing, orders with plan careful");
    assert_eq!((&*one.events[1].event, &*one.events[1].at), ("suspect", "2026-11-20T14:03:00Z"));
    let head = server.ask("HEAD", "/-/rollouts/r-1", &[]);
    assert_eq!(head.status, 200);
}

#[test]
fn a_document_says_why_a_rollout_does_not_advance() {
    let mut paused = running("r-1", &["orders"]);
    let why = Name::from("no instance to try it on");
    paused.rollout.paused = Some(Pause::Deadline { why });
    let mut waiting = running("r-2", &["orders"]);
    waiting.rollout.phase = Phase::Waiting;
    let freeze = EventKind::Waiting { freeze: "Fri 16:00 to Mon 08:00".to_owned() };
    waiting.events.push(recorded("r-2", &["orders"], freeze));
    let mut withheld = running("r-3", &["orders"]);
    let because = Name::from("web-3 rejected it (type a.b)");
    let since = WallTime(1_763_647_390);
    withheld.standing = headwater::conduct::RolloutStanding::Withheld { because, since };
    withheld.progress = None;
    let mut slow = running("r-4", &["orders"]);
    slow.progress.as_mut().unwrap().lack = Some(Lack::Time { seconds: 8 });
    let mut done = running("r-5", &["orders"]);
    done.standing = headwater::conduct::RolloutStanding::Ended { since };
    done.events.push(recorded("r-5", &["orders"], EventKind::Done));
    let mut gone = running("r-6", &["orders"]);
    gone.standing = headwater::conduct::RolloutStanding::Ended { since };
    gone.events.push(recorded("r-6", &["orders"], EventKind::Gone));
    let (_repository, server) =
        server(&Rollouts::of(vec![paused, waiting, withheld, slow, done, gone]));
    let list: RolloutList =
        serde_json::from_value(server.get("/-/rollouts").expect(200).json()).unwrap();
    let states: Vec<(RolloutState, Option<&str>, Option<&str>)> = list
        .rollouts
        .iter()
        .map(|own| (own.state, own.why.as_deref(), own.missing.as_deref()))
        .collect();
    let deadline =
        "the deadline has passed: no instance to try it on. Resume, promote or abort the rollout";
    let frozen = "waits for the end of the freeze Fri 16:00 to Mon 08:00";
    assert_eq!(
        states,
        [
            (RolloutState::Paused, Some(deadline), None),
            (RolloutState::Waiting, Some(frozen), None),
            (RolloutState::Withheld, Some("web-3 rejected it (type a.b)"), None),
            (RolloutState::Stage, None, Some("watching for 8 s more")),
            (RolloutState::Done, None, None),
            (RolloutState::Gone, None, None),
        ]
    );
    let since = list.rollouts[2].since.as_deref();
    assert_eq!(since, Some("2025-11-20T14:03:10Z"));
    assert_eq!(list.rollouts[2].stage, None, "a withheld rollout is in no stage");
    assert_eq!(list.rollouts[2].applications[0].canaries, None);
}

#[test]
fn an_unknown_rollout_is_not_found() {
    let (_repository, server) = server(&Rollouts::of(Vec::new()));
    let reply = server.get("/-/rollouts/r-1").expect(404);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert!(reply.text().contains("headwater rollout list"), "{}", reply.text());
    assert_eq!(server.get("/-/rollouts/none").expect(404).body, reply.body);
    // A server without hosted repositories has no rollouts.
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let plain = Server::start(&repository.uri());
    let list = plain.get("/-/rollouts").expect(200).json();
    assert_eq!(list, serde_json::json!({"rollouts": []}));
    assert_eq!(plain.get("/-/rollouts/r-1").expect(404).body, reply.body);
}

#[test]
fn a_fault_of_a_rollback_names_its_instance() {
    let mut withheld = running("r-1", &["orders"]);
    let fault = Fault::Rejected { instance: "web-3".into(), reason: Some("type a.b".into()) };
    let kind = EventKind::Withheld {
        fault,
        applications: vec!["orders".into()],
        stable: "a".repeat(40).as_str().into(),
        tip: "b".repeat(40).as_str().into(),
    };
    withheld.events.push(recorded("r-1", &["orders"], kind));
    let (_repository, server) = server(&Rollouts::of(vec![withheld]));
    let text = server.get("/-/rollouts/r-1").expect(200).text();
    assert!(text.contains("rolled back: web-3 rejected it (type a.b)"), "{text}");
}
