//! The plain values that all modules share. Nothing here does I/O, and nothing depends on a file format or a wire format.

mod canary;
mod epoch;
mod sealed;

use std::fmt;
use std::sync::Arc;

pub use canary::{CanaryChoice, InstanceKey};
pub use epoch::{Epoch, Epochs, LabelPosition};
pub use sealed::{SealedKind, SealedOutcome, SopsFile};

/// The application whose files every application shares.
pub const SHARED_APPLICATION: &str = "application";

/// Returns true for a text of exactly `length` hexadecimal digits in lower case, in which ids are written.
pub fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The id of a file's or a directory's content: a git object id or a hash. Equal ids mean equal content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId([u8; 32]);

impl ContentId {
    /// Takes up to 32 bytes. A shorter id, such as the SHA-1 of git, is padded with zeroes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut id = [0; 32];
        let length = bytes.len().min(32);
        id[..length].copy_from_slice(&bytes[..length]);
        Self(id)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentId {
    /// Lower-case hexadecimal, without the padding of a short id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.0[20..].iter().all(|byte| *byte == 0);
        let bytes = if short { &self.0[..20] } else { &self.0[..] };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

/// The source's identifier for one state of its content: a commit id, an etcd revision or a hash. A composite joins the
/// identifiers of its members by `,`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(Arc<str>);

impl Revision {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({})", self.0)
    }
}

/// The version that a request names: a branch, a tag, a commit, a folder, a comma-separated list of these, or the
/// source's default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// The request named none.
    Default,
    /// The label as the request named it, after `(_)` was replaced by `/`.
    Named(Arc<str>),
}

impl Label {
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Default => None,
            Self::Named(name) => Some(name),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("(default)"))
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, in characters, from 1.
    pub column: u32,
}

/// A scalar value. Numbers keep the text that Java prints, so that every client receives the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scalar {
    Bool(bool),
    /// A decimal integer of any size, without a plus sign or leading zeroes.
    Integer(Box<str>),
    /// A floating point number in Java's form: `1.0`, `1.0E10`, `Infinity`, `-Infinity`, `NaN`.
    Float(Box<str>),
    String(Box<str>),
}

impl Scalar {
    /// The text of the value, as Java's `toString` gives it.
    pub fn text(&self) -> &str {
        match self {
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Integer(text) | Self::Float(text) | Self::String(text) => text,
        }
    }
}

/// The value of a property.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A value that every caller with access to the environment may read.
    Plain(Scalar),
    /// A sealed value or a reference with its marker, as [`SealedKind`] lists them. `Debug` does not print it.
    Sealed(Box<str>),
    /// A sealed value that the server opened, or `<n/a>` for one that it could not open. It has no place in a file.
    /// `Debug` does not print it.
    Opened(Scalar),
}

impl Value {
    /// The text that a client receives: the scalar, the opened text, or the sealed text with its marker.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(scalar) | Self::Opened(scalar) => scalar.text(),
            Self::Sealed(text) => text,
        }
    }
}

impl fmt::Debug for Value {
    /// Prints only the type, because values of properties must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(Scalar::Bool(_)) => "Plain(bool)",
            Self::Plain(Scalar::Integer(_)) => "Plain(integer)",
            Self::Plain(Scalar::Float(_)) => "Plain(float)",
            Self::Plain(Scalar::String(_)) => "Plain(string)",
            Self::Sealed(_) => "Sealed(redacted)",
            Self::Opened(_) => "Opened(redacted)",
        })
    }
}

/// One flat key with its value and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// A flat key such as `a.b[0].c`.
    pub key: Arc<str>,
    pub value: Value,
    /// The first character of the value.
    pub position: Position,
}

/// One document of a configuration file. Its keys are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// In file order. A repeated key keeps its first place and has its last value.
    pub properties: Vec<Property>,
    /// The whole SOPS file, if the document is part of one. All its documents share it.
    pub sops: Option<Arc<SopsFile>>,
}

impl Document {
    /// The property with exactly this key.
    pub fn get(&self, key: &str) -> Option<&Property> {
        self.properties.iter().find(|property| &*property.key == key)
    }
}

/// The place of a value or a problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The path in the source, never a path of the machine.
    pub file: Arc<str>,
    pub position: Option<Position>,
}

impl fmt::Display for Origin {
    /// Writes `file:line:column`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.position {
            Some(Position { line, column }) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// A fault in a user's configuration. It never contains the value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    /// The key of the faulty property, if there is one.
    pub key: Option<Arc<str>>,
    /// Lower case, without a final full stop, without values of properties.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {}: {}", self.origin, key, self.message),
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

impl std::error::Error for Problem {}

/// The properties of one document of one file, or the overrides, in an environment.
#[derive(Debug, Clone)]
pub struct PropertySource {
    /// The name on the wire, which clients compare (docs/protocol.md#31-names-of-property-sources).
    pub name: Arc<str>,
    /// The path of the file in its source. `None` for overrides, which come from the server's settings.
    pub file: Option<Arc<str>>,
    /// All documents of the file, shared with the snapshot.
    pub documents: Arc<[Document]>,
    /// The index of this source's document.
    pub index: usize,
}

impl PropertySource {
    /// The properties, in file order.
    pub fn properties(&self) -> &[Property] {
        self.documents.get(self.index).map_or(&[], |document| &document.properties)
    }
}

/// The configuration of an application for a list of profiles at a label.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The requested application: a name or a comma-separated list of names.
    pub application: Arc<str>,
    /// The requested profiles, comma-separated.
    pub profiles: Arc<str>,
    /// The requested label.
    pub label: Label,
    /// Highest precedence first.
    pub sources: Vec<PropertySource>,
}

/// A request for the environment of an application, for a list of profiles, at a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// A name or a comma-separated list of names.
    pub application: Arc<str>,
    /// A comma-separated list. Answers repeat it unsplit.
    pub profiles: Arc<str>,
    pub label: Label,
}

impl Query {
    /// The applications, without blank items.
    pub fn application_names(&self) -> impl Iterator<Item = &str> {
        items(&self.application)
    }

    /// The profiles, without blank items.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        items(&self.profiles)
    }
}

/// The trimmed items of a comma-separated list, without blank ones.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The SHA-256 of an environment's source names, keys and typed values, in order. Sealed values enter in their sealed form,
/// and where the server opens them, with the outcome. Revision, label and origins do not enter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Parses the text that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
        let digits = digits.filter(|digits| digits.len() == 64)?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    /// Lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
