//! A connection as HTTP sees it, and the way out of HTTP.
//!
//! What reads requests keeps buffers and timers for each connection, and wants to be asked before every write. A stream of
//! events needs none of that for the days that it lives: its connection leaves HTTP, which takes it for closed and forgets
//! it, and from then on belongs to whoever took it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// How long a client that has its answer already may go on sending the request.
const UNREAD_MAX: Duration = Duration::from_secs(5);

/// Bytes to and from a client.
pub enum Io {
    /// In the clear.
    Plain(TcpStream),
    /// Through TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that HTTP is spoken on, until it leaves.
pub struct Socket(Rc<Shared>);

/// The way out for a connection.
#[derive(Clone)]
pub struct Exit(Rc<Shared>);

#[derive(Default)]
struct Shared {
    io: RefCell<Option<Io>>,
    /// Whether HTTP has something to write that the connection did not take.
    blocked: Cell<bool>,
    /// Who waits for that to be over.
    leaving: Cell<Option<Waker>>,
    /// What goes on once HTTP is gone.
    after: Cell<Option<LocalBoxFuture<'static, ()>>>,
}

impl Socket {
    /// A connection for HTTP.
    pub fn new(io: Io) -> Self {
        Self(Rc::new(Shared { io: RefCell::new(Some(io)), ..Shared::default() }))
    }

    /// Its way out.
    pub fn exit(&self) -> Exit {
        Exit(Rc::clone(&self.0))
    }
}

impl Exit {
    /// Takes the connection out of HTTP, once all earlier answers are on their way, and says what goes on with it. HTTP
    /// drops the caller in the end: nobody is left who could be answered.
    pub(super) async fn leave<F>(&self, then: impl FnOnce(Io) -> F) -> Infallible
    where
        F: Future<Output = ()> + 'static,
    {
        self.all_written().await;
        let io = self.0.io.borrow_mut().take();
        self.0.after.set(io.map(|io| Box::pin(then(io)) as LocalBoxFuture<'static, ()>));
        let mut told = false;
        poll_fn(|cx| {
            // HTTP has to look at its connection once more to see that it is over.
            if !std::mem::replace(&mut told, true) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Closes the connection in a while, unless it is closed before. HTTP would go on for ever to read a body of unknown
    /// length that nobody wants.
    pub(super) fn close_in_a_while(&self) {
        // Not held for that long: what is closed has to go.
        let shared = Rc::downgrade(&self.0);
        actix_web::rt::spawn(async move {
            tokio::time::sleep(UNREAD_MAX).await;
            if let Some(shared) = shared.upgrade()
                && let Some(io) = &*shared.io.borrow()
            {
                io.close();
            }
        });
    }

    /// What goes on with a connection that has left.
    pub fn after(&self) -> Option<LocalBoxFuture<'static, ()>> {
        self.0.after.take()
    }

    /// HTTP writes after it has asked its handler: so the handler steps back once, and then waits for as long as the
    /// connection takes nothing.
    async fn all_written(&self) {
        let mut stepped_back = false;
        poll_fn(|cx| {
            if !std::mem::replace(&mut stepped_back, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.0.blocked.get() {
                self.0.leaving.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self.0.io.borrow_mut() {
            Some(io) => Pin::new(io).poll_read(cx, buffer),
            None => Poll::Ready(Ok(())),
        }
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
        self.0.blocked.set(written.is_pending());
        if written.is_ready()
            && let Some(leaving) = self.0.leaving.take()
        {
            leaving.wake();
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
    /// Ends both directions; whoever reads or writes is told.
    fn close(&self) {
        let stream = match self {
            Self::Plain(io) => io,
            Self::Tls(io) => io.get_ref().0,
        };
        // One that is closed already cannot be, and need not be.
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
