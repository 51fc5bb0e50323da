//! The builder of flat properties. Each format walks its own tree and reports keys, items and values here, so that all
//! formats name keys in the same way (docs/protocol.md#9-yaml).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;
use std::sync::Arc;

use super::{DOCUMENTS_MAX, KEYS_MAX, ParseError};
use crate::model::{Document, Position, Property, Scalar, SealedKind, Value};

/// The longest flat key, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 8 * 1024;
/// The most bytes that all flat keys and values of one file may have together. Aliases multiply them.
pub(super) const FLAT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Collects the documents of one file and enforces their bounds.
#[derive(Default)]
pub(super) struct FlatBuilder {
    documents: Vec<Document>,
    properties: Vec<Property>,
    /// The index of each key. `None` until a key occurs that another path could produce too.
    places: Option<HashMap<Arc<str>, usize>>,
    /// The indices of the last closed document, which may be reopened.
    places_before: Option<HashMap<Arc<str>, usize>>,
    keys_repeat: bool,
    path: String,
    /// The offset of the current path in `path`. A blank path is dropped from the keys below it.
    start: usize,
    keys: usize,
    bytes: usize,
}

/// The path before a segment was entered.
#[derive(Clone, Copy)]
pub(super) struct PathMark {
    start: usize,
    end: usize,
}

impl FlatBuilder {
    /// Creates a builder for a format in which any key can occur twice.
    pub(super) fn with_repeated_keys() -> Self {
        Self { keys_repeat: true, places: Some(HashMap::new()), ..Self::default() }
    }

    /// Enters a key of a map.
    pub(super) fn enter_key(&mut self, key: &str) -> PathMark {
        if self.places.is_none() && may_repeat(key) {
            self.remember_places();
        }
        let mark = self.mark();
        if self.path[self.start..].chars().all(is_blank) {
            self.start = self.path.len();
        } else if !key.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(key);
        mark
    }

    /// Enters an item of a list.
    pub(super) fn enter_item(&mut self, index: usize) -> PathMark {
        let mark = self.mark();
        if self.path[self.start..].chars().all(is_blank) {
            self.start = self.path.len();
        }
        write!(self.path, "[{index}]").expect("writing to a string does not fail");
        mark
    }

    /// Returns to the path before a segment.
    pub(super) fn leave(&mut self, mark: PathMark) {
        self.path.truncate(mark.end);
        self.start = mark.start;
    }

    /// Sets the value of the current path. A repeated path keeps its place.
    pub(super) fn put(&mut self, value: Scalar, position: Position) -> Result<(), ParseError> {
        let key = &self.path[self.start..];
        if key.len() > KEY_BYTES_MAX {
            return Err(ParseError::at(
                position,
                format!("flat key is longer than {KEY_BYTES_MAX} bytes"),
            ));
        }
        self.bytes += key.len() + value.text().len();
        if self.bytes > FLAT_BYTES_MAX {
            return Err(ParseError::at(
                position,
                format!("flat keys and values exceed {FLAT_BYTES_MAX} bytes"),
            ));
        }
        let property = Property { key: Arc::from(key), value: sealed_or_plain(value), position };
        if let Some(places) = &mut self.places {
            match places.entry(Arc::clone(&property.key)) {
                Entry::Occupied(place) => {
                    self.properties[*place.get()] = property;
                    return Ok(());
                }
                Entry::Vacant(place) => {
                    place.insert(self.properties.len());
                }
            }
        }
        self.keys += 1;
        if self.keys > KEYS_MAX {
            return Err(ParseError::at(
                position,
                format!("file has more than {KEYS_MAX} flat keys"),
            ));
        }
        self.properties.push(property);
        Ok(())
    }

    /// Returns true if the current document has no key yet.
    pub(super) fn is_empty(&self) -> bool {
        self.properties.is_empty()
    }

