//! Writes a tree as YAML that readers of YAML 1.1 and 1.2 parse to the same values: block style, quotes around every text
//! that could be read as another type, and no folded lines.

use std::fmt::Write;

use super::flat_error::FlatError;
use super::nest::NestedNode;
use super::ordered_map::OrderedMap;
use crate::model::Scalar;

/// The largest output, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest key on its line. Readers accept up to 1024 characters. A longer key is written with `?`.
const SIMPLE_KEY_BYTES_MAX: usize = 1_000;
/// The largest indentation of a literal block. Deeper text is quoted, because the indentation would outgrow it.
const LITERAL_COLUMN_MAX: usize = 40;

const INDENT: usize = 2;

pub(super) fn write(root: &NestedNode<'_>) -> Result<String, FlatError> {
    let mut writer = YamlWriter { out: String::new() };
    match root {
        NestedNode::Map(map) if map.iter().len() > 0 => writer.map(map, 0)?,
        NestedNode::List(list) if !list.is_empty() => writer.list(list, 0)?,
        NestedNode::Scalar(scalar) => writer.root_scalar(scalar),
        other => writer.inline(other, 0),
    }
    Ok(writer.out)
}

struct YamlWriter {
    out: String,
}

impl YamlWriter {
    /// Writes the entries of a map that is not empty. The caller has indented the first entry.
    fn map(
        &mut self,
        map: &OrderedMap<'_, NestedNode<'_>>,
        column: usize,
    ) -> Result<(), FlatError> {
        for (place, (key, value)) in map.iter().enumerate() {
            if place > 0 {
                self.indent(column)?;
            }
            self.key(key, column)?;
            match value {
                NestedNode::Map(map) if map.iter().len() > 0 => {
                    self.out.push('\n');
                    self.indent(column + INDENT)?;
                    self.map(map, column + INDENT)?;
                }
                NestedNode::List(list) if !list.is_empty() => {
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

    /// Writes the items of a list that is not empty. The caller has indented the first item.
    fn list(&mut self, list: &[NestedNode<'_>], column: usize) -> Result<(), FlatError> {
        for (place, item) in list.iter().enumerate() {
            if place > 0 {
                self.indent(column)?;
            }
            self.out.push_str("- ");
            match item {
                NestedNode::Map(map) if map.iter().len() > 0 => self.map(map, column + INDENT)?,
                NestedNode::List(list) if !list.is_empty() => self.list(list, column + INDENT)?,
                item => self.inline(item, column),
            }
        }
        Ok(())
    }

    /// Writes a value that begins on the line of its key or dash. `column` is the indentation of its map or list.
    fn inline(&mut self, node: &NestedNode<'_>, column: usize) {
        match node {
            NestedNode::Null => self.out.push_str("null"),
            NestedNode::Map(_) => self.out.push_str("{}"),
            NestedNode::List(_) => self.out.push_str("[]"),
            NestedNode::Scalar(scalar) => match &**scalar {
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
            // Readers interpret an indentation indicator at the root differently.
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

    /// Writes text of several lines as a literal block. The header states how final line breaks are read.
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

/// Returns true if text can be written as a literal block: it has several lines, is more than line breaks, has no line that
/// ends in a blank, and needs no escape.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && text.split('\n').all(|line| !line.ends_with([' ', '\t']))
        && text.contains(|c| c != '\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

/// Returns true if a reader would derive a wrong indentation from the first line of a block.
fn needs_indicator(text: &str) -> bool {
    text.starts_with([' ', '\t', '\n'])
}

/// Returns true if a character can be written unescaped within a line. Byte order marks and Unicode line breaks cannot.
fn is_printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => character >= '\u{a0}',
    }
}

/// Returns true if readers parse the printable text without quotes as the same text.
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

/// Matches null, the booleans of YAML 1.1 in any letter case, the merge key and the default value key.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 13] =
        ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "="];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Matches the numbers of YAML 1.1, YAML 1.2 and common readers. A false match only adds quotes.
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

/// Matches a date, with or without a time.
fn is_timestamp(text: &str) -> bool {
    let date = text.len() > 4 && text.bytes().take(4).all(|b| b.is_ascii_digit());
    date && text[4..].starts_with('-')
        && text[4..].bytes().all(|b| b.is_ascii_digit() || b"-:.+TtZz ".contains(&b))
}

#[cfg(test)]
mod tests;
