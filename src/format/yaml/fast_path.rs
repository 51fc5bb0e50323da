//! A fast parser for simple files: block maps, lists, scalars on one line, comments, `---`.
//!
//! It is several times faster than the full parser. It returns `None` for everything else, including every error, and then
//! the full parser decides. Tests compare the results of both.

use std::borrow::Cow;

use super::scalar::{self, Leaf};
use crate::format::flat_builder::FlatBuilder;
use crate::model::{Document, Position, Scalar};

/// Files beyond these limits are left to the full parser.
const DEPTH_MAX: usize = 40;
const MAP_KEYS_MAX: usize = 256;
const KEY_BYTES_MAX: usize = 256;
const DOCUMENTS_MAX: usize = 500;

/// Parses all documents, or returns `None` if the full parser has to.
pub(super) fn parse(text: &str) -> Option<Vec<Document>> {
    if text.bytes().any(|byte| matches!(byte, b'\t' | b'\r')) || text.contains('\u{feff}') {
        return None;
    }
    let mut plain = PlainParser {
        rest: text,
        number: 0,
        line: None,
        flat: FlatBuilder::default(),
        keys: Vec::new(),
    };
    plain.advance();
    for _ in 0..DOCUMENTS_MAX {
        plain.document()?;
        match plain.line {
            None => return Some(plain.flat.finish()),
            Some(_) => plain.advance(),
        }
    }
    None
}

struct PlainParser<'a> {
    /// The text behind the current line.
    rest: &'a str,
    /// The number of the current line, from 1.
    number: u32,
    /// The current line. `None` at the end of the file.
    line: Option<PlainLine<'a>>,
    flat: FlatBuilder,
    /// The keys of the open maps, outermost first.
    keys: Vec<&'a str>,
}

/// A line with content, without blanks at its end.
#[derive(Clone, Copy)]
struct PlainLine<'a> {
    text: &'a str,
    /// The offset of the content that is not read yet.
    indent: usize,
}

impl<'a> PlainLine<'a> {
    fn content(&self) -> &'a str {
        &self.text[self.indent..]
    }

    fn is_item(&self) -> bool {
        self.content().starts_with("- ")
    }

    fn is_separator(&self) -> bool {
        self.text == "---"
    }

    /// The column, from 1, of the remaining text.
    fn column(&self, remaining: &str) -> u32 {
        let before = &self.text[..self.text.len() - remaining.len()];
        let characters = if before.is_ascii() { before.len() } else { before.chars().count() };
        u32::try_from(characters + 1).unwrap_or(u32::MAX)
    }
}

impl<'a> PlainParser<'a> {
    /// Moves to the next line with content.
    fn advance(&mut self) {
        self.line = None;
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            self.number += 1;
            let text = line.trim_end_matches(' ');
            let indent = text.len() - text.trim_start_matches(' ').len();
            let line = PlainLine { text, indent };
            if !line.content().is_empty() && !line.content().starts_with('#') {
                self.line = Some(line);
                return;
            }
        }
    }

    /// Reads a document up to a separator or the end of the file.
    fn document(&mut self) -> Option<()> {
        let Some(line) = self.line else { return Some(()) };
        if line.is_separator() {
            return Some(());
        }
        if line.indent > 0 || line.is_item() {
            return None;
        }
        self.map(0, 0)?;
        self.flat.end_document().ok()?;
        match self.line {
            Some(line) if !line.is_separator() => None,
            _ => Some(()),
        }
    }

    /// Reads the entries of a map at `indent`.
    fn map(&mut self, indent: usize, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let outer = self.keys.len();
        while let Some(line) =
            self.line.filter(|line| line.indent == indent && !line.is_separator())
        {
            let (key, value) = key(line.content())?;
            let siblings = &self.keys[outer..];
            if siblings.len() == MAP_KEYS_MAX || siblings.contains(&key) {
                return None;
            }
            self.keys.push(key);
            let mark = self.flat.enter_key(key);
            match without_comment(value) {
                "" => self.nested(line, value, depth)?,
                _ => self.scalar(line, value, indent)?,
            }
            self.flat.leave(mark);
        }
        self.keys.truncate(outer);
        self.line.is_none_or(|line| line.indent < indent || line.is_separator()).then_some(())
    }

    /// Reads the value of a key with nothing behind its colon.
    fn nested(&mut self, line: PlainLine<'a>, value: &'a str, depth: usize) -> Option<()> {
        let position = Position { line: self.number, column: line.column(value) };
        self.advance();
        match self.line {
            Some(next) if next.is_item() && next.indent >= line.indent => {
                self.list(next.indent, depth + 1)
            }
            Some(next) if next.indent > line.indent => self.map(next.indent, depth + 1),
            _ => self.flat.put(Scalar::String("".into()), position).ok(),
        }
    }

    /// Reads the items whose dashes are at `indent`.
    fn list(&mut self, indent: usize, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut index = 0;
        while let Some(line) = self.line.filter(|line| line.indent == indent && line.is_item()) {
            let content = line.content()[2..].trim_start_matches(' ');
            let mark = self.flat.enter_item(index);
            if key(content).is_some() {
                let inner = line.text.len() - content.len();
                self.line = Some(PlainLine { indent: inner, ..line });
                self.map(inner, depth + 1)?;
            } else {
                self.scalar(line, content, indent)?;
            }
            self.flat.leave(mark);
            index += 1;
        }
        // A line with more indentation would continue the last item.
        self.line.is_none_or(|line| line.indent <= indent).then_some(())
    }

    /// Reads a value that ends the current line. No line with more indentation may follow.
    fn scalar(&mut self, line: PlainLine<'a>, rest: &'a str, indent: usize) -> Option<()> {
        let rest = rest.trim_start_matches(' ');
        let position = Position { line: self.number, column: line.column(rest) };
        match without_comment(rest) {
            "" => return None,
            "{}" => {}
            text => self.flat.put(value(text)?, position).ok()?,
        }
        self.advance();
        self.line.is_none_or(|next| next.indent <= indent).then_some(())
    }
}

