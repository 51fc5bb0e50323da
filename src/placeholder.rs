//! Placeholders: `${key}` and `${key:default}`, in answers that ask for it. Values come from the environment itself and
//! from nowhere else: no system properties, no variables of the process, no random values, no expression language.
//!
//! A placeholder that cannot be resolved stays as it is written. What would never end is refused, and so is a text that
//! would grow out of proportion: see [`DEPTH_MAX`] and [`GROWTH_MAX`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use crate::model::Environment;

/// How deep placeholders may stand in each other, and values refer to other values.
pub const DEPTH_MAX: usize = 32;
/// How many times larger than text and environment together the result may become.
pub const GROWTH_MAX: usize = 10;
/// What any result may have in bytes, so that small environments may repeat themselves.
pub const GROWTH_FREE_BYTES: usize = 64 * 1024;

/// Why placeholders cannot be resolved. Never carries a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// A value refers to itself, directly or through others.
    #[error("circular placeholder: {key}")]
    Circular {
        /// The property that was met again while it was being resolved.
        key: String,
    },
    /// More than [`DEPTH_MAX`] placeholders or references in each other.
    #[error("placeholders are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// The result, or the work for it, is out of proportion to what it is made of.
    #[error("placeholders make the text more than {GROWTH_MAX} times larger")]
    TooLarge,
}

/// Resolves a text as a whole: blanks inside a placeholder belong to its key.
pub fn resolve_text(environment: &Environment, text: &str) -> Result<String, PlaceholderError> {
    let lookup = Lookup::new(environment);
    Resolver::new(&lookup, text.len()).text(text)
}

/// The values of an environment in text form, by exact key; the first source that has a key wins.
#[derive(Debug)]
pub struct Lookup<'a> {
    values: HashMap<&'a str, &'a str>,
    bytes: usize,
}

impl<'a> Lookup<'a> {
    /// Looks at every property once.
    pub fn new(environment: &'a Environment) -> Self {
        let mut values = HashMap::new();
        let mut bytes = 0;
        for property in environment.sources.iter().flat_map(|s| s.properties()) {
            let text = property.value.text();
            bytes += property.key.len() + text.len();
            values.entry(&*property.key).or_insert(text);
        }
        Self { values, bytes }
    }

    /// The text of the value with exactly this key.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }
}

/// Resolves the texts of one answer; what they may grow to is counted over all of them.
#[derive(Debug)]
pub struct Resolver<'a> {
    lookup: &'a Lookup<'a>,
    blanks: Blanks,
    /// The keys whose values are being resolved.
    open: Vec<String>,
    left_count: usize,
    read: Allowance,
    written: Allowance,
}

/// What blanks around the key of a placeholder are.
#[derive(Debug, Clone, Copy)]
enum Blanks {
    Dropped,
    PartOfTheKey,
}

impl<'a> Resolver<'a> {
    /// `input_bytes` is the size of what will be resolved, beyond the environment's own values.
    pub fn new(lookup: &'a Lookup<'a>, input_bytes: usize) -> Self {
        let bytes = (lookup.bytes + input_bytes) * GROWTH_MAX + GROWTH_FREE_BYTES;
        Self {
            lookup,
            blanks: Blanks::PartOfTheKey,
            open: Vec::new(),
            left_count: 0,
            read: Allowance(bytes),
            written: Allowance(bytes),
        }
    }

    /// Resolves a whole text: a file, or all of the `.properties` form.
    pub fn text(&mut self, text: &str) -> Result<String, PlaceholderError> {
        self.resolve(text, Blanks::PartOfTheKey)
    }

