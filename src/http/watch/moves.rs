//! `GET /-/events`: the moves of all labels and the events of rollouts as a subject of event streams. An event names the
//! changed keys and contains no value.

use std::rc::Weak;
use std::sync::Arc;

use actix_web::web;
use bytes::Bytes;
use headwater_wire::{self as documents, events};
use serde_json::{Value, json};

use super::feed::{StreamEnd, WatchSubject};
use super::group::WatcherGroup;
use super::wire;
use crate::http::identity::{Lease, ListFilter};
use crate::http::{Http, rollouts};
use crate::model::Revision;
use crate::store::{
    ChangedEnvironment, CommitDetails, EventContent, EventLog, EventSubscription, LoggedEvent,
    MoveEvent, NextEvent,
};

/// The watched moves of all labels, with the events of rollouts.
pub(super) struct WatchedMoves(Arc<EventLog>);

impl WatchedMoves {
    pub(super) fn new(events: Arc<EventLog>) -> Self {
        Self(events)
    }
}

impl WatchSubject for WatchedMoves {
    /// The id of the last event.
    type Cursor = u64;

    fn next(&self, cursor: &mut u64, lease: Option<&Lease>) -> Option<Bytes> {
        let filter = lease.map_or_else(ListFilter::none, Lease::filter);
        loop {
            match self.0.read_after(*cursor) {
                NextEvent::UpToDate => return None,
                NextEvent::Event(logged) => {
                    *cursor = logged.id;
                    let visible = if filter.is_complete() {
                        let encoded =
                            logged.encoded(|logged| encode(logged, filter).unwrap_or_default());
                        Some(encoded).filter(|event| !event.is_empty())
                    } else {
                        encode(&logged, filter)
                    };
                    if visible.is_some() {
                        return visible;
                    }
                }
                NextEvent::Missed { newest } => {
                    *cursor = newest;
                    return Some(event(events::RESYNC, newest, &json!({})));
                }
            }
        }
    }
}

/// Encodes an event for the watchers with a filter. `None` if they may see nothing of it.
fn encode(logged: &LoggedEvent, filter: ListFilter<'_>) -> Option<Bytes> {
    let (name, document) = match &logged.content {
        EventContent::Move(moved) if filter.is_complete() => {
            (events::MOVE, json!(move_event(moved)))
        }
        EventContent::Move(moved) => (events::MOVE, json!(visible_event(moved, filter)?)),
        EventContent::Rollout(notice) => (events::ROLLOUT, json!(rollouts::event(notice, filter)?)),
    };
    Some(event(name, logged.id, &document))
}

/// Notifies a group of every event, until the group is dropped or the server stops.
pub(super) async fn follow(
    group: Weak<WatcherGroup<WatchedMoves>>,
    mut events: EventSubscription,
    http: web::Data<Http>,
) {
    let mut closing = http.watchers.closing();
    loop {
        let end = tokio::select! {
            () = events.changed() => None,
            _ = closing.wait_for(|closing| *closing) => Some(StreamEnd::ServerStopping),
        };
        let Some(group) = group.upgrade() else {
            return;
        };
        match end {
            Some(end) => return group.finish(end).await,
            None => group.notify().await,
        }
    }
}

fn event(name: &str, id: u64, data: &Value) -> Bytes {
    wire::chunk(format!("event: {name}\nid: {id}\ndata: {data}\n\n").as_bytes())
}

fn move_event(moved: &MoveEvent) -> documents::MoveEvent {
    documents::MoveEvent {
        label: moved.label.name().map(str::to_owned),
        from: moved.from.as_ref().map(Revision::to_string),
        to: moved.to.as_ref().map(Revision::to_string),
        actor: moved.actor.clone(),
        commit: moved.commit.as_ref().map(commit),
        environments: moved.environments.iter().map(environment).collect(),
        others: documents::OtherChanges {
            environments: moved.more_environment_count as u64,
            files: moved.other_file_count.map(|count| count as u64),
        },
    }
}

/// Shows a move by the environments that a watcher may read. Returns `None` for a move of other environments only.
fn visible_event(moved: &MoveEvent, filter: ListFilter<'_>) -> Option<documents::MoveEvent> {
    let visible = moved.environments.iter().filter(|changed| filter.shows(&changed.query));
    let environments: Vec<_> = visible.map(environment).collect();
    (!environments.is_empty()).then(|| documents::MoveEvent {
        actor: String::new(),
        commit: None,
        environments,
        others: documents::OtherChanges { environments: 0, files: Some(0) },
        ..move_event(moved)
    })
}

fn commit(details: &CommitDetails) -> documents::MoveCommit {
    let time = details.seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    documents::MoveCommit {
        id: details.id.to_string(),
        author: details.commit.author.clone(),
        subject: details.commit.subject.clone(),
        time: time.map(|time| time.to_string()),
    }
}

fn environment(changed: &ChangedEnvironment) -> documents::ChangedEnvironment {
    documents::ChangedEnvironment {
        application: changed.query.application.to_string(),
        profiles: changed.query.profiles.to_string(),
        added: names(&changed.change.added),
        removed: names(&changed.change.removed),
        changed: names(&changed.change.changed),
        more: changed.more_key_count as u64,
    }
}

fn names(keys: &[Arc<str>]) -> Vec<String> {
    keys.iter().map(|key| key.to_string()).collect()
}
