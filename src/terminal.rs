//! Escapes text of unknown origin for a terminal. Pure.

/// Escapes text for one line: every character that could steer a terminal, turn the direction of a line or hide in it.
pub fn one_line(text: &str) -> String {
    escaped(text, |_| false)
}

/// Escapes text of several lines. Line breaks and tabs stay.
pub fn lines(text: &str) -> String {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// True for a character that is escaped on a terminal.
pub fn is_escaped(character: char) -> bool {
    character.is_control() || is_invisible(character)
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_escaped(character) && !is_kept(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns true for characters without a shape, including those that [`is_directional`] names.
pub fn is_invisible(character: char) -> bool {
    is_directional(character)
        || matches!(
            character,
            '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}'
                | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns true for invisible characters that change the direction of the text around them.
pub fn is_directional(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, expected) in [
            ("plain \u{e4} \u{1f30a}", "plain \u{e4} \u{1f30a}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{feff}", "a\\u{202e}b\\u{feff}"),
            ("a\u{61c}b\u{200b}", "a\\u{61c}b\\u{200b}"),
            ("a\nb\r\tc\u{7f}", "a\\nb\\r\\tc\\u{7f}"),
        ] {
            assert_eq!(one_line(text), expected);
            // Escaped text stays as it is.
            assert_eq!(one_line(&one_line(text)), expected);
        }
        assert_eq!(lines("a\n\tb\r\u{1b}"), "a\n\tb\\r\\u{1b}");
    }
}
