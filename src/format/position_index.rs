//! Lines and columns for byte offsets, for parsers that only report offsets. A lookup takes bounded time.

use crate::model::Position;

/// The distance in bytes between two stored positions.
const STEP: usize = 512;

/// An index from offsets of a text to positions.
pub(super) struct PositionIndex<'a> {
    text: &'a [u8],
    /// The positions of all multiples of `STEP`.
    kept: Vec<Position>,
}

impl<'a> PositionIndex<'a> {
    /// Builds the index in one pass over the text.
    pub(super) fn new(text: &'a str) -> Self {
        let text = text.as_bytes();
        let mut position = Position { line: 1, column: 1 };
        let kept = text
            .chunks(STEP)
            .map(|chunk| {
                let next = walk(position, chunk);
                std::mem::replace(&mut position, next)
            })
            .collect();
        Self { text, kept }
    }

    /// The position of an offset. An offset past the end has the position of the end.
    pub(super) fn of(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let step = (offset / STEP).min(self.kept.len().saturating_sub(1));
        let kept = self.kept.get(step).copied().unwrap_or(Position { line: 1, column: 1 });
        walk(kept, &self.text[step * STEP..offset])
    }
}

fn walk(from: Position, bytes: &[u8]) -> Position {
    bytes.iter().fold(from, |Position { line, column }, byte| match byte {
        b'\n' => Position { line: line + 1, column: 1 },
        0x80..=0xbf => Position { line, column },
        _ => Position { line, column: column + 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, offset: usize, line: u32, column: u32) {
        assert_eq!(PositionIndex::new(text).of(offset), Position { line, column });
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        check("", 0, 1, 1);
        check("a\nb", 0, 1, 1);
        check("a\nb", 2, 2, 1);
        check("a\n", 2, 2, 1);
        check("ab", 7, 1, 3);
    }

    #[test]
    fn columns_count_characters() {
        check("\u{fc}\u{1f600}x", 6, 1, 3);
    }

    #[test]
    fn far_offsets_are_found_too() {
        let text = "\u{fc}\n".repeat(2_000);
        check(&text, 3 * 1_500, 1_501, 1);
        check(&text, 3 * 1_500 + 2, 1_501, 2);
        check(&text, text.len(), 2_001, 1);
        check(&"x".repeat(STEP), STEP, 1, 513);
    }
}
