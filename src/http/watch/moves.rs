//! `GET /-/events`: every move of a label, with the names of the keys that it changed. Never a value.

use std::rc::Weak;
use std::sync::Arc;

use actix_web::web;
use bytes::Bytes;
use serde_json::{Value, json};

use super::list::{End, List, Subject};
use super::wire;
use crate::http::Http;
use crate::model::Revision;
use crate::store::{self, After, Changed, Listening, Made, Moved};

/// The moves of all labels as their watchers see them.
pub(super) struct Moves(Arc<store::Moves>);

impl Moves {
    pub(super) fn new(moves: Arc<store::Moves>) -> Self {
        Self(moves)
    }
}

impl Subject for Moves {
    /// The id of a move.
    type Told = u64;

    fn next(&self, told: &mut u64) -> Option<Bytes> {
        match self.0.after(*told) {
            After::Nothing => None,
            After::Moved(moved) => {
                *told = moved.id;
                Some(moved.event(|moved| event("move", moved.id, &describe(moved))))
            }
            After::Missed { newest } => {
                *told = newest;
                Some(event("resync", newest, &json!({})))
            }
        }
    }
}

/// Tells a list of every move, until it ends.
pub(super) async fn follow(list: Weak<List<Moves>>, mut moves: Listening, http: web::Data<Http>) {
    let mut closing = http.watchers.closing();
    loop {
        let end = tokio::select! {
            () = moves.moved() => None,
            _ = closing.wait_for(|closing| *closing) => Some(End::Closing),
        };
        let Some(list) = list.upgrade() else {
            return;
        };
        match end {
            Some(end) => return list.finish(end).await,
            None => list.tell().await,
        }
    }
}

fn event(name: &str, id: u64, data: &Value) -> Bytes {
    wire::chunk(format!("event: {name}\nid: {id}\ndata: {data}\n\n").as_bytes())
}

fn describe(moved: &Moved) -> Value {
    let environments: Vec<Value> = moved.environments.iter().map(environment).collect();
    json!({
        "label": moved.label.name(),
        "from": moved.from.as_ref().map(Revision::as_str),
        "to": moved.to.as_ref().map(Revision::as_str),
        "actor": moved.actor,
        "commit": moved.commit.as_ref().map(commit),
        "environments": environments,
        "others": {
            "environments": moved.more_environment_count,
            "files": moved.other_file_count,
        },
    })
}

fn commit(made: &Made) -> Value {
    let time = made.seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    json!({
        "id": made.id.as_str(),
        "author": made.commit.author,
        "subject": made.commit.subject,
        "time": time.map(|time| time.to_string()),
    })
}

fn environment(changed: &Changed) -> Value {
    json!({
        "application": &*changed.query.application,
        "profiles": &*changed.query.profiles,
        "added": names(&changed.change.added),
        "removed": names(&changed.change.removed),
        "changed": names(&changed.change.changed),
        "more": changed.more_key_count,
    })
}

fn names(keys: &[Arc<str>]) -> Vec<&str> {
    keys.iter().map(AsRef::as_ref).collect()
}
