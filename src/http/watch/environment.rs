//! Watching one environment: level-triggered, the newest there is.

use std::cell::RefCell;
use std::rc::Weak;

use actix_web::web;
use bytes::Bytes;

use super::list::{End, List, Subject};
use super::wire;
use crate::http::Http;
use crate::model::Digest;
use crate::store::Reader;

/// An environment as its watchers see it.
pub(super) struct Environment {
    reader: Reader,
    /// What is there to be told, unless there is nothing that can be served.
    latest: RefCell<Option<Latest>>,
}

struct Latest {
    digest: Digest,
    event: Bytes,
}

impl Environment {
    pub(super) fn new(reader: Reader) -> Self {
        let environment = Self { reader, latest: RefCell::default() };
        environment.look();
        environment
    }

    /// Looks at what is there now. Called when it has changed, and when somebody comes: the same content may stand at
    /// another revision by then.
    pub(super) fn look(&self) {
        let reading = self.reader.current();
        if let Some(served) = reading.answer.served() {
            let event = served.event(&reading.revision, wire::chunk);
            *self.latest.borrow_mut() = Some(Latest { digest: served.digest, event });
        }
    }
}

impl Subject for Environment {
    /// The digest, if it was told anything.
    type Told = Option<Digest>;

    fn next(&self, told: &mut Self::Told) -> Option<Bytes> {
        let latest = self.latest.borrow();
        let latest = latest.as_ref().filter(|latest| *told != Some(latest.digest))?;
        *told = Some(latest.digest);
        Some(latest.event.clone())
    }
}

/// Tells a list of every change, until it ends or its label does.
pub(super) async fn follow(
    list: Weak<List<Environment>>,
    mut reader: Reader,
    http: web::Data<Http>,
) {
    let mut closing = http.watchers.closing();
    loop {
        let end = tokio::select! {
            changed = reader.changed() => changed.is_err().then_some(End::Gone),
            _ = closing.wait_for(|closing| *closing) => Some(End::Closing),
        };
        let Some(list) = list.upgrade() else {
            return;
        };
        http.watchers.woken();
        if let Some(end) = end {
            list.finish(end).await;
            return;
        }
        list.subject().look();
        list.tell().await;
    }
}
