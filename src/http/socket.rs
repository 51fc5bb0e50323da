//! The socket under an HTTP connection, which can be detached from HTTP.
//!
//! The HTTP server keeps buffers and timers for each connection and controls every write. An event stream needs none of
//! this during the days that it lasts. Its socket is detached: HTTP takes the connection for closed and drops it, and a
//! task of the stream owns the socket from then on.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::identity::{ConnectionIdentity, SharedIdentities};
use crate::access::CertificateNames;

/// The time that a client may go on sending a request after its response.
const UNREAD_MAX: Duration = Duration::from_secs(5);
/// The most times that a handler yields to let HTTP begin its next turn. If the client has sent more than HTTP reads
/// ahead, no turn begins.
const YIELDS_MAX: u32 = 16;

/// The transport of a connection.
pub enum Io {
    /// TCP without TLS.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The socket of an HTTP connection, until it is detached.
pub struct Socket(Rc<SocketState>);

/// A handle of a request on its socket, by which the connection can be detached or closed.
#[derive(Clone)]
pub struct ConnectionHandle(Rc<SocketState>);

/// A handle that closes a connection without keeping it open.
pub(super) struct Closer(Weak<SocketState>);

#[derive(Default)]
struct SocketState {
    /// `None` once the socket is detached.
    io: RefCell<Option<Io>>,
    /// The number of reads by HTTP. HTTP reads at the beginning of each turn, then polls its handler, and writes at the
    /// end.
    read_count: Cell<u64>,
    /// True while the connection has not taken bytes that HTTP wants to write.
    write_blocked: Cell<bool>,
    /// Woken when HTTP can write again.
    write_waker: Cell<Option<Waker>>,
    /// True once the client has closed its side or is gone.
    client_closed: Cell<bool>,
    /// Woken when the client closes its side.
    close_waker: Cell<Option<Waker>>,
    /// The names in the client's certificate, which the TLS layer has verified.
    certificate: Option<Arc<CertificateNames>>,
    /// The credential of the last request and its identity, under a policy.
    identity: RefCell<Option<Rc<ConnectionIdentity>>>,
    /// The identities of the other connections of this worker thread.
    shared_identities: Rc<SharedIdentities>,
    /// The task that owns a detached socket, until the server takes it.
    detached: Cell<Option<LocalBoxFuture<'static, ()>>>,
}

impl Socket {
    /// Wraps a transport for HTTP. `certificate` has the names in the client's certificate, if it has shown one.
    pub fn new(
        io: Io,
        certificate: Option<Arc<CertificateNames>>,
        shared_identities: Rc<SharedIdentities>,
    ) -> Self {
        let io = RefCell::new(Some(io));
        let state = SocketState { io, certificate, shared_identities, ..SocketState::default() };
        Self(Rc::new(state))
    }

    /// Returns the handle for the requests of this connection.
    pub fn handle(&self) -> ConnectionHandle {
        ConnectionHandle(Rc::clone(&self.0))
    }
}

impl ConnectionHandle {
    /// Detaches the socket from HTTP once all earlier responses are written, and hands it to the future of `then`.
    ///
    /// Cancellation: this never returns. HTTP sees a closed connection and drops the calling handler.
    pub(super) async fn detach<F>(&self, then: impl FnOnce(Io) -> F) -> Infallible
    where
        F: Future<Output = ()> + 'static,
    {
        self.all_written().await;
        let io = self.0.io.borrow_mut().take();
        self.0.detached.set(io.map(|io| Box::pin(then(io)) as LocalBoxFuture<'static, ()>));
        let mut is_woken = false;
        poll_fn(|cx| {
            // HTTP must poll its connection once more to see that it is closed.
            if !std::mem::replace(&mut is_woken, true) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Closes the connection after [`UNREAD_MAX`], unless it is closed before. Otherwise HTTP would read an unused body
    /// of unknown length without end.
    pub(super) fn close_later(&self) {
        let closer = self.closer();
        actix_web::rt::spawn(async move {
            tokio::time::sleep(UNREAD_MAX).await;
            closer.close();
        });
    }

    /// Waits until the client closes its side of the connection or is gone. Only one request of a connection can wait
    /// at a time.
    pub(super) async fn closed(&self) {
        poll_fn(|cx| {
            self.0.close_waker.set(Some(cx.waker().clone()));
            if self.0.client_closed.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Returns a handle that closes the connection from another task.
    pub(super) fn closer(&self) -> Closer {
        Closer(Rc::downgrade(&self.0))
    }

    /// The names in the client's certificate. `None` if the client has shown none.
    pub(super) fn certificate(&self) -> Option<&Arc<CertificateNames>> {
        self.0.certificate.as_ref()
    }

    /// The memory of this connection for the identity of its requests.
    pub(super) fn identity(&self) -> &RefCell<Option<Rc<ConnectionIdentity>>> {
        &self.0.identity
    }

    /// The identities of the other connections of this worker thread.
    pub(super) fn shared_identities(&self) -> &SharedIdentities {
        &self.0.shared_identities
    }

    /// Closes the connection. Does nothing if it is already closed.
    pub fn close(&self) {
        self.closer().close();
    }

    /// Takes the task of a detached socket.
    pub fn take_detached(&self) -> Option<LocalBoxFuture<'static, ()>> {
        self.0.detached.take()
    }

    /// Waits until HTTP has written all earlier responses. HTTP may poll its handler several times before it writes at
    /// the end of its turn, so an interim response (100) may still be unwritten. The handler yields until the next turn
    /// begins, and then waits while the connection takes no bytes.
    async fn all_written(&self) {
        let read_count = self.0.read_count.get();
        let mut yields = 0;
        poll_fn(|cx| {
            if self.0.read_count.get() == read_count && yields < YIELDS_MAX {
                yields += 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.0.write_blocked.get() {
                self.0.write_waker.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Closer {
    /// Shuts down both directions. HTTP sees an error and drops the connection and its response. Does nothing if the
    /// connection is already closed.
    pub(super) fn close(&self) {
        if let Some(state) = self.0.upgrade()
            && let Some(io) = &*state.io.borrow()
        {
            io.close();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.read_count.set(self.0.read_count.get().wrapping_add(1));
        let before = buffer.filled().len();
        let read = match &mut *self.0.io.borrow_mut() {
            Some(io) => Pin::new(io).poll_read(cx, buffer),
            None => Poll::Ready(Ok(())),
        };
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        if matches!(&read, Poll::Ready(outcome) if outcome.is_err() || is_end) {
            self.0.client_closed.set(true);
            if let Some(waker) = self.0.close_waker.take() {
                waker.wake();
            }
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut *self.0.io.borrow_mut() {
            Some(io) => Pin::new(io).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        self.0.write_blocked.set(written.is_pending());
        if written.is_ready()
            && let Some(waker) = self.0.write_waker.take()
        {
            waker.wake();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.io.borrow_mut() {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.io.borrow_mut() {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Io {
    /// Shuts down both directions. Pending reads and writes end.
    fn close(&self) {
        let stream = match self {
            Self::Plain(io) => io,
            Self::Tls(io) => io.get_ref().0,
        };
        // An error means that the connection is already closed.
        let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both);
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
