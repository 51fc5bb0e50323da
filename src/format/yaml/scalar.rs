//! The types of plain scalars in YAML 1.1 as SnakeYAML reads them, without timestamps (docs/protocol.md#9-yaml).

use std::borrow::Cow;

use crate::format::java_number;

/// The longest number, in bytes. A longer scalar is text, as in SnakeYAML.
pub(super) const NUMBER_BYTES_MAX: usize = 1_024;

/// A scalar with its type.
pub(super) enum Leaf<'a> {
    Null,
    Bool(bool),
    Integer(Box<str>),
    Float(Box<str>),
    String(Cow<'a, str>),
    /// `<<`, which is allowed only as a key.
    Merge,
}

impl Leaf<'_> {
    /// The text in Java. `None` for null.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Integer(text) | Self::Float(text) => Some(text),
            Self::String(text) => Some(text),
            Self::Merge => Some("<<"),
        }
    }
}

/// A scalar has the form of a number but no value: `._`, `99999999999999999999:30`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NumberError;

/// Types a scalar without quotes.
pub(super) fn resolve(text: Cow<'_, str>) -> Result<Leaf<'_>, NumberError> {
    let leaf = match text.as_bytes() {
        [] => Leaf::Null,
        [b'+' | b'-' | b'.' | b'0'..=b'9', ..] => match number(&text)? {
            Some(leaf) => leaf,
            None => Leaf::String(text),
        },
        [b'~' | b'n' | b'N' | b'y' | b'Y' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'<', ..] => {
            word(&text).unwrap_or(Leaf::String(text))
        }
        _ => Leaf::String(text),
    };
    Ok(leaf)
}

fn word(text: &str) -> Option<Leaf<'static>> {
    match text {
        "~" | "null" | "Null" | "NULL" => Some(Leaf::Null),
        "<<" => Some(Leaf::Merge),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(Leaf::Bool(true))
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Leaf::Bool(false))
        }
        _ => None,
    }
}

fn number(text: &str) -> Result<Option<Leaf<'static>>, NumberError> {
    if text.len() > NUMBER_BYTES_MAX {
        return Ok(None);
    }
    if looks_like_integer(text) {
        return integer(text).map(|text| Some(Leaf::Integer(text)));
    }
    if looks_like_float(text) {
        return float(text).map(|text| Some(Leaf::Float(text)));
    }
    Ok(None)
}

fn looks_like_integer(text: &str) -> bool {
    match without_sign(text).as_bytes() {
        [b'0', b'b', rest @ ..] => digits(rest, |byte| matches!(byte, b'0' | b'1')),
        [b'0', b'x', rest @ ..] => digits(rest, |byte| byte.is_ascii_hexdigit()),
        [b'0'] => true,
        [b'0', rest @ ..] => digits(rest, |byte| matches!(byte, b'0'..=b'7')),
        [b'1'..=b'9', rest @ ..] => {
            let rest = after_digits(rest);
            rest.is_empty() || after_sixtieths(rest).is_some_and(<[u8]>::is_empty)
        }
        _ => false,
    }
}

fn looks_like_float(text: &str) -> bool {
    let unsigned = without_sign(text);
    match unsigned.as_bytes() {
        [b'.', b'0'..=b'9' | b'_', rest @ ..] => is_exponent_or_end(after_digits(rest)),
        [b'.', ..] => match unsigned {
            ".inf" | ".Inf" | ".INF" => true,
            ".nan" | ".NaN" | ".NAN" => unsigned.len() == text.len(),
            _ => false,
        },
        [b'0'..=b'9', rest @ ..] => match after_digits(rest) {
            [b'.', rest @ ..] => is_exponent_or_end(after_digits(rest)),
            rest @ [b'e' | b'E', ..] => is_exponent_or_end(rest),
            rest => {
                matches!(after_sixtieths(rest), Some([b'.', rest @ ..]) if after_digits(rest).is_empty())
            }
        },
        _ => false,
    }
}

fn without_sign(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// Returns true for digits and underscores with at least one digit.
fn digits(bytes: &[u8], is_digit: impl Fn(u8) -> bool) -> bool {
    bytes.iter().any(|byte| is_digit(*byte))
        && bytes.iter().all(|byte| is_digit(*byte) || *byte == b'_')
}

fn after_digits(bytes: &[u8]) -> &[u8] {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'_').count();
    &bytes[digits..]
}

