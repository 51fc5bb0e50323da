//! The frames of git's protocol: four hexadecimal digits of length, then as many bytes. What is in them is not looked at,
//! but for the first byte, which says whom it is for.

use bytes::{Buf, Bytes, BytesMut};

/// The longest frame, with its length.
const FRAME_BYTES_MAX: usize = 65_520;
/// Text for the person who pushes.
const PROGRESS: u8 = 2;
/// The report for the program that pushes.
const REPORT: u8 = 1;
/// The last words, in place of a report.
const FAILURE: u8 = 3;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Something to read while one waits.
    Progress(Bytes),
    /// Anything else: the report, alone or in its side band, and what ends it.
    Report(Bytes),
}

/// What came is not framed as git does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame")]
pub(super) struct Malformed;

/// Bytes that become frames.
#[derive(Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// More bytes.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, once it is whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some(digits) = self.buffer.get(..4) else { return Ok(None) };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or(Malformed);
        let length = digits.iter().try_fold(0, |sum, byte| Ok(sum * 16 + digit(byte)? as usize))?;
        let length = match length {
            // Below four it is a mark and has no content.
            0..4 => 4,
            length => length,
        };
        if length > FRAME_BYTES_MAX {
            return Err(Malformed);
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

    /// Whether nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        !self.buffer.has_remaining()
    }
}

/// Whether a report came in its side band, so that progress may stand beside it.
pub(super) fn has_bands(report: &[Bytes]) -> bool {
    report.first().and_then(|frame| frame.get(4)) == Some(&REPORT)
}

/// A line for the person who pushes.
pub(super) fn progress(line: &str) -> Bytes {
    banded(PROGRESS, line)
}

/// The last line for the person who pushes, when there is no report: git ends with it, and takes nothing for moved or refused.
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

/// A line in place of an answer: why there is none.
pub(super) fn error(line: &str) -> Bytes {
    format!("{:04x}ERR {line}", line.len() + 8).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_whatever_pieces_they_come_in() {
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
    fn what_is_no_frame_is_said() {
        for bytes in [&b"zzzz"[..], b"fff1", b"\xff\xff\xff\xff", b"+012"] {
            let mut frames = Frames::default();
            frames.extend(bytes);
            assert_eq!(frames.next(), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_becomes_a_frame() {
        assert_eq!(error("no"), Bytes::from_static(b"000aERR no"));
        assert_eq!(progress("hello"), Bytes::from_static(b"000b\x02hello\n"));
    }
}
