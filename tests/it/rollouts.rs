//! `/-/rollouts`, its commands and its events, over HTTP, with rollouts in memory.

mod commands;
mod documents;
mod driven;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use headwater::conduct::{RecordedEvent, RolloutStanding, RolloutView};
use headwater::http::{RolloutControl, RolloutControlError};
use headwater::store::RolloutNotice;
use headwater_rollout::Name;
use headwater_rollout::bucket::Bound;
use headwater_rollout::command::{Command, CommandError};
use headwater_rollout::event::{Event, EventKind, Progress};
use headwater_rollout::evidence::Counts;
use headwater_rollout::plan::{Plan, WallTime};
use headwater_rollout::state::{Member, Pause, Phase, Rollout};
use headwater_rollout::verdict::{Incident, IncidentKind};

use crate::fixture::{Address, Reply};

/// A command for this rollout does not fit.
pub(crate) const UNFIT: &str = "r-00000000ff";
/// A command for this rollout cannot be made durable.
pub(crate) const UNWRITABLE: &str = "r-00000000fe";

/// A command that arrived: the id of its rollout, the action, the user and the reason.
pub(crate) type Order = (String, &'static str, String, String);

/// Rollouts in memory, and the commands that arrived.
#[derive(Default)]
pub(crate) struct Rollouts {
    views: Mutex<Vec<RolloutView>>,
    orders: Mutex<Vec<Order>>,
}

impl Rollouts {
    pub(crate) fn of(views: Vec<RolloutView>) -> Arc<Self> {
        Arc::new(Self { views: Mutex::new(views), orders: Mutex::default() })
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().unwrap().clone()
    }
}

impl RolloutControl for Rollouts {
    fn rollouts(&self) -> Vec<RolloutView> {
        self.views.lock().unwrap().clone()
    }

    /// Pauses the rollout, whatever the command is.
    fn command<'c>(
        &'c self,
        id: &'c str,
        command: Command,
        by: &'c str,
        because: &'c str,
    ) -> BoxFuture<'c, Result<Vec<Event>, RolloutControlError>> {
        Box::pin(async move {
            if id == UNFIT {
                let error = CommandError::IsNotPaused { rollout: id.into() };
                return Err(RolloutControlError::Command(error));
            }
            if id == UNWRITABLE {
                return Err(RolloutControlError::Unwritable("no space in /srv/data".to_owned()));
            }
            let order = (id.to_owned(), command.as_str(), by.to_owned(), because.to_owned());
            self.orders.lock().unwrap().push(order);
            let pause = Pause::Person { by: by.into(), because: because.into() };
            let mut views = self.views.lock().unwrap();
            let view = views.iter_mut().find(|view| *view.rollout.id == *id).unwrap();
            view.rollout.paused = Some(pause.clone());
            Ok(vec![Event { rollout: id.into(), kind: EventKind::Paused { pause } }])
        })
    }
}

fn member(stable: &str) -> Member {
    Member {
        stable: stable.into(),
        content: None,
        salt: 7,
        bound: Bound::NONE,
        named: std::collections::BTreeSet::new(),
        wanted: 1,
    }
}

/// An event of a rollout.
pub(crate) fn recorded(id: &str, members: &[&str], kind: EventKind) -> RecordedEvent {
    RecordedEvent {
        at: "2026-11-20T14:03:00Z".parse().unwrap(),
        repository: "main".into(),
        branch: "main".into(),
        is_head: true,
        members: members.iter().map(|name| Name::from(*name)).collect(),
        is_last: false,
        event: Event { rollout: id.into(), kind },
    }
}

/// An event of a rollout, as the log of events receives it.
pub(crate) fn notice(id: &str, members: &[&str], kind: EventKind) -> RolloutNotice {
    let RecordedEvent { at, repository, branch, is_head, members, event, .. } =
        recorded(id, members, kind);
    RolloutNotice { at, repository, branch, is_head, members, event }
}

/// A rollout in its second stage, with three instances of each application. One of the instances of `billing` is suspect.
pub(crate) fn running(id: &str, applications: &[&str]) -> RolloutView {
    let names = || applications.iter().map(|name| Name::from(*name));
    let incident = Incident { instance: "billing-7".into(), kind: IncidentKind::Restarted(1) };
    let opened = EventKind::Opened { applications: names().collect(), plan: "careful".into() };
    let counts = Counts { instances: 3, ok: 1, ..Counts::default() };
    let count = applications.len() as u64;
    RolloutView {
        repository: "main".into(),
        branch: "main".into(),
        is_head: true,
        standing: RolloutStanding::Running,
        progress: Some(Progress {
            rollout: id.into(),
            stage: Some(1),
            stages: 4,
            ok: count,
            instances: 3 * count,
            lack: None,
        }),
        counts: names().map(|name| (name, counts)).collect(),
        events: vec![
            recorded(id, applications, opened),
            recorded(id, applications, EventKind::Suspect { incidents: vec![incident] }),
        ],
        rollout: Rollout {
            id: id.into(),
            number: 1,
            from: "a".repeat(40).as_str().into(),
            to: "b".repeat(40).as_str().into(),
            salt: 7,
            plan: Arc::new(Plan::built_in("careful").unwrap()),
            members: names()
                .map(|name| (name, member(&"a".repeat(40))))
                .collect::<BTreeMap<_, _>>(),
            phase: Phase::Stage(1),
            paused: None,
            depends_on: std::collections::BTreeSet::new(),
            expected: 3 * count,
            by: "ada".into(),
            because: Some("billing needs it".into()),
            opened: WallTime(1_763_647_380),
        },
    }
}

/// Sends a command with headers.
#[track_caller]
pub(crate) fn command(server: Address, id: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "POST /-/rollouts/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    server.send(request.as_bytes())
}

/// The body of a command.
pub(crate) fn body(action: &str) -> String {
    format!("{{\"do\":\"{action}\",\"because\":\"a test\"}}")
}
