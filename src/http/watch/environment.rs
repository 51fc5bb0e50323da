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
use crate::store::{AnswerHandle, Reader, Side, SideChoice};
use crate::telemetry;

/// An environment that is watched in one variant.
pub(super) struct WatchedEnvironment {
    handle: AnswerHandle,
    latest: RefCell<LatestEvents>,
}

/// The newest events of an environment, one for each side while a rollout holds its application.
#[derive(Default)]
struct LatestEvents {
    /// Chooses the side of a watcher. `None` if no rollout holds the application.
    choice: Option<SideChoice>,
    /// `None` until the environment can be served.
    stable: Option<LatestEvent>,
    /// `None` if there is no candidate or if it cannot be served.
    candidate: Option<LatestEvent>,
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
        let sides = self.handle.sides();
        let event_of = |side: Side| {
            let current = sides.at(side);
            let served = current.served()?;
            let rollout = current.rollout.as_ref().filter(|it| it.side == Side::Candidate);
            let rollout = rollout.map(|rollout| &*rollout.id);
            let event = served.event(&current.position(), rollout, wire::chunk);
            Some(LatestEvent { digest: served.digest, event })
        };
        let mut latest = self.latest.borrow_mut();
        if let Some(stable) = event_of(Side::Stable) {
            latest.stable = Some(stable);
        }
        latest.choice = sides.choice();
        let choice = latest.choice.as_ref().filter(|choice| choice.has_candidate());
        latest.candidate = choice.and_then(|_| event_of(Side::Candidate));
    }
}

/// The last event of a watcher, and the instance that it speaks for.
pub(super) struct EnvironmentCursor {
    /// The digest of the last event. `None` before the first.
    pub(super) digest: Option<Digest>,
    pub(super) reader: Reader,
}

impl WatchSubject for WatchedEnvironment {
    type Cursor = EnvironmentCursor;

    fn next(&self, cursor: &mut Self::Cursor, _lease: Option<&Lease>) -> Option<Bytes> {
        let latest = self.latest.borrow();
        let event = match &latest.choice {
            Some(choice) if choice.choose(&cursor.reader) == Side::Candidate => {
                // From now on, the watcher receives the candidate whichever bucket it has.
                cursor.reader.shown = choice.number();
                &latest.candidate
            }
            _ => &latest.stable,
        };
        let event = event.as_ref().filter(|event| cursor.digest != Some(event.digest))?;
        cursor.digest = Some(event.digest);
        Some(event.event.clone())
    }

    fn depends_on_instance(cursor: &Self::Cursor) -> bool {
        cursor.reader.instance.is_some()
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
        telemetry::record_event_delay(handle.publication_begun().elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most bytes that the choice of a side adds to a watcher.
    const READER_BYTES_MAX: usize = 24;

    #[test]
    fn a_watcher_keeps_a_few_integers_for_its_side() {
        let before = size_of::<Option<Digest>>();
        assert!(size_of::<EnvironmentCursor>() <= before + READER_BYTES_MAX);
    }
}
