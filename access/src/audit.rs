//! The audit trail: JSON lines, each with the SHA-256 of the line before it.
//!
//! Invariant: a line never contains a value, a token, a header or a ciphertext. The types here have no field for one.

mod line;
mod query;
mod tally;
mod trail;
mod verify;

pub use line::{AuditEvent, AuditLine, Entry, TEXT_BYTES_MAX};
pub use query::{AuditQueryError, Filter, parse_time, query};
pub use tally::{Count, Recording, Tally, Ticket};
pub use trail::{Chain, Head, RecoverError, RecoveredFile, Trail, TrailFullError, recover};
pub use verify::{AuditVerifyError, BreakCause, Expected, VerifiedTrail, verify};

use std::io::{self, BufRead, Read};

/// The longest line that is read. Lines that are written are far shorter.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A line as it is in the file.
enum RawLine {
    /// A whole line, without its line feed.
    Whole(Vec<u8>),
    /// The bytes after the last line feed.
    Torn,
    TooLong,
}

/// Reads the next line. Returns `None` at the end.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<RawLine>> {
    let mut bytes = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 1;
    let count = reader.by_ref().take(limit).read_until(b'\n', &mut bytes)?;
    if count == 0 {
        return Ok(None);
    }
    if bytes.pop_if(|byte| *byte == b'\n').is_some() {
        return Ok(Some(RawLine::Whole(bytes)));
    }
    Ok(Some(if count > LINE_BYTES_MAX { RawLine::TooLong } else { RawLine::Torn }))
}

#[cfg(test)]
mod tests;
