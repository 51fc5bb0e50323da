//! The bytes of an event stream: its head, and its events as chunks of HTTP/1.1. HTTP/1.0 has no chunks, so the events
//! are sent without framing there, and the stream ends with its connection.

use actix_http::Version;
use bytes::Bytes;

/// The range of the random time that a client is told to wait before it reconnects, in milliseconds.
const RETRY_MILLISECONDS: std::ops::Range<u64> = 1_000..5_000;

/// A comment, which shows the client and the proxies before it that the stream lives.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b"3\r\n:\n\n\r\n");
/// The event for a deleted label.
pub(super) const GONE_EVENT: Bytes = Bytes::from_static(b"13\r\nevent: gone\ndata:\n\n\r\n");

/// The framing of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Chunks of HTTP/1.1.
    Chunked,
    /// No framing.
    Plain,
}

impl Framing {
    pub(super) fn of(version: Version) -> Self {
        match version {
            Version::HTTP_09 | Version::HTTP_10 => Self::Plain,
            _ => Self::Chunked,
        }
    }

    /// Returns the bytes to send for a chunk.
    pub(super) fn frame(self, chunk: Bytes) -> Bytes {
        match self {
            Self::Chunked => chunk,
            Self::Plain => unwrapped(&chunk),
        }
    }

    /// Returns the bytes that end a stream.
    pub(super) fn end(self) -> Bytes {
        match self {
            Self::Chunked => Bytes::from_static(b"0\r\n\r\n"),
            Self::Plain => Bytes::new(),
        }
    }
}

/// Returns the event of a trial as one chunk, in pieces, so that the JSON is not copied.
pub(super) fn try_event(framing: Framing, id: &str, json: Bytes) -> [Bytes; 3] {
    let head = format!("event: try\ntry: {id}\ndata: ");
    let length = head.len() + json.len() + 2;
    match framing {
        Framing::Chunked => {
            let head = format!("{length:x}\r\n{head}");
            [head.into(), json, Bytes::from_static(b"\n\n\r\n")]
        }
        Framing::Plain => [head.into(), json, Bytes::from_static(b"\n\n")],
    }
}

/// Wraps an event in a chunk.
pub(super) fn chunk(event: &[u8]) -> Bytes {
    let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
    chunk.extend_from_slice(event);
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
}

/// Returns the event in a chunk.
fn unwrapped(chunk: &Bytes) -> Bytes {
    let begin = chunk.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    chunk.slice(begin..chunk.len().saturating_sub(2).max(begin))
}

/// Returns the first bytes of a stream: the head of the response, and the reconnection time. A private stream depends on
/// the credential of its request, a stream of an instance on its name.
pub(super) fn opening(framing: Framing, is_private: bool, is_of_instance: bool) -> Bytes {
    let coding = match framing {
        Framing::Chunked => "transfer-encoding: chunked\r\n",
        Framing::Plain => "",
    };
    let (caching, vary) = match is_private {
        true => ("private, no-cache", "Accept, Authorization, X-Config-Token"),
        false => ("no-cache", "Accept"),
    };
    let instance = if is_of_instance { ", Headwater-Instance" } else { "" };
    let date = httpdate();
    let head = format!(
        "HTTP/1.1 200 OK\r\n{coding}connection: close\r\ncontent-type: text/event-stream\r\n\
         cache-control: {caching}\r\nx-accel-buffering: no\r\nvary: {vary}{instance}\r\ndate: {date}\r\n\r\n"
    );
    let retry = format!("retry: {}\n\n", fastrand::u64(RETRY_MILLISECONDS));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&framing.frame(chunk(retry.as_bytes())));
    bytes.into()
}

/// The current time in the format of HTTP.
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
    fn the_event_of_a_trial_is_one_chunk() {
        let event = b"event: try\ntry: 7.x\ndata: {\"a\":1}\n\n";
        let pieces = |framing| try_event(framing, "7.x", Bytes::from_static(b"{\"a\":1}")).concat();
        assert_eq!(pieces(Framing::Chunked), chunk(event));
        assert_eq!(pieces(Framing::Plain), event);
    }

    #[test]
    fn the_constants_are_chunks() {
        assert_eq!(HEARTBEAT, chunk(b":\n\n"));
        assert_eq!(GONE_EVENT, chunk(b"event: gone\ndata:\n\n"));
    }
}
