//! One line of the trail, and its text.

use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

/// The longest text in a line. Texts of callers are cut to it.
pub const TEXT_BYTES_MAX: usize = 256;

/// The most entries in a list of a line. The others are counted in `omitted`.
const LIST_ENTRY_COUNT_MAX: usize = 64;

/// The kind of a recorded event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    CredentialRejected,
    Denied,
    /// A request that would be denied if the policy were enforced.
    WouldDeny,
    /// A read of opened secrets.
    Open,
    Seal,
    Unseal,
    Push,
    Rollout,
    LabelMoved,
    PolicyLoaded,
    PolicyRejected,
    KeysLoaded,
    VaultLogin,
    Started,
    Stopped,
    /// Events that could not be recorded. `count` is their number.
    Gap,
}

impl AuditEvent {
    /// The name in a line.
    pub fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(name)).ok()
    }
}

/// An event without its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub event: AuditEvent,
    pub principal: Option<String>,
    pub kind: Option<String>,
    /// The kind of credential, such as `token:ba7816bf`.
    pub proof: Option<String>,
    pub address: Option<String>,
    pub application: Option<String>,
    pub profiles: Option<String>,
    pub label: Option<String>,
    pub revision: Option<String>,
    pub digest: Option<String>,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    /// How many equal events the line stands for, if they are counted.
    pub count: Option<u64>,
    pub right: Option<String>,
    /// The user name that came with a credential and proves nothing.
    pub claimed: Option<String>,
    pub path: Option<String>,
    pub branch: Option<String>,
    pub commits: Vec<String>,
    pub paths: Vec<String>,
    /// Further facts: the changes that a policy makes, or the names of loaded keys.
    pub details: Vec<String>,
    /// The first and the last of the counted events.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

impl Entry {
    pub fn new(event: AuditEvent) -> Self {
        Self {
            event,
            principal: None,
            kind: None,
            proof: None,
            address: None,
            application: None,
            profiles: None,
            label: None,
            revision: None,
            digest: None,
            outcome: None,
            reason: None,
            count: None,
            right: None,
            claimed: None,
            path: None,
            branch: None,
            commits: Vec::new(),
            paths: Vec::new(),
            details: Vec::new(),
            first: None,
            last: None,
        }
    }
}

/// One line of the trail. The order of the fields is the order in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// From 1, without gaps, across files and restarts.
    pub seq: u64,
    pub time: String,
    pub replica: String,
    /// Differs for each start of the server.
    pub boot: String,
    pub event: AuditEvent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// How many entries `commits`, `paths` and `details` lack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// The SHA-256 of the line before, without its line feed. Zeroes in the very first line.
    pub prev: String,
}

/// The place of a line in the chain, and the server that writes it.
pub(super) struct LinePlace<'a> {
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    pub(super) replica: &'a str,
    pub(super) boot: &'a str,
    pub(super) prev: String,
}

impl AuditLine {
    pub(super) fn new(entry: &Entry, place: LinePlace<'_>) -> Self {
        let omitted = [&entry.commits, &entry.paths, &entry.details]
            .map(|list| list.len().saturating_sub(LIST_ENTRY_COUNT_MAX))
            .into_iter()
            .sum::<usize>() as u64;
        Self {
            seq: place.seq,
            time: time_text(place.time),
            replica: cut(place.replica),
            boot: cut(place.boot),
            event: entry.event,
            principal: optional(&entry.principal),
            kind: optional(&entry.kind),
            proof: optional(&entry.proof),
            address: optional(&entry.address),
            application: optional(&entry.application),
            profiles: optional(&entry.profiles),
            label: optional(&entry.label),
            revision: optional(&entry.revision),
            digest: optional(&entry.digest),
            outcome: optional(&entry.outcome),
            reason: optional(&entry.reason),
            count: entry.count,
            right: optional(&entry.right),
            claimed: optional(&entry.claimed),
            path: optional(&entry.path),
            branch: optional(&entry.branch),
            commits: list(&entry.commits),
            paths: list(&entry.paths),
            details: list(&entry.details),
            omitted: (omitted > 0).then_some(omitted),
            first: entry.first.map(time_text),
            last: entry.last.map(time_text),
            prev: place.prev,
        }
    }

    /// The text of the line, in ASCII, without a line feed.
    pub fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = Vec::with_capacity(512);
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, AsciiFormatter);
        self.serialize(&mut serializer)?;
        Ok(text)
    }

    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Milliseconds in UTC. All lines have the same width, so that texts sort like times.
fn time_text(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn optional(text: &Option<String>) -> Option<String> {
    text.as_deref().map(cut)
}

fn list(texts: &[String]) -> Vec<String> {
    texts.iter().take(LIST_ENTRY_COUNT_MAX).map(|text| cut(text)).collect()
}

/// Cuts a text at a character, with an ellipsis that shows it.
fn cut(text: &str) -> String {
    const ELLIPSIS: char = '…';
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX - ELLIPSIS.len_utf8());
    format!("{}{ELLIPSIS}", &text[..end])
}

/// Escapes everything outside printable ASCII. No name can then move a cursor, turn the direction of writing or look
/// like another name in a terminal.
struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                writer.write_all(&[c as u8])?;
                continue;
            }
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}
