//! Reading a TOML document so that every problem has a place and all problems are reported at once.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Name;

/// The largest accepted document.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// A place in a plan file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A fault in a plan file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// The name of the file.
    pub file: Name,
    pub place: Place,
    /// Lower case, without a final full stop.
    pub message: String,
}

impl fmt::Display for PlanProblem {
    /// Writes `file:line:column: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)
    }
}

/// A plan file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// At least one, ordered by place.
    pub problems: Vec<PlanProblem>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(PlanProblem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for PlanError {}

/// A value with the byte at which it begins.
#[derive(Debug, Clone)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// One text or a list of texts.
pub(super) enum OneOrMany {
    One(Item<String>),
    Many(Vec<Item<String>>),
}

/// The problems found so far, and the text for their places.
pub(super) struct Reader<'t> {
    file: Name,
    text: &'t str,
    problems: Vec<PlanProblem>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        Self { file: file.into(), text, problems: Vec::new() }
    }

    /// Parses the document. A document with a syntax error yields no table.
    pub(super) fn root(&mut self) -> Option<Section<'t>> {
        if self.text.len() > DOCUMENT_BYTES_MAX {
            let size = self.text.len();
            self.error(
                0,
                format!("the file has {size} bytes, at most {DOCUMENT_BYTES_MAX} are read"),
            );
            return None;
        }
        match DeTable::parse(self.text) {
            Ok(table) => Some(Section::new("the file", 0, table.into_inner())),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let message = error.message().lines().next().unwrap_or("invalid").to_owned();
                self.error(at, format!("this is not TOML: {message}"));
                None
            }
        }
    }

    pub(super) fn error(&mut self, at: usize, message: impl Into<String>) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let place = Place { line, column: before[line_start..].chars().count() + 1 };
        self.problems.push(PlanProblem { file: self.file.clone(), place, message: message.into() });
    }

    /// Returns the value, or reports the problem at its place.
    pub(super) fn accept<T>(
        &mut self,
        at: usize,
        key: &str,
        value: Result<T, String>,
    ) -> Option<T> {
        value.map_err(|message| self.error(at, format!("{key}: {message}"))).ok()
    }

    /// Ends the reading. Returns the problems if there are any.
    pub(super) fn finish(mut self) -> Result<(), PlanError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| problem.place);
        Err(PlanError { problems: self.problems })
    }
}

/// One table, from which known keys are taken. Every key that is left is unknown.
pub(super) struct Section<'t> {
    /// The name in messages, such as `[[rule]]`.
    name: &'static str,
    pub(super) at: usize,
    entries: Vec<Entry<'t>>,
    known: Vec<&'static str>,
}

struct Entry<'t> {
    key: Item<String>,
    value: Spanned<DeValue<'t>>,
}

