//! The logical characters of a `.properties` file: escapes are resolved and continued lines joined. Positions are those that
//! Spring reports. A column counts logical characters, so an escape counts once.

use crate::format::ParseError;
use crate::model::Position;

/// The end of a value.
#[derive(Clone, Copy)]
pub(super) enum ValueEnd {
    Line,
    LineOrComma,
}

/// A cursor on the current logical character.
pub(super) struct CharacterReader<'a> {
    bytes: &'a [u8],
    /// The offset of the next byte.
    next: usize,
    /// The number of line ends read so far.
    lines: u32,
    /// The column of the current character, from 0. It is -1 behind a line end.
    column: i32,
    /// The number of characters in the last completed line.
    width: u32,
    /// The current character. `None` at the end of the file.
    unit: Option<u16>,
    escaped: bool,
}

impl<'a> CharacterReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, lines: 0, column: -1, width: 0, unit: None, escaped: false }
    }

    /// Moves to the next character and skips blanks at the start of a line. Returns false at the end of the file.
    pub(super) fn advance(&mut self) -> Result<bool, ParseError> {
        loop {
            self.escaped = false;
            self.raw();
            self.column += 1;
            if self.column == 0 {
                self.skip_blanks();
            }
            if !self.is(b'\\') {
                break;
            }
            self.escaped = true;
            self.raw();
            if !self.is(b'\n') {
                self.unescape()?;
                return Ok(self.unit.is_some());
            }
            self.column = -1;
        }
        if self.is(b'\n') {
            self.width = self.column.cast_unsigned();
            self.column = -1;
        }
        Ok(self.unit.is_some())
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.at_blank() {
            self.raw();
            self.column += 1;
        }
    }

    /// Moves to the end of the line and ignores escapes.
    pub(super) fn skip_line(&mut self) {
        while !self.is(b'\n') && self.unit.is_some() {
            self.raw();
        }
        self.column = -1;
    }

    pub(super) fn unit(&self) -> Option<u16> {
        self.unit
    }

    pub(super) fn is(&self, byte: u8) -> bool {
        self.unit == Some(u16::from(byte))
    }

    pub(super) fn comment_sign(&self) -> Option<u16> {
        self.unit.filter(|_| self.is(b'#') || self.is(b'!'))
    }

    pub(super) fn at_line_start(&self) -> bool {
        self.column == 0
    }

    pub(super) fn at_blank(&self) -> bool {
        !self.escaped && (self.is(b' ') || self.is(b'\t') || self.is(b'\x0c'))
    }

    pub(super) fn at_separator(&self) -> bool {
        !self.escaped && (self.is(b'=') || self.is(b':'))
    }

    pub(super) fn at_end_of_line(&self) -> bool {
        self.unit.is_none() || !self.escaped && self.is(b'\n')
    }

    pub(super) fn at_end(&self, end: ValueEnd) -> bool {
        self.at_end_of_line()
            || matches!(end, ValueEnd::LineOrComma) && !self.escaped && self.is(b',')
    }

    /// The position of the current character.
    pub(super) fn position(&self) -> Position {
        match self.column {
            // Behind a line end: an absent value has the position before that line end.
            -1 => Position { line: self.lines, column: self.width + 1 },
            column => Position { line: self.lines + 1, column: column.cast_unsigned() + 1 },
        }
    }

    /// Reads one byte as a Latin-1 character. `\r` and `\r\n` are line ends too.
    fn raw(&mut self) {
        let byte = self.bytes.get(self.next).copied();
        self.next += 1;
        self.unit = byte.map(u16::from);
        if byte == Some(b'\r') {
            self.unit = Some(u16::from(b'\n'));
            if self.bytes.get(self.next) == Some(&b'\n') {
                self.next += 1;
            }
        }
        if self.is(b'\n') {
            self.lines += 1;
        }
    }

    fn unescape(&mut self) -> Result<(), ParseError> {
        self.unit = match self.unit.and_then(|unit| u8::try_from(unit).ok()) {
            Some(b't') => Some(u16::from(b'\t')),
            Some(b'r') => Some(u16::from(b'\r')),
            Some(b'n') => Some(u16::from(b'\n')),
            Some(b'f') => Some(u16::from(b'\x0c')),
            Some(b'u') => Some(self.unicode()?),
            _ => self.unit,
        };
        Ok(())
    }

    fn unicode(&mut self) -> Result<u16, ParseError> {
        let digits = self.bytes.get(self.next..self.next + 4);
        let unit = digits.and_then(|digits| {
            digits.iter().try_fold(0, |unit: u16, digit| {
                let digit = char::from(*digit).to_digit(16)?;
                Some(unit << 4 | u16::try_from(digit).ok()?)
            })
        });
        self.next += 4;
        unit.ok_or_else(|| {
            ParseError::at(self.position(), "escape \\u is not followed by four hexadecimal digits")
        })
    }
}
