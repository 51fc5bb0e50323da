//! The start of a value as Spring reports it, for the two cases in which the parser reports another place.

use crate::model::Position;

/// A place in the text: offset, line and column.
#[derive(Clone, Copy)]
pub(super) struct TextPlace {
    pub(super) offset: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Default for TextPlace {
    fn default() -> Self {
        Self { offset: 0, line: 1, column: 1 }
    }
}

impl TextPlace {
    pub(super) fn position(self) -> Position {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Position { line: number(self.line), column: number(self.column) }
    }

    fn step(self, text: &str, c: char) -> Self {
        let offset = self.offset + c.len_utf8();
        let within_break = c == '\r' && text.as_bytes().get(offset) == Some(&b'\n');
        match c {
            '\n' | '\r' if !within_break => Self { offset, line: self.line + 1, column: 1 },
            _ => Self { offset, column: self.column + 1, ..self },
        }
    }
}

/// The start of a block scalar: its `|` or `>`. Only blanks, comments and signs precede it behind the previous event.
pub(super) fn of_block(text: &str, before: TextPlace) -> TextPlace {
    let mut place = before;
    let mut in_comment = false;
    for c in text[before.offset..].chars() {
        match c {
            '|' | '>' if !in_comment => return place,
            '\n' | '\r' => in_comment = false,
            '#' => in_comment = true,
            _ => {}
        }
        place = place.step(text, c);
    }
    before
}

/// The start of an absent value: the place behind the sign that introduces it, or else the place of the next sign.
pub(super) fn of_nothing(text: &str, place: TextPlace, before: TextPlace) -> TextPlace {
    let mut announced = place;
    let mut walked = before;
    let mut in_comment = false;
    // The parser reports the place of a colon, but the place behind a dash.
    for c in text[before.offset..].chars() {
        let next = walked.step(text, c);
        let arrived = walked.offset >= place.offset;
        match c {
            '\n' | '\r' => in_comment = false,
            '#' => in_comment = true,
            '-' if !in_comment && !arrived => announced = next,
            ':' if !in_comment => announced = next,
            _ => {}
        }
        if arrived {
            break;
        }
        walked = next;
    }
    announced
}
