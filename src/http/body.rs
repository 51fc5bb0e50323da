//! Bodies that many connections share. HTTP copies each piece of a body into the buffer of its connection. A large body
//! is passed on in small pieces, so that a client that reads slowly does not hold a copy of the whole.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_web::rt::time::sleep;
use bytes::Bytes;

use super::renderings;
use super::socket::{Closer, ConnectionHandle};
use crate::store::Body;

/// The largest piece that is passed to HTTP at a time, in bytes.
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// The part of a large text that a client must read in each [`PACE_SPAN`], in bytes.
const PACE_BYTES: usize = 256 * 1024;
/// The time between two checks of a client's pace.
const PACE_SPAN: Duration = Duration::from_secs(30);

/// Makes a body from the JSON of an environment.
pub(super) fn of_environment(body: Body) -> BoxBody {
    if body.rest.is_empty() {
        return of_bytes(body.head, None);
    }
    BoxBody::new(PiecewiseBody { parts: [body.head, body.rest], text: None, left: Rc::default() })
}

/// Makes a body from a rendered text. The body keeps the text in memory until it is sent, so a client that reads too
/// slowly loses its connection.
pub(super) fn of_text(text: renderings::SharedText, connection: &ConnectionHandle) -> BoxBody {
    let Some(bytes) = text.get().map(|text| text.bytes.clone()) else {
        return BoxBody::new(());
    };
    if bytes.len() > PACE_BYTES {
        let parts = [bytes, Bytes::new()];
        let body = PiecewiseBody { parts, text: Some(text), left: Rc::default() };
        actix_web::rt::spawn(enforce_pace(Rc::downgrade(&body.left), connection.closer()));
        return BoxBody::new(body);
    }
    of_bytes(bytes, Some(text))
}

fn of_bytes(bytes: Bytes, text: Option<renderings::SharedText>) -> BoxBody {
    if bytes.len() <= PIECE_BYTES_MAX {
        return BoxBody::new(bytes);
    }
    BoxBody::new(PiecewiseBody { parts: [bytes, Bytes::new()], text, left: Rc::default() })
}

/// Closes the connection of a client that reads too slowly. Ends when the body is dropped.
async fn enforce_pace(left: Weak<Cell<u64>>, closer: Closer) {
    let mut before = u64::MAX;
    loop {
        sleep(PACE_SPAN).await;
        let Some(left) = left.upgrade() else { return };
        if before.saturating_sub(left.get()) < PACE_BYTES as u64 {
            return closer.close();
        }
        before = left.get();
    }
}

struct PiecewiseBody {
    /// The parts that are not sent yet.
    parts: [Bytes; 2],
    #[expect(
        dead_code,
        reason = "keeps the text's share of the memory limit until the body is dropped"
    )]
    text: Option<renderings::SharedText>,
    /// The number of unsent bytes, for [`enforce_pace`].
    left: Rc<Cell<u64>>,
}

impl PiecewiseBody {
    fn left(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }
}

impl MessageBody for PiecewiseBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left())
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let part = self.parts.iter_mut().find(|part| !part.is_empty());
        let piece = part.map(|part| part.split_to(part.len().min(PIECE_BYTES_MAX)));
        self.left.set(self.left());
        Poll::Ready(piece.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_is_sent_in_pieces() {
        let text: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let rest = Bytes::from(text.clone());
        let body = of_environment(Body { head: Bytes::from_static(b"head"), rest });
        assert_eq!(body.size(), BodySize::Sized(100_004));
        let mut body = Box::pin(body);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut sent = Vec::new();
        while let Poll::Ready(Some(piece)) = body.as_mut().poll_next(&mut context) {
            let piece = piece.unwrap();
            assert!(piece.len() <= PIECE_BYTES_MAX);
            sent.extend_from_slice(&piece);
        }
        assert_eq!(sent, [b"head".to_vec(), text].concat());
    }
}
