//! Resolution of the placeholders `${key}` and `${key:default}` (docs/protocol.md#5-placeholders).
//!
//! Values come only from the environment itself. There are no system properties, process variables, random values or
//! expressions. An unresolvable placeholder stays as it is written. Circular references are errors, and so is a text that
//! exceeds [`DEPTH_MAX`] or [`GROWTH_MAX`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use crate::model::Environment;

/// The deepest nesting of placeholders and of references from value to value.
pub const DEPTH_MAX: usize = 32;
/// The largest result, as a multiple of the size of text and environment together.
pub const GROWTH_MAX: usize = 10;
/// The size in bytes that every result may have, in addition to [`GROWTH_MAX`], so that small environments can repeat values.
pub const GROWTH_FREE_BYTES: usize = 64 * 1024;

/// A failure to resolve placeholders. It never contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// A value refers to itself, directly or through others.
    #[error("circular placeholder: {key}")]
    Circular {
        /// The property whose resolution depends on itself.
        key: String,
    },
    /// The nesting exceeds [`DEPTH_MAX`].
    #[error("placeholders are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// The result, or the work for it, exceeds [`GROWTH_MAX`].
    #[error("placeholders make the text more than {GROWTH_MAX} times larger")]
    TooLarge,
    /// The meter returned false.
    #[error("resolving was stopped")]
    Stopped,
}

/// Called with the size of each piece of a result before it is written. Returning false stops the resolution.
pub type Meter<'a> = dyn Fn(usize) -> bool + 'a;

/// Resolves a whole text. Blanks inside a placeholder belong to its key.
pub fn resolve_text(
    environment: &Environment,
    text: &str,
    meter: &Meter<'_>,
) -> Result<String, PlaceholderError> {
    let lookup = EnvironmentValues::new(environment);
    Resolver::new(&lookup, text.len()).metered(meter).text(text)
}

/// A source of values for placeholders.
pub trait ValueSource {
    /// The text of the value with exactly this key.
    fn value(&self, key: &str) -> Option<&str>;

    /// The total size in bytes by which the growth of a result is measured.
    fn byte_count(&self) -> usize;
}

/// The values of an environment as text, by exact key. The first source with the key wins.
#[derive(Debug)]
pub struct EnvironmentValues<'a> {
    values: HashMap<&'a str, &'a str>,
    bytes: usize,
}

impl<'a> EnvironmentValues<'a> {
    /// Indexes all properties.
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

impl ValueSource for EnvironmentValues<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key)
    }

    fn byte_count(&self) -> usize {
        self.bytes
    }
}

/// Resolves the texts of one answer. The limit on growth applies to all of them together.
pub struct Resolver<'a, V: ValueSource = EnvironmentValues<'a>> {
    lookup: &'a V,
    meter: Option<&'a Meter<'a>>,
    blanks: KeyBlanks,
    /// The keys whose values are being resolved, outermost first.
    open: Vec<String>,
    left_count: usize,
    read: ByteBudget,
    written: ByteBudget,
}

/// The meaning of blanks around the key of a placeholder.
#[derive(Debug, Clone, Copy)]
enum KeyBlanks {
    Dropped,
    PartOfTheKey,
}

impl<'a, V: ValueSource> Resolver<'a, V> {
    /// `input_bytes` is the size of the texts to resolve, without the values themselves.
    pub fn new(lookup: &'a V, input_bytes: usize) -> Self {
        let bytes = (lookup.byte_count() + input_bytes) * GROWTH_MAX + GROWTH_FREE_BYTES;
        Self {
            lookup,
            meter: None,
            blanks: KeyBlanks::PartOfTheKey,
            open: Vec::new(),
            left_count: 0,
            read: ByteBudget(bytes),
            written: ByteBudget(bytes),
        }
    }

    /// Adds a meter.
    pub fn metered(self, meter: &'a Meter<'a>) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Resolves a whole text: a file or the `.properties` form.
    pub fn text(&mut self, text: &str) -> Result<String, PlaceholderError> {
        self.resolve(text, KeyBlanks::PartOfTheKey)
    }

