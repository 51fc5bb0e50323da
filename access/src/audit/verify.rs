//! Verification of a trail, across its files.

use std::io::{self, BufRead};

use serde::Deserialize;

use super::trail::Head;
use super::{RawLine, read_line};
use crate::sha256::Sha256;

/// Heads that are known from elsewhere, such as the server's log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// The head before the first line. Without it, the first line may have any predecessor.
    pub start: Option<Head>,
    /// A head that the trail has to contain. Without it, a removed or changed end is not detected.
    pub end: Option<Head>,
}

/// A trail without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedTrail {
    pub line_count: u64,
    /// The number of the first line. 1 for a trail from its beginning.
    pub first_seq: u64,
    pub head: Head,
}

/// The first fault of a trail.
#[derive(Debug, thiserror::Error)]
pub enum AuditVerifyError {
    #[error("{file}: cannot be read: {error}")]
    Read { file: String, error: io::Error },
    #[error("{file}:{line}: {cause}")]
    Broken { file: String, line: u64, cause: BreakCause },
    #[error("the trail has no lines")]
    Empty,
}

/// The fault of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BreakCause {
    #[error("this is not an audit line")]
    NotALine,
    #[error("the line is longer than any that a server writes")]
    TooLong,
    #[error("the line is incomplete. A server that ended while it wrote leaves such a line once")]
    Torn,
    #[error("the line was changed. The next line has the hash of another text")]
    Changed,
    #[error("this line or the next one was changed. No later line shows which of them")]
    ChangedOrNext,
    #[error("expected line number {expected}, found {found}. Lines were removed, added or moved")]
    Sequence { expected: u64, found: u64 },
    #[error("the line does not continue the expected start of the trail")]
    Start,
    #[error("the trail ends with line number {found}, but line number {expected} was written")]
    End { expected: u64, found: u64 },
}

/// The members of a line that form the chain.
#[derive(Deserialize)]
struct ChainFields {
    seq: u64,
    prev: String,
}

/// A line that was read, with its place.
#[derive(Clone)]
struct Link {
    file: usize,
    line: u64,
    head: Head,
    prev: Sha256,
}

/// All lines of all files, in order.
struct Links<R> {
    files: Vec<(String, R)>,
    file: usize,
    line: u64,
}

impl<R: BufRead> Links<R> {
    fn error(&self, file: usize, line: u64, cause: BreakCause) -> AuditVerifyError {
        let file = self.files.get(file).map_or_else(String::new, |(name, _)| name.clone());
        AuditVerifyError::Broken { file, line, cause }
    }

    fn broken(&self, link: &Link, cause: BreakCause) -> AuditVerifyError {
        self.error(link.file, link.line, cause)
    }

    fn next(&mut self) -> Result<Option<Link>, AuditVerifyError> {
        loop {
            let Some((name, reader)) = self.files.get_mut(self.file) else {
                return Ok(None);
            };
            let raw = read_line(reader)
                .map_err(|error| AuditVerifyError::Read { file: name.clone(), error })?;
            let Some(raw) = raw else {
                self.file += 1;
                self.line = 0;
                continue;
            };
            self.line += 1;
            return self.link(raw).map(Some);
        }
    }

    fn link(&self, raw: RawLine) -> Result<Link, AuditVerifyError> {
        let broken = |cause| self.error(self.file, self.line, cause);
        let bytes = match raw {
            RawLine::Whole(bytes) => bytes,
            RawLine::Torn => return Err(broken(BreakCause::Torn)),
            RawLine::TooLong => return Err(broken(BreakCause::TooLong)),
        };
        let chained: ChainFields =
            serde_json::from_slice(&bytes).map_err(|_| broken(BreakCause::NotALine))?;
        let prev = Sha256::parse(&chained.prev).ok_or_else(|| broken(BreakCause::NotALine))?;
        let head = Head::of(chained.seq, &bytes);
        Ok(Link { file: self.file, line: self.line, head, prev })
    }
}

/// Verifies files in the order in which they were written. Returns the first line that is wrong.
pub fn verify<R: BufRead>(
    files: impl IntoIterator<Item = (String, R)>,
    expected: &Expected,
) -> Result<VerifiedTrail, AuditVerifyError> {
    let mut links = Links { files: files.into_iter().collect(), file: 0, line: 0 };
    let Some(first) = links.next()? else {
        return Err(AuditVerifyError::Empty);
    };
    check_start(&links, &first, expected)?;
    let mut line_count = 1;
    let mut last = first.clone();
    check_known(&links, &last, expected)?;
    while let Some(link) = links.next()? {
        check_successor(&mut links, &last, &link, expected)?;
        check_known(&links, &link, expected)?;
        line_count += 1;
        last = link;
    }
    if let Some(end) = expected.end.filter(|end| end.seq > last.head.seq) {
        let cause = BreakCause::End { expected: end.seq, found: last.head.seq };
        return Err(links.broken(&last, cause));
    }
    Ok(VerifiedTrail { line_count, first_seq: first.head.seq, head: last.head })
}

/// The first line of a whole trail has number 1 and no predecessor.
fn check_start<R: BufRead>(
    links: &Links<R>,
    first: &Link,
    expected: &Expected,
) -> Result<(), AuditVerifyError> {
    let begins = first.head.seq == 1 || first.prev == Head::EMPTY.hash;
    let start = expected.start.or(begins.then_some(Head::EMPTY));
    let continues = start.is_none_or(|start| {
        first.prev == start.hash && Some(first.head.seq) == start.seq.checked_add(1)
    });
    if continues { Ok(()) } else { Err(links.broken(first, BreakCause::Start)) }
}

/// Compares a line with the head that is known from elsewhere.
fn check_known<R: BufRead>(
    links: &Links<R>,
    link: &Link,
    expected: &Expected,
) -> Result<(), AuditVerifyError> {
    match expected.end {
        Some(end) if end.seq == link.head.seq && end.hash != link.head.hash => {
            Err(links.broken(link, BreakCause::Changed))
        }
        _ => Ok(()),
    }
}

/// Compares a line with the one before it. If they differ, the line after both shows which of them was changed.
fn check_successor<R: BufRead>(
    links: &mut Links<R>,
    last: &Link,
    link: &Link,
    expected: &Expected,
) -> Result<(), AuditVerifyError> {
    let is_linked = link.prev == last.head.hash;
    let number = last.head.seq.saturating_add(1);
    if link.head.seq != number {
        if is_linked {
            return Err(links.broken(link, BreakCause::Changed));
        }
        let cause = BreakCause::Sequence { expected: number, found: link.head.seq };
        return Err(links.broken(link, cause));
    }
    if is_linked {
        return Ok(());
    }
    let is_known = expected.end.is_some_and(|end| end == link.head);
    if is_known {
        return Err(links.broken(last, BreakCause::Changed));
    }
    match links.next() {
        Ok(Some(next)) if next.prev == link.head.hash => {
            Err(links.broken(last, BreakCause::Changed))
        }
        Ok(Some(_)) => Err(links.broken(link, BreakCause::Changed)),
        Ok(None) | Err(_) => Err(links.broken(last, BreakCause::ChangedOrNext)),
    }
}
