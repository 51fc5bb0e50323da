//! What an explicit `!!tag` makes of a scalar. Tags that could name code or a file are unknown here, and refused.

use std::borrow::Cow;

use super::scalar::{self, BadNumber, Leaf};

/// Why a tag does not go with what it stands before; each is a whole sentence.
pub(super) type Mismatch = &'static str;

/// Types a scalar by the name of its tag.
pub(super) fn resolve<'a>(name: &str, text: Cow<'a, str>) -> Result<Leaf<'a>, Mismatch> {
    match name {
        // A moment in time is handed on as it was written.
        "str" | "timestamp" => Ok(Leaf::String(text)),
        "null" => Ok(Leaf::Null),
        "bool" => Ok(boolean(&text)),
        "int" => {
            scalar::integer(&text).map(Leaf::Integer).map_err(|BadNumber| "text is not an integer")
        }
        "float" => {
            scalar::float(&text).map(Leaf::Float).map_err(|BadNumber| "text is not a number")
        }
        "binary" => base64(&text).map(|text| Leaf::String(text.into())).ok_or("text is not base64"),
        "seq" | "map" | "set" | "omap" | "pairs" => Err("tag does not go with a scalar"),
        _ => Err("tag is not known"),
    }
}

/// Any casing, and null for anything else, as in SnakeYAML.
fn boolean(text: &str) -> Leaf<'static> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" => Leaf::Bool(true),
        "no" | "false" | "off" => Leaf::Bool(false),
        _ => Leaf::Null,
    }
}

/// Base64 without white space and with full padding: what decoding and encoding again would give.
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
    // Bits of the last digit that belong to no byte.
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
