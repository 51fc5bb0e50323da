//! The vocabulary: plain values that every room shares. Nothing here does I/O, knows a format or a wire shape.

use std::fmt;
use std::sync::Arc;

/// The id of a file's or a directory's content: equal ids mean equal content. Git's object id, or a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId([u8; 32]);

impl ContentId {
    /// From up to 32 bytes; a shorter id (git's SHA-1) is padded with zeroes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut id = [0; 32];
        let length = bytes.len().min(32);
        id[..length].copy_from_slice(&bytes[..length]);
        Self(id)
    }

    /// The padded bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentId {
    /// Lower-case hexadecimal; the padding of a short id is left out.
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

/// What a source says it served: a commit id, an etcd revision, a hash; several joined by `,` for a composite.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(Arc<str>);

impl Revision {
    /// From the source's own text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text, as it stands in answers and headers.
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

/// What may be asked for: a branch, a tag, a commit, a folder, a comma list of those; or what the source has by default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// The request named none.
    Default,
    /// As the request named it, after `(_)` was replaced by `/`.
    Named(Arc<str>),
}

impl Label {
    /// The text of a named label.
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

/// A place in a file: both numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, in characters, from 1.
    pub column: u32,
}

/// A scalar as the formats give it. Numbers keep the text that Java would print, so that every client sees the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A decimal integer of any size, without a plus sign or leading zeroes.
    Integer(Box<str>),
    /// A floating point number in Java's form: `1.0`, `1.0E10`, `Infinity`, `-Infinity`, `NaN`.
    Float(Box<str>),
    /// Text.
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

/// A value of a property: readable, or sealed until someone with the key opens it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// May be shown to whom may read the environment.
    Plain(Scalar),
    /// The sealed text with its `{cipher}` marker; never printed by `Debug`.
    Sealed(Box<str>),
}

impl Value {
    /// What is handed on to a client today: the scalar, or the sealed text with its marker.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(scalar) => scalar.text(),
            Self::Sealed(text) => text,
        }
    }
}

impl fmt::Debug for Value {
    /// Shows the kind only: values of properties never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(Scalar::Bool(_)) => "Plain(bool)",
            Self::Plain(Scalar::Integer(_)) => "Plain(integer)",
            Self::Plain(Scalar::Float(_)) => "Plain(float)",
            Self::Plain(Scalar::String(_)) => "Plain(string)",
            Self::Sealed(_) => "Sealed(redacted)",
        })
    }
}

/// One flat key with its value and the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Flat: `a.b[0].c`.
    pub key: Arc<str>,
    /// The value.
    pub value: Value,
    /// Where the value begins.
    pub position: Position,
}

/// One document of a configuration file: flat properties in file order, keys unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// In file order; a key that came twice stands at its first place with its last value.
    pub properties: Vec<Property>,
}

impl Document {
    /// The property with exactly this key.
    pub fn get(&self, key: &str) -> Option<&Property> {
        self.properties.iter().find(|property| &*property.key == key)
    }
}

/// Where a value, or a problem, comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The path in the source, never a path of the machine.
    pub file: Arc<str>,
    /// The place in it, where one is known.
    pub position: Option<Position>,
}

impl fmt::Display for Origin {
    /// `file:line:column`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.position {
            Some(Position { line, column }) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// Why content cannot be used: the only no that the pure rooms know. Never carries a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file and the place in it.
    pub origin: Origin,
    /// The property concerned, if one is.
    pub key: Option<Arc<str>>,
    /// Lower case, no full stop, no value of a property.
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

/// A named list of properties in an environment: one document of one file, or the overrides.
#[derive(Debug, Clone)]
pub struct PropertySource {
    /// The name on the wire; part of the protocol (specification, 3.1).
    pub name: Arc<str>,
    /// The path of the file in its source; `None` for what comes from the server's own settings.
    pub file: Option<Arc<str>>,
    /// The documents of that file, shared with the snapshot.
    pub documents: Arc<[Document]>,
    /// Which of the documents this is.
    pub index: usize,
}

impl PropertySource {
    /// The properties, in file order.
    pub fn properties(&self) -> &[Property] {
        self.documents.get(self.index).map_or(&[], |document| &document.properties)
    }
}

/// Everything that one application is configured with: ordered property sources.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The application as it was asked for: a name, or a comma list of names.
    pub application: Arc<str>,
    /// The profiles as they were asked for: a comma list.
    pub profiles: Arc<str>,
    /// The label as it was asked for.
    pub label: Label,
    /// Highest precedence first.
    pub sources: Vec<PropertySource>,
}

/// What is asked for: one application's configuration, for profiles, at a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// A name, or a comma list of names.
    pub application: Arc<str>,
    /// A comma list, never split on the wire.
    pub profiles: Arc<str>,
    /// The label.
    pub label: Label,
}

impl Query {
    /// The names of the list, blank ones left out.
    pub fn application_names(&self) -> impl Iterator<Item = &str> {
        items(&self.application)
    }

    /// The profiles of the list, blank ones left out.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        items(&self.profiles)
    }
}

/// The trimmed items of a comma list, blank ones left out.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// SHA-256 over what an environment says: source names, keys and typed values in order. Not over revision, label or
/// origins; over secrets in their sealed form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads what `Display` writes.
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
