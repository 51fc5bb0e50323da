//! A short cut for plain files: block maps, lists, scalars on one line, comments, `---`.
//!
//! It is several times faster than the general way and gives up on everything it does not fully understand, every
//! mistake included: then the general way decides, and it alone knows the language. Tests hold the two together.

use std::borrow::Cow;

use super::scalar::{self, Leaf};
use crate::format::flat::Flat;
use crate::model::{Document, Position, Scalar};

/// Deeper files, and wider maps, go the general way.
const DEPTH_MAX: usize = 40;
const MAP_KEYS_MAX: usize = 256;
const KEY_BYTES_MAX: usize = 256;
const DOCUMENTS_MAX: usize = 500;

/// Reads all documents, or `None` where the general way has to.
pub(super) fn parse(text: &str) -> Option<Vec<Document>> {
    if text.bytes().any(|byte| matches!(byte, b'\t' | b'\r')) || text.contains('\u{feff}') {
        return None;
    }
    let mut plain =
        Plain { rest: text, number: 0, line: None, flat: Flat::default(), keys: Vec::new() };
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

struct Plain<'a> {
    /// The text behind the present line.
    rest: &'a str,
    /// Of the present line, from 1.
    number: u32,
    /// The present line; `None` at the end of the file.
    line: Option<Line<'a>>,
    flat: Flat,
    /// The keys of the maps that are open, the outermost first.
    keys: Vec<&'a str>,
}

/// A line that has content, without blanks at its end.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// Where the content begins that is not read yet.
    indent: usize,
}

impl<'a> Line<'a> {
    fn content(&self) -> &'a str {
        &self.text[self.indent..]
    }

    fn is_item(&self) -> bool {
        self.content().starts_with("- ")
    }

    fn is_separator(&self) -> bool {
        self.text == "---"
    }

    /// The column, from 1, of what remains of the line.
    fn column(&self, remaining: &str) -> u32 {
        let before = &self.text[..self.text.len() - remaining.len()];
        let characters = if before.is_ascii() { before.len() } else { before.chars().count() };
        u32::try_from(characters + 1).unwrap_or(u32::MAX)
    }
}

impl<'a> Plain<'a> {
    /// Goes to the next line that has content.
    fn advance(&mut self) {
        self.line = None;
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            self.number += 1;
            let text = line.trim_end_matches(' ');
            let indent = text.len() - text.trim_start_matches(' ').len();
            let line = Line { text, indent };
            if !line.content().is_empty() && !line.content().starts_with('#') {
                self.line = Some(line);
                return;
            }
        }
    }

    /// Up to a separator or the end of the file.
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

    /// The entries that stand at `indent`.
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

    /// What belongs to a key that has nothing behind its colon.
    fn nested(&mut self, line: Line<'a>, value: &'a str, depth: usize) -> Option<()> {
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

    /// The items whose dashes stand at `indent`.
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
                self.line = Some(Line { indent: inner, ..line });
                self.map(inner, depth + 1)?;
            } else {
                self.scalar(line, content, indent)?;
            }
            self.flat.leave(mark);
            index += 1;
        }
        // A line further in would continue what stands before it.
        self.line.is_none_or(|line| line.indent <= indent).then_some(())
    }

    /// A value that ends the present line, and that nothing further in may follow.
    fn scalar(&mut self, line: Line<'a>, rest: &'a str, indent: usize) -> Option<()> {
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

/// A key and what stands behind its colon, blanks before it included if nothing else does.
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

/// What stands before a comment, without the blanks around it; quoted text may hold what looks like one.
fn without_comment(text: &str) -> &str {
    let text = text.trim_start_matches(' ');
    match text.as_bytes().first() {
        None | Some(b'#') => "",
        Some(b'"' | b'\'') => text,
        Some(_) => text.split_once(" #").map_or(text, |(value, _)| value.trim_end_matches(' ')),
    }
}

/// The value of a text that fills its line, except for a comment behind a closing quote.
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
    // A doubled quote stands for one: that is for the general way.
    is_nothing(behind).then(|| Scalar::String(text.into()))
}

fn double_quoted(rest: &str) -> Option<Scalar> {
    let (text, behind) = rest.split_once('"')?;
    (!text.contains('\\') && is_nothing(behind)).then(|| Scalar::String(text.into()))
}

/// Whether only blanks and a comment follow.
fn is_nothing(behind: &str) -> bool {
    behind.is_empty() || behind.starts_with(' ') && behind.trim_start_matches(' ').starts_with('#')
}

#[cfg(test)]
mod tests;
