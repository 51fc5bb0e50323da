//! Writing the trail: the chain, and the lines that wait for the disk.

use std::fmt;
use std::io::{self, BufRead, Write};

use jiff::Timestamp;

use super::line::{AuditEvent, AuditLine, Entry, LinePlace};
use super::{RawLine, read_line};
use crate::sha256::Sha256;

/// The last line of a trail: its number and its hash. Copies of it elsewhere prove that no line was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub hash: Sha256,
}

impl Head {
    /// The head of a trail without lines.
    pub const EMPTY: Self = Self { seq: 0, hash: Sha256::ZERO };

    pub(super) fn of(seq: u64, line: &[u8]) -> Self {
        Self { seq, hash: Sha256::of(line) }
    }

    /// Parses the text that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Some(Self { seq: seq.parse().ok()?, hash: Sha256::parse(hash)? })
    }
}

impl fmt::Display for Head {
    /// Writes `seq:hash`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// The end of the chain, to which lines are added.
#[derive(Debug, Clone)]
pub struct Chain {
    replica: String,
    boot: String,
    head: Head,
}

impl Chain {
    /// Continues a trail. `Head::EMPTY` begins one.
    pub fn new(head: Head, replica: impl Into<String>, boot: impl Into<String>) -> Self {
        Self { replica: replica.into(), boot: boot.into(), head }
    }

    pub fn head(&self) -> Head {
        self.head
    }

    /// The text of the next line with its line feed, and the head after it. The chain itself does not move.
    fn next(&self, entry: &Entry, now: Timestamp) -> io::Result<(Vec<u8>, Head)> {
        let seq = self.head.seq + 1;
        let (replica, boot, prev) = (&self.replica, &self.boot, self.head.hash.to_string());
        let line = AuditLine::new(entry, LinePlace { seq, time: now, replica, boot, prev });
        let mut text = line.to_text()?;
        let head = Head::of(seq, &text);
        text.push(b'\n');
        Ok((text, head))
    }
}

/// A trail whose lines wait in memory until a writer takes them.
///
/// Invariant: the bytes that writers have taken, one after the other, are whole lines of one chain and at most one
/// beginning of a line, which the next flush continues. A failed write therefore never damages the file.
#[derive(Debug)]
pub struct Trail {
    chain: Chain,
    waiting: Vec<u8>,
    /// How much of `waiting` a writer has taken.
    taken: usize,
    /// The last byte that a writer has taken is not the end of a line.
    is_in_line: bool,
    waiting_bytes_max: usize,
    lost: Option<LostEvents>,
}

/// Events that were counted because no space was left.
#[derive(Debug, Clone, Copy)]
struct LostEvents {
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

/// The trail has no space for another line. The event was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event was not recorded: {waiting} bytes of the audit trail wait for the disk. Free space \
     or correct the permissions of the audit file"
)]
pub struct TrailFullError {
    /// How many bytes are waiting.
    pub waiting: usize,
}

impl Trail {
    pub fn new(chain: Chain, waiting_bytes_max: usize) -> Self {
        Self {
            chain,
            waiting: Vec::new(),
            taken: 0,
            is_in_line: false,
            waiting_bytes_max,
            lost: None,
        }
    }

