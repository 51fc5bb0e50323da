//! Decodes a file: UTF-16 with its byte order mark, else UTF-8. Characters that YAML forbids are errors.

use std::borrow::Cow;

use crate::format::ParseError;
use crate::format::position_index::PositionIndex;
use crate::model::Position;

/// Returns the text without its byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    let text = match bytes {
        [0xfe, 0xff, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)?),
        [0xff, 0xfe, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)?),
        [0xef, 0xbb, 0xbf, rest @ ..] => Cow::Borrowed(utf8(rest)?),
        _ => Cow::Borrowed(utf8(bytes)?),
    };
    check_printable(&text)?;
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<&str, ParseError> {
    str::from_utf8(bytes).map_err(|error| {
        let valid = str::from_utf8(&bytes[..error.valid_up_to()]).expect("checked up to here");
        ParseError::at(end_of(valid), "byte is not part of utf-8 text")
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, ParseError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        text.push(
            decoded.map_err(|_| {
                ParseError::at(end_of(&text), "half a surrogate pair in utf-16 text")
            })?,
        );
    }
    if rest.is_empty() {
        return Ok(text);
    }
    Err(ParseError::at(end_of(&text), "utf-16 text ends within a character"))
}

fn check_printable(text: &str) -> Result<(), ParseError> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| !is_printable(*c)) {
        None => Ok(()),
        Some((at, c)) => {
            let message = format!("character U+{:04X} is not allowed in yaml", u32::from(c));
            Err(ParseError::at(PositionIndex::new(text).of(at), message))
        }
    }
}

fn is_printable(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => c >= '\u{a0}',
    }
}

fn end_of(text: &str) -> Position {
    PositionIndex::new(text).of(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<&str, (u32, u32)>) {
        let decoded = decode(bytes);
        let decoded = decoded.as_deref().map_err(|error| {
            let Position { line, column } = error.position.expect("all these have a place");
            (line, column)
        });
        assert_eq!(decoded, expected);
    }

    #[test]
    fn the_byte_order_mark_decides() {
        check(b"a: \xc3\xbc", Ok("a: \u{fc}"));
        check(b"\xef\xbb\xbfa", Ok("a"));
        check(b"\xfe\xff\0a\0\xfc", Ok("a\u{fc}"));
        check(b"\xff\xfea\0\x3d\xd8\x00\xde", Ok("a\u{1f600}"));
    }

    #[test]
    fn broken_encodings_are_rejected_at_their_place() {
        check(b"ab\nc\xfc", Err((2, 2)));
        check(b"\xfe\xff\0a\xd8\0\0b", Err((1, 2)));
        check(b"\xff\xfea\0\0", Err((1, 2)));
    }

    #[test]
    fn control_characters_are_rejected_everywhere() {
        check(b"a: \0", Err((1, 4)));
        check(b"# \x07", Err((1, 3)));
        check(b"\n\x7f", Err((2, 1)));
        check("\u{80}".as_bytes(), Err((1, 1)));
        check("\u{ffff}".as_bytes(), Err((1, 1)));
        check(
            "\u{85}\u{a0}\u{feff}\u{1f600}\r\t".as_bytes(),
            Ok("\u{85}\u{a0}\u{feff}\u{1f600}\r\t"),
        );
    }
}
