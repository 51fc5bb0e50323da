//! The messages of one subject on one worker thread, as its connections read them.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use super::wire;
use crate::http::identity::Lease;

/// A subject of event streams.
pub(super) trait WatchSubject: 'static {
    /// The last content that a watcher has received.
    type Cursor: 'static;

    /// Returns the next event of a watcher as a chunk, and advances the cursor. Returns `None` for an up-to-date
    /// watcher. A lease limits the event to the entries that the watcher may read.
    fn next(&self, cursor: &mut Self::Cursor, lease: Option<&Lease>) -> Option<Bytes>;

    /// Returns true if the events depend on the instance that a watcher speaks for.
    fn depends_on_instance(_cursor: &Self::Cursor) -> bool {
        false
    }
}

/// The next message for a connection.
pub(super) enum NextMessage {
    /// The watcher is up to date.
    None,
    /// An event as a chunk.
    Event(Bytes),
    /// The end of the stream, after an optional last event.
    End(Option<Bytes>),
}

/// The reason why the streams of a group end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The label was deleted.
    LabelDeleted,
    /// The server stops.
    ServerStopping,
}

/// The source of messages that all connections of a group share.
pub(super) struct Feed<S: WatchSubject> {
    subject: S,
    end: Cell<Option<StreamEnd>>,
    /// The clock of the worker, in ticks.
    clock: Rc<Cell<u32>>,
}

impl<S: WatchSubject> Feed<S> {
    pub(super) fn new(subject: S, clock: Rc<Cell<u32>>) -> Self {
        Self { subject, end: Cell::new(None), clock }
    }

    pub(super) fn subject(&self) -> &S {
        &self.subject
    }

    pub(super) fn now(&self) -> u32 {
        self.clock.get()
    }

    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.end.get()
    }

    pub(super) fn set_end(&self, end: StreamEnd) {
        self.end.set(Some(end));
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.end() == Some(StreamEnd::ServerStopping)
    }

    /// Returns the next message of a watcher, and advances its cursor.
    pub(super) fn next_message(
        &self,
        cursor: &mut S::Cursor,
        lease: Option<&Lease>,
    ) -> NextMessage {
        match self.end() {
            Some(StreamEnd::LabelDeleted) => NextMessage::End(Some(wire::GONE_EVENT)),
            Some(StreamEnd::ServerStopping) => NextMessage::End(None),
            None => {
                let event = self.subject.next(cursor, lease);
                event.map_or(NextMessage::None, NextMessage::Event)
            }
        }
    }
}