    /// Closes the current document, with or without keys.
    pub(super) fn end_document(&mut self) -> Result<(), ParseError> {
        if self.documents.len() == DOCUMENTS_MAX {
            return Err(ParseError::whole(format!("file has more than {DOCUMENTS_MAX} documents")));
        }
        self.places_before = std::mem::take(&mut self.places);
        self.places = self.keys_repeat.then(HashMap::new);
        let properties = std::mem::take(&mut self.properties);
        self.documents.push(Document { properties, sops: None });
        Ok(())
    }

    /// Reopens the last document, if there is one.
    pub(super) fn reopen_document(&mut self) {
        if let Some(last) = self.documents.pop() {
            self.properties = last.properties;
            self.places = std::mem::take(&mut self.places_before);
        }
    }

    /// Returns the closed documents.
    pub(super) fn finish(self) -> Vec<Document> {
        self.documents
    }

    fn mark(&self) -> PathMark {
        PathMark { start: self.start, end: self.path.len() }
    }

    fn remember_places(&mut self) {
        let keys = self.properties.iter().map(|property| Arc::clone(&property.key));
        self.places = Some(keys.zip(0..).collect());
    }
}

/// Returns true if the key could equal the path of a nested value. The parsers reject all other duplicates.
fn may_repeat(key: &str) -> bool {
    key.bytes().any(|byte| matches!(byte, b'.' | b'[')) || key.chars().all(is_blank)
}

/// Blank in the sense of Java's `Character.isWhitespace`, which excludes non-breaking spaces.
fn is_blank(c: char) -> bool {
    match c {
        '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{85}' => false,
        '\u{1c}'..='\u{1f}' => true,
        _ => c.is_whitespace(),
    }
}

fn sealed_or_plain(value: Scalar) -> Value {
    match value {
        Scalar::String(text) if SealedKind::of(&text).is_some() => Value::Sealed(text),
        value => Value::Plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Position = Position { line: 1, column: 1 };

    fn put(flat: &mut FlatBuilder, key: &str, value: &str) -> Result<(), ParseError> {
        let mark = flat.enter_key(key);
        let result = flat.put(Scalar::String(value.into()), PLACE);
        flat.leave(mark);
        result
    }

    #[test]
    fn keys_and_values_have_a_common_bound() {
        let mut flat = FlatBuilder::default();
        assert_eq!(put(&mut flat, "k", &"x".repeat(FLAT_BYTES_MAX - 1)), Ok(()));
        assert_eq!(put(&mut flat, "", ""), Ok(()));
        let error = put(&mut flat, "l", "").unwrap_err();
        assert_eq!(error.message, format!("flat keys and values exceed {FLAT_BYTES_MAX} bytes"));
    }

    #[test]
    fn a_key_has_a_bound() {
        let mut flat = FlatBuilder::default();
        assert_eq!(put(&mut flat, &"k".repeat(KEY_BYTES_MAX), ""), Ok(()));
        assert!(put(&mut flat, &"k".repeat(KEY_BYTES_MAX + 1), "").is_err());
    }

    #[test]
    fn repeated_keys_count_once() {
        let mut flat = FlatBuilder::with_repeated_keys();
        for _ in 0..=KEYS_MAX {
            put(&mut flat, "k", "v").unwrap();
        }
        flat.end_document().unwrap();
        assert_eq!(flat.finish()[0].properties.len(), 1);
    }

    #[test]
    fn a_blank_path_is_dropped() {
        let mut flat = FlatBuilder::default();
        let blank = flat.enter_key(" ");
        put(&mut flat, "a", "1").unwrap();
        let item = flat.enter_item(0);
        put(&mut flat, "b", "2").unwrap();
        flat.leave(item);
        flat.leave(blank);
        put(&mut flat, "c", "3").unwrap();
        flat.end_document().unwrap();
        let keys: Vec<_> = flat.documents[0].properties.iter().map(|found| &*found.key).collect();
        assert_eq!(keys, ["a", "[0].b", "c"]);
    }
}
