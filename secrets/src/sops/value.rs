//! The values of a file.

use std::borrow::Cow;
use std::fmt;

use super::number;
use crate::secret::SecretText;

/// A value of a SOPS file. Texts are sealed before the file is opened, and plain afterwards.
#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// Decimal digits, with a sign if it is negative.
    Integer(SecretText),
    /// Decimal digits without an exponent.
    Float(SecretText),
    Text(SecretText),
    List(Vec<Value>),
    /// Keys in the order of the file.
    Map(Vec<(String, Value)>),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(SecretText::new(text))
    }

    pub(super) fn integer(number: i64) -> Self {
        Self::Integer(SecretText::new(number.to_string()))
    }

    pub(super) fn float(number: f64) -> Self {
        Self::Float(SecretText::new(number::plain(number)))
    }

    /// The text that the MAC covers. Maps, lists and nulls have none.
    pub(super) fn mac_text(&self) -> &str {
        match self {
            Self::Bool(true) => "True",
            Self::Bool(false) => "False",
            Self::Integer(text) | Self::Float(text) | Self::Text(text) => text.expose(),
            Self::Null | Self::List(_) | Self::Map(_) => "",
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(super) fn scalar_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Integer(text) | Self::Float(text) | Self::Text(text) => {
                Some(Cow::Borrowed(text.expose()))
            }
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// Keys are shown, and values are not.
impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("Null"),
            Self::Bool(_) => formatter.write_str("Bool(..)"),
            Self::Integer(_) => formatter.write_str("Integer(..)"),
            Self::Float(_) => formatter.write_str("Float(..)"),
            Self::Text(_) => formatter.write_str("Text(..)"),
            Self::List(items) => formatter.debug_list().entries(items).finish(),
            Self::Map(entries) => formatter
                .debug_map()
                .entries(entries.iter().map(|(key, value)| (key, value)))
                .finish(),
        }
    }
}
