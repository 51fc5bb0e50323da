//! One watcher's connection, after it has left HTTP: what is still to be sent, and what it was told last.
//!
//! It keeps at most one event, and that one shared with all others who are sent it. While a client does not read, events
//! pass it by; once it reads again it is told the newest.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::list::{List, News, Subject};
use super::wire::{self, Framing};
use crate::http::socket::Io;

/// How much a client may send after its request, all of it in vain, in bytes.
const HEARD_BYTES_MAX: usize = 16 * 1024;
/// How many ticks without a word make a beat.
const QUIET_TICKS_MAX: u32 = 3;

/// A watcher's connection. Used by its own task, which is woken when the client does something, and by the task of its list.
pub(super) struct Connection<S: Subject>(RefCell<Line<S>>);

struct Line<S: Subject> {
    io: Io,
    framing: Framing,
    unsent: Bytes,
    told: S::Told,
    /// Whether what is unsent is the last there is.
    is_last: bool,
    /// When something was sent last.
    spoke_at: u32,
    heard_bytes: usize,
    /// The connection's own task, once it runs.
    task: Option<Waker>,
}

impl<S: Subject> Connection<S> {
    /// A stream that begins now.
    pub(super) fn new(io: Io, framing: Framing, told: S::Told) -> Self {
        Self(RefCell::new(Line {
            io,
            framing,
            unsent: wire::opening(framing),
            told,
            is_last: false,
            spoke_at: 0,
            heard_bytes: 0,
            task: None,
        }))
    }

    /// The connection's own task; ready when the connection is over.
    pub(super) fn poll(&self, cx: &mut Context<'_>, list: &List<S>) -> Poll<()> {
        let mut line = self.0.borrow_mut();
        match &mut line.task {
            Some(task) => task.clone_from(cx.waker()),
            None => line.task = Some(cx.waker().clone()),
        }
        if line.listen(cx).is_ready() {
            return Poll::Ready(());
        }
        line.speak(cx, list)
    }

    /// Sends what the client was not told yet, if it takes it now.
    pub(super) fn tell(&self, list: &List<S>) {
        self.0.borrow_mut().on_behalf_of_its_task(|line, cx| line.speak(cx, list));
    }

    /// Sends a comment if nothing was sent for long.
    pub(super) fn beat(&self, list: &List<S>) {
        let mut line = self.0.borrow_mut();
        if line.unsent.is_empty() && list.now().wrapping_sub(line.spoke_at) >= QUIET_TICKS_MAX {
            line.say(wire::BEAT, list);
            line.on_behalf_of_its_task(|line, cx| line.speak(cx, list));
        }
    }
}

impl<S: Subject> Line<S> {
    /// Whoever does something with the connection does it so that its own task is woken later, and if it is over now. A
    /// task that has not begun will see for itself.
    fn on_behalf_of_its_task(&mut self, act: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<()>) {
        let Some(task) = self.task.take() else {
            return;
        };
        if act(self, &mut Context::from_waker(&task)).is_ready() {
            task.wake_by_ref();
        }
        self.task = Some(task);
    }

    /// Looks for the end of the connection; nothing that a client says counts.
    fn listen(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
            self.heard_bytes += buffer.filled().len();
            let is_over = read.is_err() || buffer.filled().is_empty();
            if is_over || self.heard_bytes > HEARD_BYTES_MAX {
                return Poll::Ready(());
            }
        }
    }

    /// Sends what there is until the client takes no more or knows all; ready when that was the last.
    fn speak(&mut self, cx: &mut Context<'_>, list: &List<S>) -> Poll<()> {
        loop {
            while self.unsent.has_remaining() {
                match Pin::new(&mut self.io).poll_write(cx, &self.unsent) {
                    Poll::Ready(Ok(count)) if count > 0 => self.unsent.advance(count),
                    Poll::Ready(_) => return Poll::Ready(()),
                    // A server that stops does not wait for those who do not read.
                    Poll::Pending if list.is_closing() => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            // An event that is sent is not kept.
            self.unsent = Bytes::new();
            if ready!(Pin::new(&mut self.io).poll_flush(cx)).is_err() || self.is_last {
                return Poll::Ready(());
            }
            match list.news(&mut self.told) {
                News::None => return Poll::Pending,
                News::Event(chunk) => self.say(chunk, list),
                News::End(chunk) => {
                    self.say(chunk.unwrap_or_default(), list);
                    self.is_last = true;
                    let end = [&self.unsent[..], &self.framing.end()].concat();
                    self.unsent = end.into();
                }
            }
        }
    }

    fn say(&mut self, chunk: Bytes, list: &List<S>) {
        self.unsent = self.framing.frame(chunk);
        self.spoke_at = list.now();
    }
}
