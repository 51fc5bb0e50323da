//! Sealed values: texts that only the keys of the server, or a store of secrets, turn into values.

use std::fmt;

/// The kind of a sealed value, by its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SealedKind {
    /// `{cipher}…`: a value of Spring Cloud Config.
    Cipher,
    /// `{sealed}…`: a value that is bound to its place.
    Bound,
    /// `ENC[…]`: a value in a SOPS file.
    Sops,
    /// `{file}:name` or `{file}:name#key`: a file in the directory of secrets.
    File,
    /// `{vault}:path#key` or `{vault:name}:path#key`: a value in Vault.
    Vault,
}

impl SealedKind {
    /// The kind of a text that begins with a marker. `None` for other text. Values of SOPS files have no marker of their
    /// own outside these files.
    pub fn of(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('{')?;
        if rest.starts_with("cipher}") {
            return Some(Self::Cipher);
        }
        if rest.starts_with("sealed}") {
            return Some(Self::Bound);
        }
        if rest.starts_with("file}:") {
            return Some(Self::File);
        }
        let (name, path) = rest.strip_prefix("vault")?.split_once('}')?;
        let is_named = name.strip_prefix(':').is_some_and(|name| !name.is_empty());
        (path.starts_with(':') && (name.is_empty() || is_named)).then_some(Self::Vault)
    }

    /// The kind of a [`Value::Sealed`](super::Value::Sealed).
    pub fn of_sealed(text: &str) -> Self {
        Self::of(text).unwrap_or(Self::Sops)
    }
}

/// The result of the attempt to open a sealed value, as far as it enters a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedOutcome<'a> {
    /// The server has no key for values of this kind, so that they keep their text.
    Kept,
    /// No key opens the value.
    Failed,
    Opened,
    /// A reference, with the version of the value behind it.
    Referenced(&'a str),
}

/// The text of a SOPS file. Its values are opened together, because one MAC covers all of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SopsFile {
    pub text: Box<str>,
    /// True for JSON, false for YAML.
    pub is_json: bool,
}

impl fmt::Debug for SopsFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SopsFile(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_decides_the_kind() {
        for (text, kind) in [
            ("{cipher}00", Some(SealedKind::Cipher)),
            ("{sealed}a.b", Some(SealedKind::Bound)),
            ("{file}:db", Some(SealedKind::File)),
            ("{vault}:a#b", Some(SealedKind::Vault)),
            ("{vault:two}:a#b", Some(SealedKind::Vault)),
            ("{vault:}:a#b", None),
            ("{vault}a#b", None),
            ("{vaults}:a#b", None),
            ("{file}db", None),
            (" {cipher}00", None),
            ("ENC[AES256_GCM,data:", None),
            ("", None),
        ] {
            assert_eq!(SealedKind::of(text), kind, "{text}");
        }
        assert_eq!(SealedKind::of_sealed("ENC["), SealedKind::Sops);
    }
}
