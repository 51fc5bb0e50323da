//! A tree as YAML that every reader takes for the same values, whether it reads YAML 1.1 or 1.2: block style, text quoted
//! wherever a plain scalar could be read as anything else. Lines are never folded.

use std::fmt::Write;

use super::flat::FlatError;
use super::nest::Node;
use super::ordered::Ordered;
use crate::model::Scalar;

/// The largest answer that is written, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Readers take a key on its line only up to 1024 characters; a longer one gets a `?`.
const SIMPLE_KEY_BYTES_MAX: usize = 1_000;
/// Deeper than this, text of many lines is quoted: its indentation would outgrow it.
const LITERAL_COLUMN_MAX: usize = 40;

const INDENT: usize = 2;

/// Writes one document.
pub(super) fn write(root: &Node<'_>) -> Result<String, FlatError> {
    let mut writer = Writer { out: String::new() };
    match root {
        Node::Map(map) if map.iter().len() > 0 => writer.map(map, 0)?,
        Node::List(list) if !list.is_empty() => writer.list(list, 0)?,
        Node::Scalar(scalar) => writer.root_scalar(scalar),
        other => writer.inline(other, 0),
    }
    Ok(writer.out)
}

struct Writer {
    out: String,
}

impl Writer {
    /// The entries of a map that is not empty; the caller has indented the first.
    fn map(&mut self, map: &Ordered<'_, Node<'_>>, column: usize) -> Result<(), FlatError> {
        for (place, (key, value)) in map.iter().enumerate() {
            if place > 0 {
                self.indent(column)?;
            }
            self.key(key, column)?;
            match value {
                Node::Map(map) if map.iter().len() > 0 => {
                    self.out.push('\n');
                    self.indent(column + INDENT)?;
                    self.map(map, column + INDENT)?;
                }
                Node::List(list) if !list.is_empty() => {
                    self.out.push('\n');
                    self.indent(column)?;
                    self.list(list, column)?;
                }
                value => {
                    self.out.push(' ');
                    self.inline(value, column);
                }
            }
        }
        Ok(())
    }

    /// The items of a list that is not empty; the caller has indented the first.
    fn list(&mut self, list: &[Node<'_>], column: usize) -> Result<(), FlatError> {
        for (place, item) in list.iter().enumerate() {
            if place > 0 {
                self.indent(column)?;
            }
            self.out.push_str("- ");
            match item {
                Node::Map(map) if map.iter().len() > 0 => self.map(map, column + INDENT)?,
                Node::List(list) if !list.is_empty() => self.list(list, column + INDENT)?,
                item => self.inline(item, column),
            }
        }
        Ok(())
    }

    /// What begins on the line of its key or dash, and ends that line; `column` is that of the map or list it is in.
    fn inline(&mut self, node: &Node<'_>, column: usize) {
        match node {
            Node::Null => self.out.push_str("null"),
            Node::Map(_) => self.out.push_str("{}"),
            Node::List(_) => self.out.push_str("[]"),
            Node::Scalar(scalar) => match &**scalar {
                Scalar::String(text) if column <= LITERAL_COLUMN_MAX && is_literal(text) => {
                    self.literal(text, column + INDENT);
                }
                scalar => self.one_line(scalar),
            },
        }
        self.out.push('\n');
    }

    fn root_scalar(&mut self, scalar: &Scalar) {
        match scalar {
            // Readers do not agree on what an indentation indicator means at the root.
            Scalar::String(text) if is_literal(text) && !needs_indicator(text) => {
                self.literal(text, INDENT);
            }
            scalar => self.one_line(scalar),
        }
        self.out.push('\n');
    }

    fn key(&mut self, key: &str, column: usize) -> Result<(), FlatError> {
        let start = self.out.len();
        self.string(key);
        if self.out.len() - start > SIMPLE_KEY_BYTES_MAX {
            self.out.insert_str(start, "? ");
            self.out.push('\n');
            self.indent(column)?;
        }
        self.out.push(':');
        Ok(())
    }

    fn one_line(&mut self, scalar: &Scalar) {
        match scalar {
            Scalar::String(text) => self.string(text),
            Scalar::Float(text) => self.out.push_str(match &**text {
                "Infinity" => ".inf",
                "-Infinity" => "-.inf",
                "NaN" => ".NaN",
                text => text,
            }),
            Scalar::Bool(_) | Scalar::Integer(_) => self.out.push_str(scalar.text()),
        }
    }

    fn string(&mut self, text: &str) {
        if !text.chars().all(is_printable) {
            self.double_quoted(text);
        } else if is_plain(text) {
            self.out.push_str(text);
        } else {
            self.out.push('\'');
            self.out.push_str(&text.replace('\'', "''"));
            self.out.push('\'');
        }
    }

    fn double_quoted(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            let code = character as u32;
            let written = match character {
                '"' | '\\' => write!(self.out, "\\{character}"),
                '\n' => self.out.write_str("\\n"),
                '\r' => self.out.write_str("\\r"),
                '\t' => self.out.write_str("\\t"),
                _ if is_printable(character) => self.out.write_char(character),
                '\0'..='\u{ff}' => write!(self.out, "\\x{code:02x}"),
                '\u{100}'..='\u{ffff}' => write!(self.out, "\\u{code:04x}"),
                _ => write!(self.out, "\\U{code:08x}"),
            };
            written.expect("a String takes every write");
        }
        self.out.push('"');
    }

