//! The bytes of a stream: its head, and its events as chunks of HTTP/1.1. An older HTTP has no chunks: then the same bytes
//! go out without their wrapping, and the stream ends with its connection.

use actix_http::Version;
use bytes::Bytes;

/// Between these a client is told to wait before it connects again, in milliseconds.
const RETRY_MILLISECONDS: std::ops::Range<u64> = 1_000..5_000;

/// A comment, which tells the client and all that stands between that the stream lives.
pub(super) const BEAT: Bytes = Bytes::from_static(b"3\r\n:\n\n\r\n");
/// The label was deleted.
pub(super) const GONE: Bytes = Bytes::from_static(b"13\r\nevent: gone\ndata:\n\n\r\n");

/// How the bytes of a stream are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// In chunks.
    Chunked,
    /// Not at all.
    Plain,
}

impl Framing {
    pub(super) fn of(version: Version) -> Self {
        match version {
            Version::HTTP_09 | Version::HTTP_10 => Self::Plain,
            _ => Self::Chunked,
        }
    }

    /// A chunk as it goes out.
    pub(super) fn frame(self, chunk: Bytes) -> Bytes {
        match self {
            Self::Chunked => chunk,
            Self::Plain => unwrapped(&chunk),
        }
    }

    /// What says that the stream is over.
    pub(super) fn end(self) -> Bytes {
        match self {
            Self::Chunked => Bytes::from_static(b"0\r\n\r\n"),
            Self::Plain => Bytes::new(),
        }
    }
}

/// An event as a chunk.
pub(super) fn chunk(event: &[u8]) -> Bytes {
    let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
    chunk.extend_from_slice(event);
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
}

/// The event in a chunk.
fn unwrapped(chunk: &Bytes) -> Bytes {
    let begin = chunk.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    chunk.slice(begin..chunk.len().saturating_sub(2).max(begin))
}

/// What every stream begins with: the head of the answer, and how long to wait before the next one.
pub(super) fn opening(framing: Framing) -> Bytes {
    let coding = match framing {
        Framing::Chunked => "transfer-encoding: chunked\r\n",
        Framing::Plain => "",
    };
    let date = httpdate();
    let head = format!(
        "HTTP/1.1 200 OK\r\n{coding}connection: close\r\ncontent-type: text/event-stream\r\n\
         cache-control: no-cache\r\nx-accel-buffering: no\r\nvary: Accept\r\ndate: {date}\r\n\r\n"
    );
    let retry = format!("retry: {}\n\n", fastrand::u64(RETRY_MILLISECONDS));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&framing.frame(chunk(retry.as_bytes())));
    bytes.into()
}

/// Now, as HTTP writes it.
fn httpdate() -> String {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_can_be_unwrapped() {
        for event in ["", "x", "data: 1\n\n", &"long".repeat(1_000)] {
            assert_eq!(Framing::Plain.frame(chunk(event.as_bytes())), event.as_bytes());
        }
    }

    #[test]
    fn what_is_written_out_is_what_would_be_made() {
        assert_eq!(BEAT, chunk(b":\n\n"));
        assert_eq!(GONE, chunk(b"event: gone\ndata:\n\n"));
    }
}
