//! The frames of git's protocol. Four hexadecimal digits give the length of the frame, and the content follows. Only
//! the first byte of the content is read, which names the recipient.

use bytes::{Buf, Bytes, BytesMut};

/// The maximum length of a frame, including the digits.
const FRAME_BYTES_MAX: usize = 65_520;
/// The band of text for the pusher.
const PROGRESS: u8 = 2;
/// The band of the report for the pusher's git.
const REPORT: u8 = 1;
/// The band of a final error, in place of a report.
const FAILURE: u8 = 3;

/// The frame that ends an answer.
const END: &[u8] = b"0000";

/// A frame, including its digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Text for the pusher, such as progress.
    Progress(Bytes),
    /// Any other frame: the report, alone or in its side band, and the frame that ends it.
    Report(Bytes),
}

/// Bytes that are not framed as git frames them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame")]
pub(super) struct MalformedFrameError;

/// A buffer that splits a stream of bytes into frames.
#[derive(Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Appends received bytes.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Removes and returns the next frame, once it is complete.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, MalformedFrameError> {
        let Some(digits) = self.buffer.get(..4) else { return Ok(None) };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or(MalformedFrameError);
        let length = digits.iter().try_fold(0, |sum, byte| Ok(sum * 16 + digit(byte)? as usize))?;
        let length = match length {
            // A length below four is a marker without content.
            0..4 => 4,
            length => length,
        };
        if length > FRAME_BYTES_MAX {
            return Err(MalformedFrameError);
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let frame = self.buffer.split_to(length).freeze();
        Ok(Some(match frame.get(4) {
            Some(&PROGRESS) => Frame::Progress(frame),
            _ => Frame::Report(frame),
        }))
    }

    /// Returns true if no bytes are left over.
    pub(super) fn is_empty(&self) -> bool {
        !self.buffer.has_remaining()
    }
}

/// Returns true if the report came in its side band, so that progress may be sent beside it.
pub(super) fn has_bands(report: &[Bytes]) -> bool {
    report.first().and_then(|frame| frame.get(4)) == Some(&REPORT)
}

/// Puts a final error after a report, in place of the frame that ends the answer. Git then shows the references of the
/// report, moves its own copies of them, and exits with an error.
pub(super) fn report_and_failure(report: &[Bytes], line: &str) -> Vec<Bytes> {
    let end = report.last().is_some_and(|frame| frame == END);
    let report = &report[..report.len() - usize::from(end)];
    report.iter().cloned().chain([failure(line)]).collect()
}

/// Frames a line for the pusher.
pub(super) fn progress(line: &str) -> Bytes {
    banded(PROGRESS, line)
}

/// Frames the final line for the pusher in place of a report. Git stops there and shows no reference as moved or
/// rejected.
pub(super) fn failure(line: &str) -> Bytes {
    banded(FAILURE, line)
}

fn banded(band: u8, line: &str) -> Bytes {
    let line = format!("{line}\n");
    let mut frame = format!("{:04x}", line.len() + 5).into_bytes();
    frame.push(band);
    frame.extend_from_slice(line.as_bytes());
    frame.into()
}

/// Frames an error line in place of an answer.
pub(super) fn error(line: &str) -> Bytes {
    format!("{:04x}ERR {line}", line.len() + 8).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_complete_for_every_size_of_the_received_pieces() {
        let stream = b"0008\x02abc000aunpack0000";
        for piece in 1..stream.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                frames.extend(bytes);
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame);
                }
            }
            let expected = [
                Frame::Progress(Bytes::from_static(b"0008\x02abc")),
                Frame::Report(Bytes::from_static(b"000aunpack")),
                Frame::Report(Bytes::from_static(b"0000")),
            ];
            assert_eq!(found, expected);
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_malformed_frame_is_an_error() {
        for bytes in [&b"zzzz"[..], b"fff1", b"\xff\xff\xff\xff", b"+012"] {
            let mut frames = Frames::default();
            frames.extend(bytes);
            assert_eq!(frames.next(), Err(MalformedFrameError), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_is_framed() {
        assert_eq!(error("no"), Bytes::from_static(b"000aERR no"));
        assert_eq!(progress("hello"), Bytes::from_static(b"000b\x02hello\n"));
        let report = [&b"000a\x01unpac"[..], END].map(Bytes::from_static);
        let answer = report_and_failure(&report, "no");
        assert_eq!(answer, [&report[0][..], b"0008\x03no\n"]);
    }
}
