//! The report of one request about its instance. An invalid part is ignored, so that the service still gets its
//! configuration. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_wire::{InstanceHealth, Outcome};

use crate::model::{Digest, Revision};

/// The longest name of an instance or an incarnation, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest text of attributes, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 256;
/// The most attributes of an instance.
const ATTRIBUTE_COUNT_MAX: usize = 8;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 256;
/// The longest first word of a reason, in bytes.
const WORD_BYTES_MAX: usize = 16;

/// Everything that a request reports about its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    /// The stable name of the instance.
    pub name: Box<str>,
    /// The present run of the instance.
    pub incarnation: Option<Box<str>>,
    /// `None` leaves the known attributes unchanged.
    pub attributes: Option<Attributes>,
    /// `None` leaves the last acknowledgement unchanged.
    pub applied: Option<Acknowledgement>,
    /// `None` leaves the known health unchanged.
    pub health: Option<InstanceHealth>,
    /// The reason for a rejection or for `down`.
    pub reason: Option<Reason>,
    /// The digest of the contract of the build. `None` leaves the known one unchanged.
    pub contract: Option<Arc<str>>,
}

/// An instance's report on one version of its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The revision of the answer.
    pub revision: Revision,
    /// The digest of its content.
    pub digest: Digest,
    /// Whether the instance uses it.
    pub outcome: Outcome,
}

/// The attributes of an instance, such as `version` and `zone`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<Box<str>, Box<str>>);

/// A word and perhaps a key, such as `type catalogue.page-size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(Box<str>);

impl InstanceReport {
    /// Creates a report that names only the instance. Returns `None` for an invalid name.
    pub fn new(name: &str) -> Option<Self> {
        is_name(name).then(|| Self {
            name: name.into(),
            incarnation: None,
            attributes: None,
            applied: None,
            health: None,
            reason: None,
            contract: None,
        })
    }

    /// Sets the incarnation, unless its text is invalid.
    pub fn set_incarnation(&mut self, text: &str) {
        self.incarnation = is_name(text).then(|| text.into());
    }
}

impl Attributes {
    /// Parses `name=value` pairs that are separated by commas. Returns `None` if one of them is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > ATTRIBUTES_BYTES_MAX {
            return None;
        }
        let mut attributes = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let is_new = attributes.insert(name.into(), value.into()).is_none();
            let is_valid = is_attribute(name) && is_attribute(value) && is_new;
            (is_valid && attributes.len() <= ATTRIBUTE_COUNT_MAX).then_some(())?;
        }
        Some(Self(attributes))
    }

    /// Returns the value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// Returns the names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl Reason {
    /// Parses a word of lower-case letters and hyphens, and a key or a path after a space. The text is printable ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, key) = text.split_once(' ').unwrap_or((text, "-"));
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        let is_word = (1..=WORD_BYTES_MAX).contains(&word.len()) && word.bytes().all(is_letter);
        let is_key = !key.trim().is_empty() && key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        (is_word && is_key && text.len() <= REASON_BYTES_MAX).then(|| Self(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns true for a valid name of an instance: the characters of host names, process ids and identifiers.
pub fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Returns true for the name or the value of an attribute.
fn is_attribute(text: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_characters_of_hosts() {
        for name in ["a", "node-1:8080/blue_2.x", &"a".repeat(NAME_BYTES_MAX)] {
            assert!(InstanceReport::new(name).is_some(), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "a b", "\u{e4}", "a\"b", "<a>", "a\r\nb", "a\u{1b}[2J", &long] {
            assert_eq!(InstanceReport::new(name), None, "{name}");
            let mut report = InstanceReport::new("a").unwrap();
            report.set_incarnation(name);
            assert_eq!(report.incarnation, None, "{name}");
        }
    }

    #[test]
    fn attributes_are_few_short_pairs() {
        let attributes = Attributes::parse("zone=eu-1 , version=1.4,").unwrap();
        let pairs: Vec<_> = attributes.iter().collect();
        assert_eq!(pairs, [("version", "1.4"), ("zone", "eu-1")]);
        assert_eq!((attributes.get("zone"), attributes.get("rack")), (Some("eu-1"), None));
        assert_eq!(Attributes::parse(""), Some(Attributes::default()));
        let eight = |count: usize| {
            (0..count).map(|number| format!("a{number}=1")).collect::<Vec<_>>().join(",")
        };
        assert!(Attributes::parse(&eight(ATTRIBUTE_COUNT_MAX)).is_some());
        let fitting = format!("a={}", "b".repeat(ATTRIBUTES_BYTES_MAX - 2));
        assert!(Attributes::parse(&fitting).is_some());
        for text in [
            "a",
            "a=",
            "=b",
            "A=b",
            "a=B",
            "a=b c",
            "a=b=c",
            "a=b,a=c",
            "a=\u{e4}",
            "a=b\u{7f}",
            &eight(ATTRIBUTE_COUNT_MAX + 1),
            &format!("{fitting}b"),
        ] {
            assert_eq!(Attributes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_reason_is_a_word_and_a_key() {
        let fitting = format!("type {}", "k".repeat(REASON_BYTES_MAX - 5));
        for text in ["invalid", "type catalogue.page-size", "check /etc/a b.cfg", &fitting] {
            assert_eq!(Reason::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            " ",
            "type ",
            "Type a",
            "a1 b",
            "type a\nb",
            "type a\u{1b}[2J",
            "type \u{e4}",
            "seventeen-letters",
            &format!("{fitting}k"),
        ] {
            assert_eq!(Reason::parse(text), None, "{text}");
        }
    }
}
