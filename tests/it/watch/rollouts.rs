//! The event `rollout` of `/-/events`, between the moves of labels.

use headwater_rollout::event::EventKind;
use headwater_rollout::verdict::{Incident, IncidentKind};
use headwater_wire::RolloutEvent;

use super::{Events, watchers};
use crate::fixture::{Repository, Server, eventually, settings};
use crate::rollouts::notice;

#[test]
fn events_of_rollouts_follow_one_another_and_the_moves() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let (server, store) = Server::changed(settings(&repository.uri()), |_| {});
    server.get("/orders/default").expect(200);
    let mut events = Events::open(*server, "/-/events", "").after_head();
    eventually("it listens", || watchers(*server) == 1);
    let members = ["billing", "orders"];
    let incident = Incident { instance: "web-3".into(), kind: IncidentKind::Restarted(1) };
    store.events.record_rollout(notice(
        "r-1",
        &members,
        EventKind::Suspect { incidents: vec![incident] },
    ));
    let mut next = || loop {
        let event = events.next().expect("the stream goes on");
        if !event.name.is_empty() {
            break event;
        }
    };
    let first = next();
    assert_eq!(first.name, "rollout");
    let read: RolloutEvent = serde_json::from_str(&first.data).unwrap();
    let expected = RolloutEvent {
        at: "2026-11-20T14:03:00Z".into(),
        repository: "main".into(),
        branch: "main".into(),
        rollout: "r-1".into(),
        event: "suspect".into(),
        applications: vec!["billing".into(), "orders".into()],
        instances: vec!["web-3".into()],
        text: "web-3 has restarted. The bake begins again".into(),
    };
    assert_eq!(read, expected);
    repository.commit("//- orders.yml\na: 2\n");
    let second = next();
    assert_eq!(second.name, "move");
    store.events.record_rollout(notice("r-1", &members, EventKind::Done));
    let third = next();
    assert_eq!(third.name, "rollout");
    let ids = [&first, &second, &third].map(|event| event.id.parse::<u64>().unwrap());
    assert_eq!(ids, [ids[0], ids[0] + 1, ids[0] + 2]);
    // A client that comes back receives what it missed.
    let header = format!("Last-Event-ID: {}\r\n", ids[0]);
    let mut again = Events::open(*server, "/-/events", &header).after_head();
    let mut names = Vec::new();
    while names.len() < 2 {
        let event = again.next().expect("the stream goes on");
        names.extend((!event.name.is_empty()).then_some(event.name));
    }
    assert_eq!(names, ["move", "rollout"]);
}
