//! Scalars with an explicit `!!tag`. Tags that could name code or a file are unknown and rejected.

use std::borrow::Cow;

use super::scalar::{self, Leaf, NumberError};

/// The message for a tag that does not fit its scalar.
pub(super) type TagError = &'static str;

/// Types a scalar by the name of its tag.
pub(super) fn resolve<'a>(name: &str, text: Cow<'a, str>) -> Result<Leaf<'a>, TagError> {
    match name {
        // A timestamp keeps its text.
        "str" | "timestamp" => Ok(Leaf::String(text)),
        "null" => Ok(Leaf::Null),
        "bool" => Ok(boolean(&text)),
        "int" => scalar::integer(&text)
            .map(Leaf::Integer)
            .map_err(|NumberError| "text is not an integer"),
        "float" => {
            scalar::float(&text).map(Leaf::Float).map_err(|NumberError| "text is not a number")
        }
        "binary" => base64(&text).map(|text| Leaf::String(text.into())).ok_or("text is not base64"),
        "seq" | "map" | "set" | "omap" | "pairs" => Err("tag does not go with a scalar"),
        _ => Err("tag is not known"),
    }
}

/// Reads a boolean in any letter case. Any other text is null, as in SnakeYAML.
fn boolean(text: &str) -> Leaf<'static> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" => Leaf::Bool(true),
        "no" | "false" | "off" => Leaf::Bool(false),
        _ => Leaf::Null,
    }
}

/// Normalises base64: no white space, full padding, and no stray bits, as if it were decoded and encoded again.
fn base64(text: &str) -> Option<String> {
    let mut clean: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !clean.ends_with(b"=") {
        clean.resize(clean.len().next_multiple_of(4), b'=');
    }
    if !clean.len().is_multiple_of(4) {
        return None;
    }
    let padding = clean.iter().rev().take_while(|byte| **byte == b'=').count();
    let last = clean.len() - padding;
    if !clean[..last].iter().all(|byte| sextet(*byte).is_some()) {
        return None;
    }
    // The bits of the last digit that belong to no byte.
    let spare = match padding {
        0 => return String::from_utf8(clean).ok(),
        1 => 0b11,
        2 => 0b1111,
        _ => return None,
    };
    let digit = sextet(clean[last - 1])? & !spare;
    clean[last - 1] = DIGITS[usize::from(digit)];
    String::from_utf8(clean).ok()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn sextet(digit: u8) -> Option<u8> {
    DIGITS.iter().zip(0..).find(|(known, _)| **known == digit).map(|(_, value)| value)
}