    /// The head of all recorded lines, including the waiting ones.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// How many bytes wait for a writer.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.taken
    }

    /// How many events were counted since the last line that reports them.
    pub fn lost_count(&self) -> u64 {
        self.lost.map_or(0, |lost| lost.count)
    }

    /// Adds a line. On an error the act that it describes must not take place.
    pub fn record(&mut self, entry: &Entry, now: Timestamp) -> Result<(), TrailFullError> {
        self.report_lost(now)?;
        self.append(entry, now)
    }

    /// Adds a line, or counts the event if there is no space. For events that take place in any case. Returns true if
    /// the line was added.
    pub fn record_or_count(&mut self, entry: &Entry, now: Timestamp) -> bool {
        if self.record(entry, now).is_ok() {
            return true;
        }
        let lost = self.lost.get_or_insert(LostEvents { count: 0, first: now, last: now });
        lost.count = lost.count.saturating_add(entry.count.unwrap_or(1));
        lost.last = now;
        false
    }

    /// Adds the line about counted events, if there are any. It waits until half of the space is free, so that one line
    /// covers a whole outage, and not each moment at which a short line has space.
    pub fn report_lost(&mut self, now: Timestamp) -> Result<(), TrailFullError> {
        let Some(lost) = self.lost else {
            return Ok(());
        };
        let waiting = self.waiting_bytes();
        if waiting > self.waiting_bytes_max / 2 {
            return Err(TrailFullError { waiting });
        }
        let gap = Entry {
            count: Some(lost.count),
            first: Some(lost.first),
            last: Some(lost.last),
            ..Entry::new(AuditEvent::Gap)
        };
        self.append(&gap, now)?;
        self.lost = None;
        Ok(())
    }

    fn append(&mut self, entry: &Entry, now: Timestamp) -> Result<(), TrailFullError> {
        let waiting = self.waiting_bytes();
        let full = TrailFullError { waiting };
        let (text, head) = self.chain.next(entry, now).map_err(|_| full)?;
        if waiting + text.len() > self.waiting_bytes_max {
            return Err(full);
        }
        self.waiting.extend_from_slice(&text);
        self.chain.head = head;
        Ok(())
    }

    /// Writes the waiting lines. After an error the rest is kept, and the next flush continues at the same byte.
    pub fn flush(&mut self, writer: &mut impl Write) -> io::Result<()> {
        while self.taken < self.waiting.len() {
            match writer.write(&self.waiting[self.taken..]) {
                Ok(0) => {
                    self.release_taken();
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.release_taken();
                    return Err(error);
                }
            }
        }
        self.release_taken();
        writer.flush()
    }

    /// Returns true if the next flush begins a line, so that it may go to another file.
    pub fn is_between_lines(&self) -> bool {
        !self.is_in_line
    }

    fn release_taken(&mut self) {
        if let Some(last) = self.waiting[..self.taken].last() {
            self.is_in_line = *last != b'\n';
        }
        self.waiting.drain(..self.taken);
        self.taken = 0;
    }
}

/// The state of a file that a server has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveredFile {
    /// The last whole line. `None` for a file without lines, whose chain continues that of the file before.
    pub head: Option<Head>,
    /// The length of all whole lines. The file has to be cut to it before it is continued.
    pub whole_bytes: u64,
    /// True if a line was being written when the server ended. Its event was not acknowledged.
    pub has_torn_line: bool,
}

/// A file that cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("the audit file cannot be read: {0}. No line was written")]
    Read(#[from] io::Error),
    #[error(
        "line {line} of the audit file is not an audit line. Move the file away to \
         begin a new trail"
    )]
    NotALine { line: u64 },
}

/// Finds the end of the last whole line. It does not verify the chain.
pub fn recover(reader: &mut impl BufRead) -> Result<RecoveredFile, RecoverError> {
    let mut recovered = RecoveredFile { head: None, whole_bytes: 0, has_torn_line: false };
    let mut last = None;
    let mut line = 0;
    while let Some(raw) = read_line(reader)? {
        line += 1;
        match raw {
            RawLine::Whole(bytes) => {
                recovered.whole_bytes += bytes.len() as u64 + 1;
                last = Some(bytes);
            }
            RawLine::Torn => {
                recovered.has_torn_line = true;
                line -= 1;
            }
            RawLine::TooLong => return Err(RecoverError::NotALine { line }),
        }
    }
    if let Some(bytes) = last {
        let parsed: Result<AuditLine, _> = serde_json::from_slice(&bytes);
        let seq = parsed.map_err(|_| RecoverError::NotALine { line })?.seq;
        recovered.head = Some(Head::of(seq, &bytes));
    }
    Ok(recovered)
}
