//! `.properties` files as Spring Boot reads them: Latin-1, escapes, several documents, lists.
//!
//! See docs/protocol.md#10-properties-xml-toml-and-json.
//!
//! `reader` turns bytes into logical characters. This module turns these into keys, values and documents.

mod reader;

use self::reader::{CharacterReader, ValueEnd};
use super::ParseError;
use super::flat_builder::FlatBuilder;
use crate::model::{Document, Position, Scalar};

/// Parses all documents of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let mut loader = PropertiesParser {
        reader: CharacterReader::new(bytes),
        flat: FlatBuilder::with_repeated_keys(),
        line_before: None,
    };
    while loader.reader.advance()? {
        match loader.reader.comment_sign() {
            Some(sign) => loader.comment(sign)?,
            None => loader.property()?,
        }
    }
    if !loader.flat.is_empty() {
        loader.flat.end_document()?;
    }
    Ok(loader.flat.finish())
}

struct PropertiesParser<'a> {
    reader: CharacterReader<'a>,
    flat: FlatBuilder,
    /// The comment sign of the previous line, if that line was a comment.
    line_before: Option<u16>,
}

impl PropertiesParser<'_> {
    /// Reads a comment or a document separator. A comment directly behind a separator cancels it.
    fn comment(&mut self, sign: u16) -> Result<(), ParseError> {
        if self.is_separator(sign)? {
            if !self.flat.is_empty() {
                self.flat.end_document()?;
            }
            return Ok(());
        }
        if self.flat.is_empty() {
            self.flat.reopen_document();
        }
        self.line_before = Some(sign);
        self.reader.skip_line();
        Ok(())
    }

    fn is_separator(&mut self, sign: u16) -> Result<bool, ParseError> {
        if self.line_before == Some(sign) {
            return Ok(false);
        }
        let mut separates = self.reader.at_line_start();
        for _ in 0..3 {
            if separates {
                self.reader.advance()?;
                separates = self.reader.is(b'-');
            }
        }
        if !self.reader.at_end_of_line() {
            self.reader.advance()?;
            self.reader.skip_blanks();
        }
        Ok(separates && self.reader.at_end_of_line())
    }

    fn property(&mut self) -> Result<(), ParseError> {
        self.line_before = None;
        let key = self.key()?;
        match key.strip_suffix("[]") {
            None => self.value(&key, ValueEnd::Line),
            Some(list) => {
                let mut index = 0;
                loop {
                    self.value(&format!("{list}[{index}]"), ValueEnd::LineOrComma)?;
                    index += 1;
                    if !self.reader.at_end_of_line() {
                        self.reader.advance()?;
                    }
                    if self.reader.at_end_of_line() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Reads the key up to its separator, without surrounding blanks.
    fn key(&mut self) -> Result<String, ParseError> {
        let position = self.reader.position();
        let mut units = Vec::new();
        let mut after_blank = false;
        while !self.reader.at_end_of_line() {
            if self.reader.at_separator() {
                self.reader.advance()?;
                break;
            }
            let blank = self.reader.at_blank();
            if after_blank && !blank {
                break;
            }
            after_blank = blank;
            units.extend(self.reader.unit());
            self.reader.advance()?;
        }
        let key = text(&units, position)?;
        Ok(key.trim_matches(|c| c <= ' ').to_owned())
    }

    fn value(&mut self, key: &str, end: ValueEnd) -> Result<(), ParseError> {
        while self.reader.at_blank() {
            self.reader.advance()?;
        }
        let position = self.reader.position();
        let mut units = Vec::new();
        while !self.reader.at_end(end) {
            units.extend(self.reader.unit());
            self.reader.advance()?;
        }
        let value = text(&units, position)?;
        if key.is_empty() {
            return Ok(());
        }
        let mark = self.flat.enter_key(key);
        self.flat.put(Scalar::String(value.into()), position)?;
        self.flat.leave(mark);
        Ok(())
    }
}

/// Decodes UTF-16. Two escapes can form a surrogate pair, and half a pair is an error.
fn text(units: &[u16], position: Position) -> Result<String, ParseError> {
    String::from_utf16(units)
        .map_err(|_| ParseError::at(position, "escape is half a surrogate pair"))
}

#[cfg(test)]
mod tests;
