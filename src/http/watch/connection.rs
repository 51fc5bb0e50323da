//! The connection of one event stream, after it was detached from HTTP: its unsent bytes and its cursor.
//!
//! Invariant: a connection keeps at most one event, whose bytes it shares with the other connections of the group. A
//! client that does not read misses events. Once it reads again, it receives the newest one. The question of a trial is an
//! event of this connection alone, and no event of the group comes between its pieces.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::feed::{Feed, NextMessage, WatchSubject};
use super::wire::{self, Framing};
use crate::fleet::TrialInbox;
use crate::http::identity::Lease;
use crate::http::socket::Io;

/// The most bytes that a client may send after its request. They are ignored.
const RECEIVED_BYTES_MAX: usize = 16 * 1024;
/// The number of silent ticks after which a heartbeat is due.
const QUIET_TICKS_MAX: u32 = 3;

/// The connection of an event stream. Two tasks of the same thread use it: its own, which the socket wakes, and that of
/// its group.
pub(super) struct Connection<S: WatchSubject>(RefCell<ConnectionState<S>>);

struct ConnectionState<S: WatchSubject> {
    io: Io,
    framing: Framing,
    unsent: Bytes,
    cursor: S::Cursor,
    /// The permission of the stream, under a policy.
    lease: Option<Lease>,
    /// The questions to an instance that tries content.
    trials: Option<Box<TrialQuestions>>,
    /// True if the stream ends after the unsent bytes.
    is_last: bool,
    /// The tick at which the last message was queued.
    last_queued: u32,
    received_bytes: usize,
    /// The waker of the connection's own task. `None` until the task runs.
    task: Option<Waker>,
}

/// The questions to an instance that tries content which is not published.
struct TrialQuestions {
    inbox: TrialInbox,
    /// The pieces of the question that is being sent, the next one last.
    rest: Vec<Bytes>,
}

impl<S: WatchSubject> Connection<S> {
    /// Creates the connection with the opening of a stream as unsent bytes.
    pub(super) fn new(
        io: Io,
        framing: Framing,
        cursor: S::Cursor,
        lease: Option<Lease>,
        inbox: Option<TrialInbox>,
    ) -> Self {
        Self(RefCell::new(ConnectionState {
            io,
            framing,
            unsent: wire::opening(framing, lease.is_some(), S::depends_on_instance(&cursor)),
            cursor,
            lease,
            trials: inbox.map(|inbox| Box::new(TrialQuestions { inbox, rest: Vec::new() })),
            is_last: false,
            last_queued: 0,
            received_bytes: 0,
            task: None,
        }))
    }

    /// Polls the connection in its own task. Ready when the connection has ended.
    pub(super) fn poll(&self, cx: &mut Context<'_>, feed: &Feed<S>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            None => state.task = Some(cx.waker().clone()),
        }
        if state.poll_closed(cx).is_ready() {
            return Poll::Ready(());
        }
        state.flush(cx, feed)
    }

    /// Sends the next event, as far as the client takes it now.
    pub(super) fn notify(&self, feed: &Feed<S>) {
        self.0.borrow_mut().with_task_waker(|state, cx| state.flush(cx, feed));
    }

    /// Ends the stream of a caller that has lost access. Otherwise sends a heartbeat if no message was queued for some
    /// time.
    pub(super) fn heartbeat(&self, feed: &Feed<S>) {
        let mut state = self.0.borrow_mut();
        if !state.is_permitted() {
            return state.with_task_waker(|_, _| Poll::Ready(()));
        }
        if state.unsent.is_empty() && feed.now().wrapping_sub(state.last_queued) >= QUIET_TICKS_MAX
        {
            state.queue(wire::HEARTBEAT, feed);
            state.with_task_waker(|state, cx| state.flush(cx, feed));
        }
    }
}

impl<S: WatchSubject> ConnectionState<S> {
    /// Runs an action of the group's task with the waker of the connection's own task, so that the socket wakes that
    /// task later. Wakes it now if the action ends the connection. A task that has not started yet needs no wake-up.
    fn with_task_waker(&mut self, act: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<()>) {
        let Some(task) = self.task.take() else {
            return;
        };
        if act(self, &mut Context::from_waker(&task)).is_ready() {
            task.wake_by_ref();
        }
        self.task = Some(task);
    }

    /// Ready when the client has closed the connection or sent too much. Ignores the bytes that it sends.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
            self.received_bytes += buffer.filled().len();
            let is_closed = read.is_err() || buffer.filled().is_empty();
            if is_closed || self.received_bytes > RECEIVED_BYTES_MAX {
                return Poll::Ready(());
            }
        }
    }

    /// Sends unsent bytes and further events until the client takes no more or is up to date. Ready when the connection
    /// has ended.
    fn flush(&mut self, cx: &mut Context<'_>, feed: &Feed<S>) -> Poll<()> {
        loop {
            // Examined before each write, so that no event follows a change of the policy that denies it.
            if !self.is_permitted() {
                return Poll::Ready(());
            }
            while self.unsent.has_remaining() {
                match Pin::new(&mut self.io).poll_write(cx, &self.unsent) {
                    Poll::Ready(Ok(count)) if count > 0 => self.unsent.advance(count),
                    Poll::Ready(_) => return Poll::Ready(()),
                    // A stopping server does not wait for clients that do not read.
                    Poll::Pending if feed.is_stopping() => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            // Drops the reference to the bytes of the sent event.
            self.unsent = Bytes::new();
            if ready!(Pin::new(&mut self.io).poll_flush(cx)).is_err() || self.is_last {
                return Poll::Ready(());
            }
            // Nothing is sent between two pieces of a question.
            if let Some(piece) = self.trials.as_mut().and_then(|trials| trials.rest.pop()) {
                self.unsent = piece;
                continue;
            }
            match feed.next_message(&mut self.cursor, self.lease.as_ref()) {
                NextMessage::None => match self.next_question(cx) {
                    Some(piece) => {
                        self.unsent = piece;
                        self.last_queued = feed.now();
                    }
                    None => return Poll::Pending,
                },
                NextMessage::Event(chunk) => self.queue(chunk, feed),
                NextMessage::End(chunk) => {
                    self.queue(chunk.unwrap_or_default(), feed);
                    self.is_last = true;
                    let end = [&self.unsent[..], &self.framing.end()].concat();
                    self.unsent = end.into();
                }
            }
        }
    }

    /// Returns the first piece of the next question. A watcher that is not up to date receives its event first.
    fn next_question(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        let trials = self.trials.as_mut()?;
        let question = trials.inbox.poll_question(cx)?;
        let [first, json, end] = wire::try_event(self.framing, &question.id, question.json);
        trials.rest = vec![end, json];
        Some(first)
    }

    fn is_permitted(&mut self) -> bool {
        self.lease.as_mut().is_none_or(Lease::is_held)
    }

    fn queue(&mut self, chunk: Bytes, feed: &Feed<S>) {
        self.unsent = self.framing.frame(chunk);
        self.last_queued = feed.now();
    }
}
