//! `.properties` as Spring Boot reads them: Latin-1, escapes, several documents, lists (specification, 10).
//!
//! The layers: `reader` turns bytes to logical characters, here they become keys, values and documents.

mod reader;

use self::reader::{End, Reader};
use super::ParseError;
use super::flat::Flat;
use crate::model::{Document, Position, Scalar};

/// Reads all documents of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let mut loader =
        Loader { reader: Reader::new(bytes), flat: Flat::with_repeated_keys(), line_before: None };
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

struct Loader<'a> {
    reader: Reader<'a>,
    flat: Flat,
    /// The sign of the comment on the line before, if that was one.
    line_before: Option<u16>,
}

impl Loader<'_> {
    /// A comment, or the line that separates two documents. A comment right behind such a line takes it back.
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
            None => self.value(&key, End::Line),
            Some(list) => {
                let mut index = 0;
                loop {
                    self.value(&format!("{list}[{index}]"), End::LineOrComma)?;
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

    /// Up to the separator, without the blanks around it.
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

    fn value(&mut self, key: &str, end: End) -> Result<(), ParseError> {
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

/// Escapes may spell both halves of a character; a single half is no text.
fn text(units: &[u16], position: Position) -> Result<String, ParseError> {
    String::from_utf16(units)
        .map_err(|_| ParseError::at(position, "escape is half a surrogate pair"))
}

#[cfg(test)]
mod tests;