    /// Resolves one value: blanks around a key are dropped, and text without a whole placeholder is left alone.
    pub fn value<'t>(&mut self, text: &'t str) -> Result<Cow<'t, str>, PlaceholderError> {
        if holds_placeholder(text) {
            self.resolve(text, Blanks::Dropped).map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(text))
        }
    }

    /// Whether something in a value stays as it is written because nothing resolves it.
    pub fn leaves(&mut self, text: &str) -> Result<bool, PlaceholderError> {
        let before = self.left_count;
        self.value(text)?;
        Ok(self.left_count > before)
    }

    fn resolve(&mut self, text: &str, blanks: Blanks) -> Result<String, PlaceholderError> {
        self.blanks = blanks;
        self.open.clear();
        let mut out = String::with_capacity(text.len());
        self.part(&Marked::new(text), 0..text.len(), 0, &mut out)?;
        Ok(out)
    }

    /// Appends one part of a text with its placeholders resolved.
    fn part(
        &mut self,
        marked: &Marked<'_>,
        part: Range<usize>,
        depth: usize,
        out: &mut String,
    ) -> Result<(), PlaceholderError> {
        let text = marked.text;
        let mut at = part.start;
        while let Some(found) = text[at..part.end].find(OPENING) {
            let start = at + found;
            let inner = start + OPENING.len();
            match (escapes_before(text, start), marked.closing.get(&start)) {
                (0, Some(&end)) => {
                    self.write(&text[at..start], out)?;
                    self.placeholder(marked, inner..end, depth + 1, out)?;
                    at = end + 1;
                }
                (escapes, _) => {
                    self.write(&text[at..start - escapes], out)?;
                    self.write(OPENING, out)?;
                    at = inner;
                }
            }
        }
        self.write(&text[at..part.end], out)
    }

    /// Appends what a placeholder stands for; `inner` is what its braces enclose.
    fn placeholder(
        &mut self,
        marked: &Marked<'_>,
        inner: Range<usize>,
        depth: usize,
        out: &mut String,
    ) -> Result<(), PlaceholderError> {
        if depth > DEPTH_MAX {
            return Err(PlaceholderError::TooDeep);
        }
        // A key may have a colon of its own, so all of it is tried before a default is split off.
        let whole = &marked.text[inner.clone()];
        if !whole.contains(OPENING) && self.reference(whole, depth, out)? {
            return Ok(());
        }
        let separator = marked.separator(inner.clone());
        let mut key = String::new();
        let key_end = separator.unwrap_or(inner.end);
        self.part(marked, inner.start..key_end, depth, &mut key)?;
        if self.reference(&key, depth, out)? {
            return Ok(());
        }
        match separator {
            Some(colon) => self.part(marked, colon + 1..inner.end, depth, out),
            None => {
                self.left_count += 1;
                self.write(OPENING, out)?;
                self.write(&key, out)?;
                self.write("}", out)
            }
        }
    }

    /// Appends the resolved value of a key; `false` if the environment does not have it.
    fn reference(
        &mut self,
        key: &str,
        depth: usize,
        out: &mut String,
    ) -> Result<bool, PlaceholderError> {
        let key = match self.blanks {
            Blanks::Dropped => key.trim(),
            Blanks::PartOfTheKey => key,
        };
        let Some(value) = self.lookup.get(key) else {
            return Ok(false);
        };
        self.read.take(value.len() + 1)?;
        if !value.contains(OPENING) {
            self.write(value, out)?;
            return Ok(true);
        }
        if self.open.iter().any(|open| open == key) {
            return Err(PlaceholderError::Circular { key: key.into() });
        }
        self.open.push(key.into());
        self.part(&Marked::new(value), 0..value.len(), depth, out)?;
        self.open.pop();
        Ok(true)
    }

    fn write(&mut self, text: &str, out: &mut String) -> Result<(), PlaceholderError> {
        self.written.take(text.len())?;
        out.push_str(text);
        Ok(())
    }
}

const OPENING: &str = "${";

/// Bytes that may still be used.
#[derive(Debug)]
struct Allowance(usize);

impl Allowance {
    fn take(&mut self, bytes: usize) -> Result<(), PlaceholderError> {
        self.0 = self.0.checked_sub(bytes).ok_or(PlaceholderError::TooLarge)?;
        Ok(())
    }
}

/// A text and where its placeholders end, found in one pass so that unclosed ones cost nothing.
struct Marked<'t> {
    text: &'t str,
    /// From the `$` of a placeholder to its closing brace.
    closing: HashMap<usize, usize>,
}

impl<'t> Marked<'t> {
    fn new(text: &'t str) -> Self {
        let mut closing = HashMap::new();
        let mut open = Vec::new();
        for (at, _) in text.match_indices(['{', '}']) {
            if text[at..].starts_with('{') {
                open.push(at);
            } else if let Some(brace) = open.pop()
                && text[..brace].ends_with('$')
            {
                closing.insert(brace - 1, at);
            }
        }
        Self { text, closing }
    }

    /// The first colon of `part` outside of its placeholders.
    fn separator(&self, part: Range<usize>) -> Option<usize> {
        let mut at = part.start;
        while let Some(found) = self.text[at..part.end].find([':', '$']) {
            at += found;
            if self.text[at..].starts_with(':') {
                return Some(at);
            }
            at = match self.closing.get(&at) {
                Some(end) if escapes_before(self.text, at) == 0 => end + 1,
                _ => at + 1,
            };
        }
        None
    }
}

/// How many backslashes escape the placeholder at `start`: one, or two as JSON and YAML write it.
fn escapes_before(text: &str, start: usize) -> usize {
    let backslashes = text[..start].bytes().rev().take_while(|b| *b == b'\\');
    backslashes.take(2).count()
}

/// Whether there is an opening, at least one character that is not a closing brace, and a closing brace.
fn holds_placeholder(text: &str) -> bool {
    let last = text.rfind('}').unwrap_or(0);
    text[..last].match_indices(OPENING).any(|(at, _)| !text[at + OPENING.len()..].starts_with('}'))
}

#[cfg(test)]
pub(crate) mod tests;