impl<'t> Section<'t> {
    fn new(name: &'static str, at: usize, table: DeTable<'t>) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let at = key.span().start;
            Entry { key: Item { value: key.into_inner().into_owned(), at }, value }
        });
        Self { name, at, entries: entries.collect(), known: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Item<DeValue<'t>>> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key.value == key)?;
        let value = self.entries.swap_remove(index).value;
        Some(Item { at: value.span().start, value: value.into_inner() })
    }

    /// The place of a key that is present.
    pub(super) fn place_of(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|entry| entry.key.value == key).map(|entry| entry.key.at)
    }

    /// Takes a text.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Item<String>> {
        let item = self.take(key)?;
        text(key, item, reader)
    }

    /// Takes a text or a list of texts.
    pub(super) fn one_or_many(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<OneOrMany> {
        let item = self.take(key)?;
        match item.value {
            DeValue::Array(_) => Some(OneOrMany::Many(texts(key, item, reader))),
            _ => text(key, item, reader).map(OneOrMany::One),
        }
    }

    /// Takes a list of texts. An absent key yields `None`, and a wrong value an empty list with a problem.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Vec<Item<String>>> {
        let item = self.take(key)?;
        Some(texts(key, item, reader))
    }

    /// Takes an integer.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Item<i64>> {
        let Item { at, value } = self.take(key)?;
        let number = value.as_integer().and_then(|digits| digits.as_str().parse().ok());
        if number.is_none() {
            reader.error(at, format!("{key}: expected an integer, got {}", kind(&value)));
        }
        number.map(|value| Item { value, at })
    }

    /// Takes a text, or a date with or without a time.
    pub(super) fn text_or_date(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Item<Result<toml::value::Datetime, String>>> {
        let Item { at, value } = self.take(key)?;
        match value {
            DeValue::Datetime(date) => Some(Item { value: Ok(date), at }),
            value => {
                let Item { value, at } = text(key, Item { value, at }, reader)?;
                Some(Item { value: Err(value), at })
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
        let Some(Item { at, value }) = self.take(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value else {
            reader.error(at, format!("{key}: expected a list of tables, written as {name}"));
            return Vec::new();
        };
        let tables = array.into_iter().filter_map(|item| {
            let at = item.span().start;
            match item.into_inner() {
                DeValue::Table(table) => Some(Self::new(name, at, table)),
                other => {
                    reader.error(at, format!("{key}: expected a table, got {}", kind(&other)));
                    None
                }
            }
        });
        tables.collect()
    }

    /// Takes a table.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        name: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Section<'t>> {
        let Item { at, value } = self.take(key)?;
        match value {
            DeValue::Table(table) => Some(Self::new(name, at, table)),
            other => {
                reader.error(at, format!("{key}: expected a table, got {}", kind(&other)));
                None
            }
        }
    }

    /// Takes every key that is left as a table, in the order of the file.
    pub(super) fn named_sections(
        &mut self,
        name: &'static str,
        reader: &mut Reader<'_>,
    ) -> Vec<(Item<String>, Section<'t>)> {
        let mut sections = Vec::new();
        for entry in std::mem::take(&mut self.entries) {
            match entry.value.into_inner() {
                DeValue::Table(table) => {
                    let section = Self::new(name, entry.key.at, table);
                    sections.push((entry.key, section));
                }
                other => {
                    let message =
                        format!("{}: expected a table, got {}", entry.key.value, kind(&other));
                    reader.error(entry.key.at, message);
                }
            }
        }
        sections.sort_by_key(|(key, _)| key.at);
        sections
    }

    /// Takes every key that is left as a text, in the order of the file.
    pub(super) fn remaining_texts(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Vec<(Item<String>, Item<String>)> {
        let mut found = Vec::new();
        for Entry { key, value } in std::mem::take(&mut self.entries) {
            let item = Item { at: value.span().start, value: value.into_inner() };
            found.extend(text(&key.value.clone(), item, reader).map(|value| (key, value)));
        }
        found.sort_by_key(|(key, _)| key.at);
        found
    }

    /// Reports every key that was not taken.
    pub(super) fn finish(mut self, reader: &mut Reader<'_>) {
        self.entries.sort_by_key(|entry| entry.key.at);
        for entry in self.entries {
            let key = printable(&entry.key.value);
            let known = self.known.join(", ");
            reader.error(
                entry.key.at,
                format!("unknown key {key} in {}. The known keys are {known}", self.name),
            );
        }
    }
}

fn text(key: &str, item: Item<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Item<String>> {
    match item.value {
        DeValue::String(text) => Some(Item { value: text.into_owned(), at: item.at }),
        other => {
            let found = kind(&other);
            reader.error(item.at, format!("{key}: expected a text in quotes, got {found}"));
            None
        }
    }
}

fn texts(key: &str, item: Item<DeValue<'_>>, reader: &mut Reader<'_>) -> Vec<Item<String>> {
    let DeValue::Array(array) = item.value else {
        let found = kind(&item.value);
        reader.error(item.at, format!("{key}: expected a list of texts, got {found}"));
        return Vec::new();
    };
    if array.is_empty() {
        reader.error(item.at, format!("{key} is an empty list. Remove the key or name something"));
    }
    let items = array.into_iter().filter_map(|value| {
        let item = Item { at: value.span().start, value: value.into_inner() };
        text(key, item, reader)
    });
    items.collect()
}

/// Quotes a text of the document for a message, cut to a length that a terminal shows in a line.
pub(super) fn printable(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 60;
    let cut: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    let ellipsis = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{ellipsis}")
}

/// The kind of a value in messages.
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
