//! The watchers of one subject on one worker thread: event streams, which the group writes to, and long polls, which
//! wait for the next change.
//!
//! A publisher wakes one task for each worker and subject, independent of the number of connections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connection;
use super::feed::{Feed, StreamEnd, WatchSubject};
use super::wire::Framing;
use crate::fleet::TrialInbox;
use crate::http::identity::Lease;
use crate::http::socket::Io;

/// The number of connections that are written to in one batch. Between two batches the worker runs other tasks.
const BATCH_SIZE: usize = 64;

/// The watchers of one subject on one worker thread.
pub(super) struct WatcherGroup<S: WatchSubject> {
    feed: Feed<S>,
    connections: RefCell<BTreeMap<u64, Rc<Connection<S>>>>,
    next_number: Cell<u64>,
    /// Notified after every change, for long polls.
    changed: Notify,
    /// The task that waits for changes.
    follower: Cell<Option<AbortOnDropHandle<()>>>,
}

impl<S: WatchSubject> WatcherGroup<S> {
    pub(super) fn new(subject: S, clock: Rc<Cell<u32>>) -> Self {
        Self {
            feed: Feed::new(subject, clock),
            connections: RefCell::default(),
            next_number: Cell::new(0),
            changed: Notify::new(),
            follower: Cell::new(None),
        }
    }

    /// Sets the task that notifies this group of changes. It is aborted when the group is dropped.
    pub(super) fn set_follower(&self, task: JoinHandle<()>) {
        self.follower.set(Some(AbortOnDropHandle::new(task)));
    }

    pub(super) fn subject(&self) -> &S {
        self.feed.subject()
    }

    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.feed.end()
    }

    /// Returns the notification of the next change or of the end.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Serves an event stream until its connection ends or its lease is lost. `inbox` has the questions to an instance that
    /// tries content. `_permits` are held until then.
    pub(super) async fn stream(
        self: Rc<Self>,
        io: Io,
        framing: Framing,
        cursor: S::Cursor,
        lease: Option<Lease>,
        inbox: Option<TrialInbox>,
        _permits: impl Sized,
    ) {
        let connection = Rc::new(Connection::new(io, framing, cursor, lease, inbox));
        let number = self.next_number.replace(self.next_number.get() + 1);
        self.connections.borrow_mut().insert(number, Rc::clone(&connection));
        let registration = Registration { group: self, number };
        poll_fn(|cx| connection.poll(cx, &registration.group.feed)).await;
    }

    /// Notifies all watchers of a change.
    pub(super) async fn notify(&self) {
        self.changed.notify_waiters();
        self.for_each(|connection| connection.notify(&self.feed)).await;
    }

    /// Ends all streams and long polls of the group.
    pub(super) async fn finish(&self, end: StreamEnd) {
        self.feed.set_end(end);
        self.notify().await;
    }

    /// Sends a heartbeat on every stream that has been silent for some time.
    pub(super) async fn heartbeat(&self) {
        self.for_each(|connection| connection.heartbeat(&self.feed)).await;
    }

    async fn for_each(&self, action: impl Fn(&Connection<S>)) {
        let mut batch = Vec::with_capacity(BATCH_SIZE);
        let mut last = None;
        loop {
            last = self.next_batch(last, &mut batch);
            if last.is_none() {
                return;
            }
            batch.drain(..).for_each(|connection| action(&connection));
            tokio::task::yield_now().await;
        }
    }

    /// Fills a batch with the connections that follow the number `after`. Returns the number of the last one.
    fn next_batch(&self, after: Option<u64>, batch: &mut Vec<Rc<Connection<S>>>) -> Option<u64> {
        let connections = self.connections.borrow();
        let mut last = None;
        for (number, connection) in
            connections.range((after.map_or(Unbounded, Excluded), Unbounded))
        {
            last = Some(*number);
            batch.push(Rc::clone(connection));
            if batch.len() == BATCH_SIZE {
                break;
            }
        }
        last
    }
}

/// The registration of a connection in its group, until it is dropped.
struct Registration<S: WatchSubject> {
    group: Rc<WatcherGroup<S>>,
    number: u64,
}

impl<S: WatchSubject> Drop for Registration<S> {
    fn drop(&mut self) {
        self.group.connections.borrow_mut().remove(&self.number);
    }
}
