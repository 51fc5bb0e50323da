//! Deserialization of one value. A string can be read as a number or a boolean, and a number or a boolean as a string.

use std::borrow::Cow;
use std::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde_json::Value;

use super::variant::Variant;
use super::{DeError, Scope};

/// A value without children. A number keeps its digits, so that it is never rounded.
#[derive(Debug, Clone)]
pub(crate) enum Scalar<'a> {
    Nothing,
    Bool(bool),
    Number(String),
    Text(Cow<'a, str>),
    /// A list or a map inside one value, which servers do not send.
    Nested,
}

impl<'a> Scalar<'a> {
    pub(super) fn resolved(scope: Scope<'a>, position: usize) -> Result<Scalar<'a>, DeError> {
        let value = match scope.resolver {
            Some(resolver) => resolver.resolve_with(scope.properties, position, &|key| {
                if let Some(recorder) = scope.recorder {
                    recorder.record_referenced(key);
                }
            })?,
            None => Cow::Borrowed(&scope.properties[position].value),
        };
        Ok(match value {
            Cow::Borrowed(Value::String(text)) => Scalar::Text(Cow::Borrowed(text)),
            Cow::Owned(Value::String(text)) => Scalar::Text(Cow::Owned(text)),
            other => match other.as_ref() {
                Value::Null => Scalar::Nothing,
                Value::Bool(value) => Scalar::Bool(*value),
                Value::Number(number) => Scalar::Number(number.to_string()),
                _ => Scalar::Nested,
            },
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Scalar::Nothing => true,
            Scalar::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    pub(super) fn mismatch(&self, expected: &str) -> DeError {
        DeError::found(self.kind()).expected(expected)
    }

    fn kind(&self) -> &'static str {
        match self {
            Scalar::Nothing => "nothing",
            Scalar::Bool(_) => "a boolean",
            Scalar::Number(_) => "a number",
            Scalar::Text(text) if text.is_empty() => "empty",
            Scalar::Text(_) => "a string",
            Scalar::Nested => "a nested value",
        }
    }

    /// Returns the text of the value, as a file would contain it.
    pub(super) fn into_text(self) -> Result<Cow<'a, str>, DeError> {
        match self {
            Scalar::Text(text) => Ok(text),
            Scalar::Number(digits) => Ok(Cow::Owned(digits)),
            Scalar::Bool(value) => Ok(Cow::Borrowed(if value { "true" } else { "false" })),
            Scalar::Nothing | Scalar::Nested => Err(self.mismatch("a string")),
        }
    }

    fn parse<T: FromStr>(&self, expected: &str) -> Result<T, DeError> {
        let digits = match self {
            Scalar::Number(digits) => digits.as_str(),
            Scalar::Text(text) => text.trim(),
            _ => return Err(self.mismatch(expected)),
        };
        digits.parse().map_err(|_| self.mismatch(expected))
    }

    fn parse_bool(&self) -> Result<bool, DeError> {
        match self {
            Scalar::Bool(value) => Ok(*value),
            Scalar::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(true),
                "false" | "no" | "off" | "0" => Ok(false),
                _ => Err(self.mismatch("a boolean")),
            },
            _ => Err(self.mismatch("a boolean")),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $expected:literal),* $(,)?) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
            visitor.$visit(self.parse($expected)?)
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
            match self.into_text()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            }
        }
    )*};
}

impl<'a> de::Deserializer<'a> for Scalar<'a> {
    type Error = DeError;

    numbers! {
        deserialize_i8 visit_i8 "an i8",
        deserialize_i16 visit_i16 "an i16",
        deserialize_i32 visit_i32 "an i32",
        deserialize_i64 visit_i64 "an i64",
        deserialize_i128 visit_i128 "an i128",
        deserialize_u8 visit_u8 "a u8",
        deserialize_u16 visit_u16 "a u16",
        deserialize_u32 visit_u32 "a u32",
        deserialize_u64 visit_u64 "a u64",
        deserialize_u128 visit_u128 "a u128",
        deserialize_f32 visit_f32 "an f32",
        deserialize_f64 visit_f64 "an f64",
    }

    texts! { deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self {
            Scalar::Nothing => visitor.visit_unit(),
            Scalar::Bool(value) => visitor.visit_bool(value),
            Scalar::Nested => Err(self.mismatch("a plain value")),
            Scalar::Text(_) => self.deserialize_str(visitor),
            Scalar::Number(digits) => {
                if let Ok(number) = digits.parse() {
                    visitor.visit_u64(number)
                } else if let Ok(number) = digits.parse() {
                    visitor.visit_i64(number)
                } else {
                    let number = digits
                        .parse()
                        .map_err(|_| DeError::found("a number").expected("a smaller one"))?;
                    visitor.visit_f64(number)
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_bool(self.parse_bool()?)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        if self.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_enum(Variant::unit(self.into_text()?, variants))
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        if self.is_empty() {
            return visitor.visit_unit();
        }
        Err(de::Error::invalid_type(Unexpected::Other("a value"), &visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { <W: Visitor<'a>> unit_struct seq tuple tuple_struct map struct }
}