    /// Text of several lines, line for line; the header says what becomes of the line breaks at its end.
    fn literal(&mut self, text: &str, column: usize) {
        self.out.push('|');
        if needs_indicator(text) {
            write!(self.out, "{INDENT}").expect("a String takes every write");
        }
        let lines = match text.strip_suffix('\n') {
            None => {
                self.out.push('-');
                text
            }
            Some(lines) => {
                if lines.ends_with('\n') {
                    self.out.push('+');
                }
                lines
            }
        };
        for line in lines.split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.spaces(column);
                self.out.push_str(line);
            }
        }
    }

    fn indent(&mut self, column: usize) -> Result<(), FlatError> {
        self.spaces(column);
        if self.out.len() > OUTPUT_BYTES_MAX {
            return Err(FlatError::TooLarge);
        }
        Ok(())
    }

    fn spaces(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n(' ', count));
    }
}

/// Whether text can stand in a literal block: more than line breaks, no line that ends in a blank, nothing to escape.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && text.split('\n').all(|line| !line.ends_with([' ', '\t']))
        && text.contains(|c| c != '\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

/// Whether a reader would guess a wrong indentation from the first line of a block.
fn needs_indicator(text: &str) -> bool {
    text.starts_with([' ', '\t', '\n'])
}

/// Whether a reader takes a character as it is within a line. Byte order marks and the line breaks of Unicode are not so.
fn is_printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => character >= '\u{a0}',
    }
}

/// Whether printable text without quotes is read as that text.
fn is_plain(text: &str) -> bool {
    const INDICATORS: &[char] = &[
        '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@',
        '`', ' ',
    ];
    let reads_as_text = !text.starts_with(INDICATORS)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.starts_with("...");
    reads_as_text && !is_word(text) && !is_number(text) && !is_timestamp(text)
}

/// Null, the booleans of YAML 1.1 in any casing, the merge key and the default value key.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 13] =
        ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "="];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Integers and floats of YAML 1.1 and 1.2 and of common readers, generously: quotes do no harm.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = text.to_ascii_lowercase();
    if [".inf", ".nan", "inf", "infinity", "nan"].contains(&&*lower) {
        return true;
    }
    if let Some(digits) = ["0x", "0o", "0b"].iter().find_map(|p| lower.strip_prefix(p)) {
        return digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_');
    }
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    !mantissa.is_empty()
        && mantissa.bytes().all(|b| b.is_ascii_digit() || b"_.,:".contains(&b))
        && mantissa.matches('.').count() <= 1
        && exponent.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

/// A date, or a date with a time.
fn is_timestamp(text: &str) -> bool {
    let date = text.len() > 4 && text.bytes().take(4).all(|b| b.is_ascii_digit());
    date && text[4..].starts_with('-')
        && text[4..].bytes().all(|b| b.is_ascii_digit() || b"-:.+TtZz ".contains(&b))
}

#[cfg(test)]
mod tests;