/// Splits a key from the text behind its colon.
fn key(content: &str) -> Option<(&str, &str)> {
    let (key, rest) = match content.as_bytes().first()? {
        quote @ (b'"' | b'\'') => {
            let end = 1 + content.bytes().skip(1).position(|byte| byte == *quote)?;
            let key = &content[1..end];
            (key.bytes().all(|byte| byte != b'\\')).then_some((key, &content[end + 1..]))?
        }
        _ => {
            let end = content.bytes().position(|byte| !is_key_byte(byte))?;
            let key = &content[..end];
            (is_plain_start(key) && is_text(key)).then_some((key, &content[end..]))?
        }
    };
    let value = rest.strip_prefix(':')?;
    let fits = key.len() <= KEY_BYTES_MAX && (value.is_empty() || value.starts_with(' '));
    fits.then_some((key, value))
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'[' | b']')
}

fn is_plain_start(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphanumeric() || matches!(first, '_' | '/'))
}

fn is_text(text: &str) -> bool {
    matches!(scalar::resolve(Cow::Borrowed(text)), Ok(Leaf::String(_)))
}

/// Removes a comment and surrounding blanks. A quoted text is returned whole, because it can contain `#`.
fn without_comment(text: &str) -> &str {
    let text = text.trim_start_matches(' ');
    match text.as_bytes().first() {
        None | Some(b'#') => "",
        Some(b'"' | b'\'') => text,
        Some(_) => text.split_once(" #").map_or(text, |(value, _)| value.trim_end_matches(' ')),
    }
}

/// Types the text of a value. A comment may follow a closing quote.
fn value(text: &str) -> Option<Scalar> {
    match text.as_bytes() {
        b"[]" => Some(Scalar::String("".into())),
        [b'\'', ..] => single_quoted(&text[1..]),
        [b'"', ..] => double_quoted(&text[1..]),
        [b'-', b'0'..=b'9', ..] => plain(text),
        [b'-' | b'?' | b':' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!', ..] => {
            None
        }
        [b'|' | b'>' | b'%' | b'@' | b'`', ..] => None,
        _ => plain(text),
    }
}

fn plain(text: &str) -> Option<Scalar> {
    if text.contains(": ") || text.ends_with(':') {
        return None;
    }
    match scalar::resolve(Cow::Borrowed(text)).ok()? {
        Leaf::Null => Some(Scalar::String("".into())),
        Leaf::Bool(value) => Some(Scalar::Bool(value)),
        Leaf::Integer(text) => Some(Scalar::Integer(text)),
        Leaf::Float(text) => Some(Scalar::Float(text)),
        Leaf::String(text) => Some(Scalar::String(text.as_ref().into())),
        Leaf::Merge => None,
    }
}

fn single_quoted(rest: &str) -> Option<Scalar> {
    let (text, behind) = rest.split_once('\'')?;
    // A doubled quote is an escape, which is left to the full parser.
    is_nothing(behind).then(|| Scalar::String(text.into()))
}

fn double_quoted(rest: &str) -> Option<Scalar> {
    let (text, behind) = rest.split_once('"')?;
    (!text.contains('\\') && is_nothing(behind)).then(|| Scalar::String(text.into()))
}

/// Returns true if only blanks and a comment follow.
fn is_nothing(behind: &str) -> bool {
    behind.is_empty() || behind.starts_with(' ') && behind.trim_start_matches(' ').starts_with('#')
}

#[cfg(test)]
mod tests;
