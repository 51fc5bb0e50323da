//! Reading a TOML document by hand, so that every problem has a place and all problems are reported at once.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, PolicyError, PolicyProblem, Severity};

/// The largest policy file, in bytes.
pub const POLICY_BYTES_MAX: usize = 1024 * 1024;

/// A value with the byte at which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// The text of a document, as far as messages need it, and the problems found so far.
pub(super) struct Reader<'t> {
    places: Places<'t>,
    problems: Vec<PolicyProblem>,
}

/// Translates bytes of a document to lines and columns.
struct Places<'t> {
    file: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(file: &str, text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, line_starts }
    }

    fn place(&self, at: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= at);
        let before = self.text.get(self.line_starts[line - 1]..at).unwrap_or("");
        Place { line, column: before.chars().count() + 1 }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        Self { places: Places::new(file, text), problems: Vec::new() }
    }

    /// Parses the document. A document with a syntax error yields no table.
    pub(super) fn root(&mut self) -> Option<Section<'t>> {
        let text = self.places.text;
        if text.len() > POLICY_BYTES_MAX {
            let size = text.len();
            self.error(
                0,
                format!("the file has {size} bytes, at most {POLICY_BYTES_MAX} are read"),
            );
            return None;
        }
        match DeTable::parse(text) {
            Ok(table) => Some(Section::new("the file", 0, table.into_inner())),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let message = error.message().lines().next().unwrap_or("invalid").to_owned();
                self.error(at, format!("this is not TOML: {message}"));
                None
            }
        }
    }

    pub(super) fn place(&self, at: usize) -> Place {
        self.places.place(at)
    }

    pub(super) fn error(&mut self, at: usize, message: impl Into<String>) {
        self.error_at(self.place(at), message);
    }

    pub(super) fn error_at(&mut self, place: Place, message: impl Into<String>) {
        let (file, message) = (self.places.file.clone(), message.into());
        self.problems.push(PolicyProblem { file, place, severity: Severity::Error, message });
    }

    /// Ends the reading. Returns the problems if there are any.
    pub(super) fn finish(mut self) -> Result<(), PolicyError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| problem.place);
        self.problems.dedup();
        Err(PolicyError { problems: self.problems })
    }
}

/// One table, from which known keys are taken. Every key that is left is unknown.
pub(super) struct Section<'t> {
    /// The name in messages, such as `[[allow]]`.
    name: &'static str,
    pub(super) at: usize,
    entries: Vec<Entry<'t>>,
    known: Vec<&'static str>,
}

struct Entry<'t> {
    key: String,
    key_at: usize,
    value: Spanned<DeValue<'t>>,
}

impl<'t> Section<'t> {
    fn new(name: &'static str, at: usize, table: DeTable<'t>) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let key_at = key.span().start;
            Entry { key: key.into_inner().into_owned(), key_at, value }
        });
        Self { name, at, entries: entries.collect(), known: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(index).value)
    }

    /// Takes a text.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Item<String>> {
        let value = self.take(key)?;
        let at = value.span().start;
        match value.into_inner() {
            DeValue::String(text) => Some(Item { value: text.into_owned(), at }),
            other => {
                reader.error(at, format!("{key}: expected a text in quotes, got {}", kind(&other)));
                None
            }
        }
    }

    /// Takes a text that has to be present.
    pub(super) fn required_text(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Item<String>> {
        if !self.has(key) {
            self.known.push(key);
            reader.error(self.at, format!("{} has no {key}. Add {key} = \"…\"", self.name));
            return None;
        }
        self.text(key, reader)
    }

    /// Takes a list of texts. An absent key yields `None`, and a wrong value an empty list with a problem.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Vec<Item<String>>> {
        let value = self.take(key)?;
        let at = value.span().start;
        let DeValue::Array(array) = value.into_inner() else {
            reader.error(at, format!("{key}: expected a list of texts such as [\"orders\"]"));
            return Some(Vec::new());
        };
        if array.is_empty() {
            reader.error(at, format!("{key} is an empty list. Remove the key or name something"));
        }
        let mut texts = Vec::new();
        for item in array {
            let at = item.span().start;
            match item.into_inner() {
                DeValue::String(text) => texts.push(Item { value: text.into_owned(), at }),
                other => {
                    let found = kind(&other);
                    reader.error(at, format!("{key}: expected a text in quotes, got {found}"));
                }
            }
        }
        Some(texts)
    }

    /// Takes true or false.
    pub(super) fn flag(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<bool> {
        let value = self.take(key)?;
        let at = value.span().start;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            let found = kind(value.get_ref());
            reader.error(at, format!("{key}: expected true or false, got {found}"));
        }
        flag
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Takes an integer.
    pub(super) fn integer(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<i64> {
        let value = self.take(key)?;
        let at = value.span().start;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|digits| digits.as_str().parse().ok());
        if number.is_none() {
            reader.error(at, format!("{key}: expected an integer, got {}", kind(value.get_ref())));
        }
        number
    }

    /// Takes a date or a time.
    pub(super) fn datetime(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Item<toml::value::Datetime>> {
        let value = self.take(key)?;
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Datetime(value) => Some(Item { value, at }),
            other => {
                let found = kind(&other);
                reader.error(
                    at,
                    format!(
                        "{key}: expected a date without quotes such as 2027-03-01, got {found}"
                    ),
                );
                None
            }
        }
    }

    /// Takes a list of tables, written as `[[name]]` or as `name = [{ … }]`.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        name: &'static str,
        reader: &mut Reader<'_>,
    ) -> Vec<Section<'t>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let at = value.span().start;
        let DeValue::Array(array) = value.into_inner() else {
            reader.error(at, format!("{key}: expected a list of tables, written as {name}"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array {
            let at = item.span().start;
            match item.into_inner() {
                DeValue::Table(table) => sections.push(Section::new(name, at, table)),
                other => {
                    reader.error(at, format!("{key}: expected a table, got {}", kind(&other)));
                }
            }
        }
        sections
    }

    /// Takes a table.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        name: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Section<'t>> {
        let value = self.take(key)?;
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => Some(Section::new(name, at, table)),
            other => {
                reader.error(at, format!("{key}: expected a table, got {}", kind(&other)));
                None
            }
        }
    }

    /// Takes everything that is left, as texts by their names.
    pub(super) fn remaining_texts(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Vec<(Item<String>, Item<String>)> {
        let mut texts = Vec::new();
        for entry in std::mem::take(&mut self.entries) {
            let at = entry.value.span().start;
            match entry.value.into_inner() {
                DeValue::String(text) => texts.push((
                    Item { value: entry.key, at: entry.key_at },
                    Item { value: text.into_owned(), at },
                )),
                other => {
                    let (key, found) = (entry.key, kind(&other));
                    reader.error(at, format!("{key}: expected a text in quotes, got {found}"));
                }
            }
        }
        texts.sort_by_key(|(key, _)| key.at);
        texts
    }

    /// Reports every key that was not taken.
    pub(super) fn finish(mut self, reader: &mut Reader<'_>) {
        self.entries.sort_by_key(|entry| entry.key_at);
        for entry in self.entries {
            let known = self.known.join(", ");
            let key = printable(&entry.key);
            reader.error(
                entry.key_at,
                format!("unknown key {key} in {}. The known keys are {known}", self.name),
            );
        }
    }
}

/// Quotes a text of the document for a message, cut to a length that a terminal shows in a line.
pub(super) fn printable(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 60;
    let cut: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    let ellipsis = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{ellipsis}")
}

/// The kind of a value in messages. The value itself may be a secret in the wrong place.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
