//! JSON, flattened like YAML. Duplicate keys are errors, and numbers keep their digits.
//!
//! serde_json reports no positions. It can return the raw slice of a value, and the position is the offset of that slice in
//! the file. Each level of nesting is parsed once more than the level above it. The bound on depth limits that cost.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ParseError;
use super::flat_builder::FlatBuilder;
use super::java_number;
use super::position_index::PositionIndex;
use crate::model::{Document, Position, Scalar};

/// The deepest value. The root has depth 0.
const DEPTH_MAX: usize = 128;

/// Parses a file into one document, or into none for `null`, an empty string or an empty array.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        ParseError::at(PositionIndex::new(&valid).of(valid.len()), "byte is not part of utf-8 text")
    })?;
    let mut flattener =
        JsonFlattener { text, places: PositionIndex::new(text), flat: FlatBuilder::default() };
    let root: &RawValue =
        serde_json::from_str(text).map_err(|error| flattener.lowered(&error, text))?;
    flattener.document(root.get())?;
    Ok(flattener.flat.finish())
}

struct JsonFlattener<'a> {
    text: &'a str,
    places: PositionIndex<'a>,
    flat: FlatBuilder,
}

impl<'a> JsonFlattener<'a> {
    fn document(&mut self, root: &'a str) -> Result<(), ParseError> {
        match root.as_bytes() {
            b"null" | b"\"\"" => return Ok(()),
            [b'[', ..] if root[1..].trim_start().starts_with(']') => return Ok(()),
            [b'{', ..] => self.value(root, 0)?,
            _ => {
                let mark = self.flat.enter_key("document");
                self.value(root, 0)?;
                self.flat.leave(mark);
            }
        }
        self.flat.end_document()
    }

    fn value(&mut self, raw: &'a str, depth: usize) -> Result<(), ParseError> {
        let position = self.position(raw);
        if depth > DEPTH_MAX {
            return Err(ParseError::at(position, format!("nested deeper than {DEPTH_MAX}")));
        }
        let scalar = match raw.as_bytes() {
            [b'{', ..] => return self.map(raw, depth),
            [b'[', ..] => {
                let items: Vec<&RawValue> = self.read(raw)?;
                if !items.is_empty() {
                    return self.list(&items, depth);
                }
                Scalar::String("".into())
            }
            [b'"', ..] => Scalar::String(self.read::<Box<str>>(raw)?),
            b"true" => Scalar::Bool(true),
            b"false" => Scalar::Bool(false),
            b"null" => Scalar::String("".into()),
            _ => number(raw),
        };
        self.flat.put(scalar, position)
    }

