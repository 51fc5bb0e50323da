//! References to values outside the configuration: `{file}:name#key` and `{vault:name}:path#key`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Scalar, SealedKind};

/// The longest path or name, in bytes.
const PATH_BYTES_MAX: usize = 512;
/// The longest key behind `#`, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// A reference to a value outside the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reference<'a> {
    /// A file in the directory of secrets, or the value of a key in a file with a JSON object.
    File { name: &'a str, key: Option<&'a str> },
    /// A value in Vault. The store is empty for the one without a name.
    Vault { store: &'a str, path: &'a str, key: &'a str },
}

/// A text with the marker of a reference is none. The message contains nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error(
        "is no reference to a file: expected {{file}}:NAME or {{file}}:NAME#KEY with the name of \
         one file that does not begin with a full stop"
    )]
    File,
    #[error(
        "is no reference to Vault: expected {{vault}}:PATH#KEY or {{vault:NAME}}:PATH#KEY with a \
         path below the mount"
    )]
    Vault,
}

/// The present state of a referenced value. `Debug` does not print the value.
#[derive(Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The value, with a version that is another one for another value and that reveals nothing about it.
    Found { value: Scalar, version: Arc<str> },
    /// The value cannot be had. The message is for people, without a value.
    Missing(Cow<'static, str>),
    /// The first read of the value is under way.
    Pending,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { version, .. } => write!(formatter, "Found(redacted, {version})"),
            Self::Missing(message) => write!(formatter, "Missing({message})"),
            Self::Pending => formatter.write_str("Pending"),
        }
    }
}

/// Values outside the configuration, kept in memory.
///
/// Invariant: no function waits or performs I/O. The first lookup of a value may cause a read in the background.
pub trait References: Send + Sync {
    /// Returns true if the settings name a place for values of this kind.
    fn resolves(&self, kind: SealedKind) -> bool;

    /// Returns true if the policy lets a file refer to a value.
    fn may_reference(&self, file: &str, reference: &Reference<'_>) -> bool;

    fn look_up(&self, reference: &Reference<'_>) -> Lookup;

    /// The figures of each Vault.
    fn vaults(&self) -> Vec<VaultFigures> {
        Vec::new()
    }
}

/// The secrets of one Vault in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultFigures {
    /// The name in the settings.
    pub name: String,
    pub path_count: usize,
    /// The time since the last read of the path that was read least recently.
    pub age: Duration,
}

/// The scalar in a JSON value. `None` for a null, a list and a map.
pub fn scalar_of_json(value: &serde_json::Value) -> Option<Scalar> {
    match value {
        serde_json::Value::String(text) => Some(Scalar::String(text.as_str().into())),
        serde_json::Value::Bool(value) => Some(Scalar::Bool(*value)),
        serde_json::Value::Number(number) => {
            let text = number.to_string();
            let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            Some(if is_integer { Scalar::Integer(text.into()) } else { Scalar::Float(text.into()) })
        }
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            None
        }
    }
}

impl<'a> Reference<'a> {
    /// Returns true for a text with the marker of a reference.
    pub fn is_marked(text: &str) -> bool {
        matches!(SealedKind::of(text), Some(SealedKind::File | SealedKind::Vault))
    }

    /// Parses a text with the marker of a reference.
    pub fn parse(text: &'a str) -> Result<Self, ReferenceError> {
        match text.strip_prefix("{file}:") {
            Some(rest) => Self::file(rest).ok_or(ReferenceError::File),
            None => Self::vault(text).ok_or(ReferenceError::Vault),
        }
    }

    fn file(text: &'a str) -> Option<Self> {
        let (name, key) = match text.split_once('#') {
            Some((name, key)) => (name, Some(key)),
            None => (text, None),
        };
        let is_name = !name.starts_with('.') && is_segment(name) && name.len() <= 255;
        (is_name && key.is_none_or(is_key)).then_some(Self::File { name, key })
    }

    fn vault(text: &'a str) -> Option<Self> {
        let (store, rest) = text.strip_prefix("{vault")?.split_once("}:")?;
        let store = match store {
            "" => "",
            _ => store.strip_prefix(':').filter(|name| !name.is_empty())?,
        };
        let (path, key) = rest.split_once('#')?;
        let is_path = path.len() <= PATH_BYTES_MAX && path.split('/').all(is_segment);
        (is_path && is_key(key)).then_some(Self::Vault { store, path, key })
    }
}

/// Returns true for one part of a path that means the same in a URL, a file system and a pattern.
fn is_segment(segment: &str) -> bool {
    let is_permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+@=:~".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_permitted)
}

fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_one_spelling() {
        let file = |name, key| Ok(Reference::File { name, key });
        let vault = |store, path, key| Ok(Reference::Vault { store, path, key });
        for (text, expected) in [
            ("{file}:db-password", file("db-password", None)),
            ("{file}:db.json#user", file("db.json", Some("user"))),
            ("{vault}:shop/orders#db.password", vault("", "shop/orders", "db.password")),
            ("{vault:two}:orders#a b", vault("two", "orders", "a b")),
        ] {
            assert_eq!(Reference::parse(text), expected, "{text}");
        }
        for text in [
            "{file}:",
            "{file}:..",
            "{file}:..data",
            "{file}:.hidden",
            "{file}:a/b",
            "{file}:a\\b",
            "{file}:a#",
            "{file}:a b",
            "{file}:a\0",
        ] {
            assert_eq!(Reference::parse(text), Err(ReferenceError::File), "{text}");
        }
        for text in [
            "{vault}:a",
            "{vault}:a#",
            "{vault}:#k",
            "{vault}:/a#k",
            "{vault}:a/#k",
            "{vault}:a/../b#k",
            "{vault}:a?version=1#k",
            "{vault}:a%2fb#k",
            "{vault}:a*#k",
            "{vault:}:a#k",
        ] {
            assert_eq!(Reference::parse(text), Err(ReferenceError::Vault), "{text}");
        }
    }
}