    /// Resolves one value. Blanks around a key are dropped. A text without a complete placeholder is unchanged.
    pub fn value<'t>(&mut self, text: &'t str) -> Result<Cow<'t, str>, PlaceholderError> {
        if holds_placeholder(text) {
            self.resolve(text, KeyBlanks::Dropped).map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(text))
        }
    }

    /// Returns true if a placeholder in the value cannot be resolved and has no default.
    pub fn has_unresolved(&mut self, text: &str) -> Result<bool, PlaceholderError> {
        let before = self.left_count;
        self.value(text)?;
        Ok(self.left_count > before)
    }

    fn resolve(&mut self, text: &str, blanks: KeyBlanks) -> Result<String, PlaceholderError> {
        self.blanks = blanks;
        self.open.clear();
        let mut out = String::with_capacity(text.len());
        self.part(&BraceIndex::new(text), 0..text.len(), 0, &mut out)?;
        Ok(out)
    }

    /// Appends one part of a text with its placeholders resolved.
    fn part(
        &mut self,
        marked: &BraceIndex<'_>,
        part: Range<usize>,
        depth: usize,
        out: &mut String,
    ) -> Result<(), PlaceholderError> {
        let text = marked.text;
        let mut at = part.start;
        while let Some(found) = text[at..part.end].find(OPENING) {
            let start = at + found;
            let inner = start + OPENING.len();
            let escapes = escapes_before(text, start);
            // The end is searched last, because that takes time in proportion to the placeholder.
            if let Some(end) = (escapes == 0).then(|| marked.closing(start)).flatten() {
                self.write(&text[at..start], out)?;
                self.placeholder(marked, inner..end, depth + 1, out)?;
                at = end + 1;
            } else {
                self.write(&text[at..start - escapes], out)?;
                self.write(OPENING, out)?;
                at = inner;
            }
        }
        self.write(&text[at..part.end], out)
    }

    /// Appends the value of a placeholder. `inner` is the range between its braces.
    fn placeholder(
        &mut self,
        marked: &BraceIndex<'_>,
        inner: Range<usize>,
        depth: usize,
        out: &mut String,
    ) -> Result<(), PlaceholderError> {
        if depth > DEPTH_MAX {
            return Err(PlaceholderError::TooDeep);
        }
        // A key can contain a colon, so the whole text is looked up before a default is split off.
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

    /// Appends the resolved value of a key. Returns false if the environment does not have the key.
    fn reference(
        &mut self,
        key: &str,
        depth: usize,
        out: &mut String,
    ) -> Result<bool, PlaceholderError> {
        let key = match self.blanks {
            KeyBlanks::Dropped => key.trim(),
            KeyBlanks::PartOfTheKey => key,
        };
        let lookup: &'a V = self.lookup;
        let Some(value) = lookup.value(key) else {
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
        self.part(&BraceIndex::new(value), 0..value.len(), depth, out)?;
        self.open.pop();
        Ok(true)
    }

    fn write(&mut self, text: &str, out: &mut String) -> Result<(), PlaceholderError> {
        self.written.take(text.len())?;
        if self.meter.is_some_and(|goes_on| !goes_on(text.len())) {
            return Err(PlaceholderError::Stopped);
        }
        out.push_str(text);
        Ok(())
    }
}

const OPENING: &str = "${";

/// The number of bytes that may still be used.
#[derive(Debug)]
struct ByteBudget(usize);

impl ByteBudget {
    fn take(&mut self, bytes: usize) -> Result<(), PlaceholderError> {
        self.0 = self.0.checked_sub(bytes).ok_or(PlaceholderError::TooLarge)?;
        Ok(())
    }
}

/// A text with an index of its closed braces. The index is built in one pass, so that unclosed braces cost nothing later. It
/// has one bit for each byte, because a text can contain millions of braces.
struct BraceIndex<'t> {
    text: &'t str,
    closed: Vec<u64>,
}

impl<'t> BraceIndex<'t> {
    /// Scans from the end: a brace is closed if a closing brace behind it does not belong to another brace between them.
    fn new(text: &'t str) -> Self {
        let mut closed = vec![0_u64; text.len().div_ceil(64)];
        let mut closing_count = 0_usize;
        for (at, byte) in text.bytes().enumerate().rev() {
            if byte == b'}' {
                closing_count += 1;
            } else if byte == b'{' && closing_count > 0 {
                closing_count -= 1;
                closed[at / 64] |= 1 << (at % 64);
            }
        }
        Self { text, closed }
    }

    /// The closing brace of the placeholder whose `$` is at `start`, if it has one.
    fn closing(&self, start: usize) -> Option<usize> {
        let brace = start + 1;
        let is_closed = self.text.as_bytes().get(brace) == Some(&b'{')
            && self.closed[brace / 64] & 1 << (brace % 64) != 0;
        if !is_closed {
            return None;
        }
        let mut depth = 0_usize;
        for (at, byte) in self.text.bytes().enumerate().skip(brace) {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return Some(at),
                b'}' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The first colon of `part` outside of its placeholders.
    fn separator(&self, part: Range<usize>) -> Option<usize> {
        let mut at = part.start;
        while let Some(found) = self.text[at..part.end].find([':', '$']) {
            at += found;
            if self.text[at..].starts_with(':') {
                return Some(at);
            }
            let is_escaped = escapes_before(self.text, at) > 0;
            let end = (!is_escaped).then(|| self.closing(at)).flatten();
            at = end.map_or(at + 1, |end| end + 1);
        }
        None
    }
}

/// The number of backslashes that escape the placeholder at `start`: up to two, because JSON and YAML double them.
fn escapes_before(text: &str, start: usize) -> usize {
    let backslashes = text[..start].bytes().rev().take_while(|b| *b == b'\\');
    backslashes.take(2).count()
}

/// Returns true if a text contains `${`, at least one character that is not a closing brace, and a closing brace.
fn holds_placeholder(text: &str) -> bool {
    let last = text.rfind('}').unwrap_or(0);
    text[..last].match_indices(OPENING).any(|(at, _)| !text[at + OPENING.len()..].starts_with('}'))
}

#[cfg(test)]
pub(crate) mod tests;
