//! One environment as a subject of event streams. Watching is level-triggered: only the newest content is sent.

use std::cell::RefCell;
use std::rc::Weak;

use actix_web::web;
use bytes::Bytes;

use super::feed::{StreamEnd, WatchSubject};
use super::group::WatcherGroup;
use super::wire;
use crate::http::Http;
use crate::http::identity::Lease;
use crate::model::Digest;
use crate::store::AnswerHandle;
use crate::telemetry;

/// An environment that is watched in one variant.
pub(super) struct WatchedEnvironment {
    handle: AnswerHandle,
    /// The newest event. `None` until the environment can be served.
    latest: RefCell<Option<LatestEvent>>,
}

struct LatestEvent {
    digest: Digest,
    event: Bytes,
}

impl WatchedEnvironment {
    pub(super) fn new(handle: AnswerHandle) -> Self {
        let environment = Self { handle, latest: RefCell::default() };
        environment.refresh();
        environment
    }

    /// Makes the event of the present content. Called after a change, and when a watcher arrives, because the same
    /// content may be served at another revision by then.
    pub(super) fn refresh(&self) {
        let current = self.handle.current();
        if let Some(served) = current.served() {
            let event = served.event(&current.position(), wire::chunk);
            *self.latest.borrow_mut() = Some(LatestEvent { digest: served.digest, event });
        }
    }
}

impl WatchSubject for WatchedEnvironment {
    /// The digest of the last event. `None` before the first.
    type Cursor = Option<Digest>;

    fn next(&self, cursor: &mut Self::Cursor, _lease: Option<&Lease>) -> Option<Bytes> {
        let latest = self.latest.borrow();
        let latest = latest.as_ref().filter(|latest| *cursor != Some(latest.digest))?;
        *cursor = Some(latest.digest);
        Some(latest.event.clone())
    }
}

/// Notifies a group of every change, until the group is dropped, the label is deleted or the server stops.
pub(super) async fn follow(
    group: Weak<WatcherGroup<WatchedEnvironment>>,
    mut handle: AnswerHandle,
    http: web::Data<Http>,
) {
    let mut closing = http.watchers.closing();
    loop {
        let end = tokio::select! {
            changed = handle.changed() => changed.is_err().then_some(StreamEnd::LabelDeleted),
            _ = closing.wait_for(|closing| *closing) => Some(StreamEnd::ServerStopping),
        };
        let Some(group) = group.upgrade() else {
            return;
        };
        http.watchers.record_wakeup();
        if let Some(end) = end {
            group.finish(end).await;
            return;
        }
        group.subject().refresh();
        group.notify().await;
        telemetry::record_event_delay(handle.current().answer.publication_begun.elapsed());
    }
}
