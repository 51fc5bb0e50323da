//! Who watches one thing on one worker: a list of connections, one task that is woken when the thing changes, and those
//! who wait for no more than the next change.
//!
//! The publisher wakes the task of each list, one for each worker and answer, whatever the number of connections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::wire::{self, Framing};
use crate::http::socket::Io;

/// How many connections are told in one go; between two goes the worker does whatever else there is to do.
const GO: usize = 64;

/// What is watched.
pub(super) trait Subject: 'static {
    /// What one watcher was told last.
    type Told: 'static;

    /// What a watcher is told next; nothing while it knows all there is.
    fn next(&self, told: &mut Self::Told) -> Option<Bytes>;
}

/// What a connection is to send.
pub(super) enum News {
    /// Nothing now.
    None,
    /// One event, as a chunk.
    Event(Bytes),
    /// The last one, if there is one, and then the end.
    End(Option<Bytes>),
}

/// Why a list is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The label was deleted.
    Gone,
    /// The server stops.
    Closing,
}

/// The watchers of one thing on one worker.
pub(super) struct List<S: Subject> {
    subject: S,
    connections: RefCell<BTreeMap<u64, Rc<Connection<S>>>>,
    next_number: Cell<u64>,
    /// Woken after every change, for those who only wait for one.
    changed: Notify,
    end: Cell<Option<End>>,
    /// The worker's clock, in ticks.
    clock: Rc<Cell<u32>>,
    /// Waits for changes until the list is dropped.
    follower: Cell<Option<AbortHandle>>,
}

impl<S: Subject> List<S> {
    pub(super) fn new(subject: S, clock: Rc<Cell<u32>>) -> Self {
        Self {
            subject,
            connections: RefCell::default(),
            next_number: Cell::new(0),
            changed: Notify::new(),
            end: Cell::new(None),
            clock,
            follower: Cell::new(None),
        }
    }

    /// Says which task tells this list of changes; it ends with the list.
    pub(super) fn followed_by(&self, task: AbortHandle) {
        self.follower.set(Some(task));
    }

    /// What is watched.
    pub(super) fn subject(&self) -> &S {
        &self.subject
    }

    pub(super) fn now(&self) -> u32 {
        self.clock.get()
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end.get()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.end() == Some(End::Closing)
    }

    /// Woken after the next change, and at the end.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    pub(super) fn news(&self, told: &mut S::Told) -> News {
        match self.end() {
            Some(End::Gone) => News::End(Some(wire::GONE)),
            Some(End::Closing) => News::End(None),
            None => self.subject.next(told).map_or(News::None, News::Event),
        }
    }

    /// Streams to a connection until it is over; what says that it is watched is held until then.
    pub(super) async fn stream(
        self: Rc<Self>,
        io: Io,
        framing: Framing,
        told: S::Told,
        _watching: impl Sized,
    ) {
        let connection = Rc::new(Connection::new(io, framing, told));
        let number = self.next_number.replace(self.next_number.get() + 1);
        self.connections.borrow_mut().insert(number, Rc::clone(&connection));
        let seat = Seat { list: self, number };
        poll_fn(|cx| connection.poll(cx, &seat.list)).await;
    }

    /// Tells every connection what it does not know yet.
    pub(super) async fn tell(&self) {
        self.changed.notify_waiters();
        self.visit(|connection| connection.tell(self)).await;
    }

    /// Tells every connection that it is over.
    pub(super) async fn finish(&self, end: End) {
        self.end.set(Some(end));
        self.tell().await;
    }

    /// Shows every connection that was told nothing for long that the stream lives.
    pub(super) async fn beat(&self) {
        self.visit(|connection| connection.beat(self)).await;
    }

    async fn visit(&self, visit: impl Fn(&Connection<S>)) {
        let mut go = Vec::with_capacity(GO);
        let mut last = None;
        loop {
            last = self.collect(last, &mut go);
            if last.is_none() {
                return;
            }
            go.drain(..).for_each(|connection| visit(&connection));
            tokio::task::yield_now().await;
        }
    }

    /// The connections after one with a number, as many as make a go; gives the last one's number.
    fn collect(&self, after: Option<u64>, go: &mut Vec<Rc<Connection<S>>>) -> Option<u64> {
        let seated = self.connections.borrow();
        let mut last = None;
        for (number, connection) in seated.range((after.map_or(Unbounded, Excluded), Unbounded)) {
            last = Some(*number);
            go.push(Rc::clone(connection));
            if go.len() == GO {
                break;
            }
        }
        last
    }
}

impl<S: Subject> Drop for List<S> {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.take() {
            follower.abort();
        }
    }
}

/// A connection's place in its list.
struct Seat<S: Subject> {
    list: Rc<List<S>>,
    number: u64,
}

impl<S: Subject> Drop for Seat<S> {
    fn drop(&mut self) {
        self.list.connections.borrow_mut().remove(&self.number);
    }
}
