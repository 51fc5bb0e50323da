//! Where Spring says that a value begins, in the two cases where the parser names another place.

use crate::model::Position;

/// A place in the text, by offset and by line and column.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Default for Place {
    fn default() -> Self {
        Self { offset: 0, line: 1, column: 1 }
    }
}

impl Place {
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

/// A block scalar begins at its sign; between it and the end of what came before are only blanks, comments and signs.
pub(super) fn of_block(text: &str, before: Place) -> Place {
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

/// A value that is not there begins behind the sign that announces it, or where the next sign stands if none does.
pub(super) fn of_nothing(text: &str, place: Place, before: Place) -> Place {
    let mut announced = place;
    let mut walked = before;
    let mut in_comment = false;
    // The parser names the place of a colon, but the place behind a dash.
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