    fn list(&mut self, items: &[&'a RawValue], depth: usize) -> Result<(), ParseError> {
        items.iter().enumerate().try_for_each(|(index, item)| {
            let mark = self.flat.enter_item(index);
            self.value(item.get(), depth + 1)?;
            self.flat.leave(mark);
            Ok(())
        })
    }

    fn map(&mut self, raw: &'a str, depth: usize) -> Result<(), ParseError> {
        let ObjectEntries(entries) = self.read(raw)?;
        self.check_duplicates(&entries)?;
        entries.iter().try_for_each(|(key, value)| {
            let mark = self.flat.enter_key(key);
            self.value(value.get(), depth + 1)?;
            self.flat.leave(mark);
            Ok(())
        })
    }

    /// Rejects duplicate keys. The error names the positions of the values, because those of keys are unknown.
    fn check_duplicates(&self, entries: &[(String, &'a RawValue)]) -> Result<(), ParseError> {
        let mut seen = HashMap::with_capacity(entries.len());
        for (key, value) in entries {
            let Some(first) = seen.insert(key, value) else { continue };
            let Position { line, column } = self.position(first.get());
            let message = format!("duplicate key, first value at line {line}, column {column}");
            return Err(ParseError::at(self.position(value.get()), message));
        }
        Ok(())
    }

    fn read<T: Deserialize<'a>>(&self, raw: &'a str) -> Result<T, ParseError> {
        serde_json::from_str(raw).map_err(|error| self.lowered(&error, raw))
    }

    fn position(&self, raw: &str) -> Position {
        self.places.of(self.offset(raw))
    }

    /// The offset of a slice in the text.
    fn offset(&self, raw: &str) -> usize {
        raw.as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }

    /// Keeps the position of an error and drops its text, which quotes the file.
    fn lowered(&self, error: &serde_json::Error, raw: &str) -> ParseError {
        let lines_before = raw.split_inclusive('\n').take(error.line().saturating_sub(1));
        let offset = self.offset(raw) + lines_before.map(str::len).sum::<usize>();
        let message = match error.classify() {
            serde_json::error::Category::Eof => "file ends within a value",
            _ => "not valid json",
        };
        ParseError::at(self.places.of(offset + error.column().saturating_sub(1)), message)
    }
}

/// The entries of an object in file order, duplicates included.
struct ObjectEntries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for ObjectEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = ObjectEntries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(ObjectEntries(entries))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Keeps integers as they are written and formats other numbers as Java does.
fn number(raw: &str) -> Scalar {
    if raw == "-0" {
        return Scalar::Integer("0".into());
    }
    if raw.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9')) {
        return Scalar::Integer(raw.into());
    }
    Scalar::Float(java_number::double(raw.parse().unwrap_or(f64::NAN)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, testing};

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, u32, u32)]) {
        testing::check(Format::Json, text, expected);
    }

    #[track_caller]
    fn check_refused(text: &str, place: Option<(u32, u32)>, message: &str) {
        testing::check_refused(Format::Json, text, place, message);
    }

    #[test]
    fn objects_and_arrays_become_paths() {
        check(
            "{\"a\": {\"b\": 1},\n \"c\": [\"x\", {\"d\": true}]}",
            &[("a.b", "1", 1, 13), ("c[0]", "x", 2, 8), ("c[1].d", "true", 2, 19)],
        );
        check("[1, [2]]", &[("document[0]", "1", 1, 2), ("document[1][0]", "2", 1, 6)]);
        check("\"x\"", &[("document", "x", 1, 1)]);
        check("{\"a.b\": 1, \"a\": {\"b\": 2}}", &[("a.b", "2", 1, 23)]);
    }

    #[test]
    fn numbers_are_exact() {
        check(
            "[12345678901234567890123, -0, 1.10, 1e400, 1E2]",
            &[
                ("document[0]", "12345678901234567890123", 1, 2),
                ("document[1]", "0", 1, 27),
                ("document[2]", "1.1", 1, 31),
                ("document[3]", "Infinity", 1, 37),
                ("document[4]", "100.0", 1, 44),
            ],
        );
        let digits = "7".repeat(1_000_000);
        check(&digits, &[("document", &digits, 1, 1)]);
    }

    #[test]
    fn null_and_empty_collections() {
        check("{\"a\": null, \"b\": [], \"c\": {}}", &[("a", "", 1, 7), ("b", "", 1, 18)]);
        assert_eq!(parse(b"null").unwrap().len(), 0);
        assert_eq!(parse(b"[ ]").unwrap().len(), 0);
        assert_eq!(parse(b" {} ").unwrap().len(), 1);
        check("\u{feff}{\"a\": 1}", &[("a", "1", 1, 7)]);
    }

    #[test]
    fn errors_have_their_place() {
        check_refused(
            "{\"a\": 1,\n \"a\": 2}",
            Some((2, 7)),
            "duplicate key, first value at line 1, column 7",
        );
        check_refused("{\"a\": 1,}", Some((1, 9)), "not valid json");
        check_refused("{\n\"a\": secret}", Some((2, 6)), "not valid json");
        check_refused("[\n\"\\ud800\"]", Some((2, 8)), "not valid json");
        check_refused("[1", Some((1, 2)), "file ends within a value");
        check_refused("", Some((1, 1)), "file ends within a value");
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        check_refused(&nested(DEPTH_MAX + 1), Some((1, 130)), "nested deeper than 128");
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());
        assert!(parse(nested(1_000_000).as_bytes()).is_err());
    }
}