/// The rest behind one or more groups of `:` and a number below sixty.
fn after_sixtieths(mut bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.len();
    loop {
        bytes = match bytes {
            [b':', b'0'..=b'5', b'0'..=b'9', rest @ ..] | [b':', b'0'..=b'9', rest @ ..] => rest,
            _ => return (bytes.len() < length).then_some(bytes),
        }
    }
}

fn is_exponent_or_end(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [b'e' | b'E', b'-' | b'+', rest @ ..] | [b'e' | b'E', rest @ ..] => {
            !rest.is_empty() && rest.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// Converts an integer in any of the five notations to decimal text.
pub(super) fn integer(text: &str) -> Result<Box<str>, NumberError> {
    let digits = without_sign(text).replace('_', "");
    let magnitude = match digits.as_bytes() {
        [] => return Err(NumberError),
        [b'0'] => "0".to_owned(),
        [b'0', b'b', ..] => decimal(&digits[2..], 2)?,
        [b'0', b'x', ..] => decimal(&digits[2..], 16)?,
        [b'0', ..] => decimal(&digits[1..], 8)?,
        _ if digits.contains(':') => return sixtieths(text.starts_with('-'), &digits),
        _ => decimal(&digits, 10)?,
    };
    let sign = if text.starts_with('-') && magnitude != "0" { "-" } else { "" };
    Ok(format!("{sign}{magnitude}").into())
}

/// Converts digits of a radix to decimal digits.
fn decimal(digits: &str, radix: u32) -> Result<String, NumberError> {
    if digits.is_empty()
        || digits.len() > NUMBER_BYTES_MAX
        || !digits.chars().all(|digit| digit.is_digit(radix))
    {
        return Err(NumberError);
    }
    if radix == 10 {
        return Ok(digits.to_owned());
    }
    // Limbs have nine decimal digits, lowest first. Each step adds as many digits as fit into 32 bits.
    const LIMB: u64 = 1_000_000_000;
    let digits: Vec<u64> =
        digits.chars().filter_map(|digit| digit.to_digit(radix)).map(u64::from).collect();
    let at_once = if radix == 16 { 8 } else { 10 };
    let mut limbs = vec![0u64];
    for chunk in digits.chunks(at_once) {
        let (scale, mut carry) = chunk.iter().fold((1, 0), |(scale, value), digit| {
            (scale * u64::from(radix), value * u64::from(radix) + digit)
        });
        for limb in &mut limbs {
            let value = *limb * scale + carry;
            *limb = value % LIMB;
            carry = value / LIMB;
        }
        while carry > 0 {
            limbs.push(carry % LIMB);
            carry /= LIMB;
        }
    }
    let highest = limbs.pop().unwrap_or_default().to_string();
    Ok(limbs.iter().rev().fold(highest, |text, limb| format!("{text}{limb:09}")))
}

/// Converts base 60 in Java's 32 bits. An overflow gives the same wrong number as in the original.
fn sixtieths(negative: bool, digits: &str) -> Result<Box<str>, NumberError> {
    let mut value = 0i32;
    let mut unit = 1i32;
    for part in digits.rsplit(':') {
        let part: i64 = part.parse().map_err(|_| NumberError)?;
        value = i64::from(value).wrapping_add(part.wrapping_mul(i64::from(unit))) as i32;
        unit = unit.wrapping_mul(60);
    }
    match (negative, value) {
        (true, ..=-1) => Err(NumberError),
        (true, 1..) => Ok(format!("-{value}").into()),
        _ => Ok(value.to_string().into()),
    }
}

/// Converts a floating-point number to the text that Java prints.
pub(super) fn float(text: &str) -> Result<Box<str>, NumberError> {
    let digits = without_sign(text).replace('_', "");
    let magnitude = match digits.to_ascii_lowercase().as_str() {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ if digits.contains(':') => float_sixtieths(&digits)?,
        _ => float_part(&digits)?,
    };
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    Ok(java_number::double(magnitude * sign))
}

fn float_sixtieths(digits: &str) -> Result<f64, NumberError> {
    let mut value = 0.0;
    let mut unit = 1i32;
    for part in digits.rsplit(':') {
        value += float_part(part)? * f64::from(unit);
        unit = unit.wrapping_mul(60);
    }
    Ok(value)
}

fn float_part(digits: &str) -> Result<f64, NumberError> {
    let starts_well = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !starts_well || digits.len() > NUMBER_BYTES_MAX {
        return Err(NumberError);
    }
    digits.parse().map_err(|_| NumberError)
}

#[cfg(test)]
mod tests;
