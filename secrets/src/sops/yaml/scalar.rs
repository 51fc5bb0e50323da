//! The types of plain scalars.

use super::super::number;
use super::super::value::Value;

/// Types a scalar without quotes.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Value::text(text);
    }
    if let Some(time) = timestamp(text) {
        return Value::text(time);
    }
    let digits = text.replace('_', "");
    if let Some(number) = number::integer(&digits) {
        return Value::integer(number);
    }
    match number::float(&digits) {
        Some(number) => Value::float(number),
        None => Value::text(text),
    }
}

/// A timestamp in the form in which SOPS prints it. `None` for other text.
///
/// Rare spellings, such as a lower-case `t` or a month of one digit, stay texts. The MAC then does not match, and the
/// file is rejected.
fn timestamp(text: &str) -> Option<String> {
    let (date, time) = text.split_at_checked(10)?;
    if !fits(date, "0000-00-00") {
        return None;
    }
    if time.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let (clock, zone) = time.split_at_checked(9)?;
    if fits(clock, " 00:00:00") && zone.is_empty() {
        return Some(format!("{date}T{}Z", &clock[1..]));
    }
    let is_zone = zone == "Z" || fits(zone, "+00:00") || fits(zone, "-00:00");
    (fits(clock, "T00:00:00") && is_zone).then(|| text.to_owned())
}

/// True if the text has a digit wherever the pattern has a zero, and otherwise the pattern's characters.
fn fits(text: &str, pattern: &str) -> bool {
    let fits = |(byte, expected): (u8, u8)| match expected {
        b'0' => byte.is_ascii_digit(),
        _ => byte == expected,
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_2() {
        for text in ["", "~", "null"] {
            assert!(resolve(text) == Value::Null, "{text}");
        }
        assert!(resolve("True") == Value::Bool(true));
        assert!(resolve("FALSE") == Value::Bool(false));
        for (text, number) in [("42", 42), ("1_000", 1000), ("0x1f", 31), ("017", 15), ("-1", -1)] {
            assert!(resolve(text) == Value::integer(number), "{text}");
        }
        for (text, number) in [("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("08", 8.0)] {
            assert!(resolve(text) == Value::float(number), "{text}");
        }
        for text in ["yes", "on", "y", "1.2.3", "-", ".", "1:30", "+", "a", "0x", "12-34"] {
            assert!(resolve(text) == Value::text(text), "{text}");
        }
    }

    #[test]
    fn timestamps_are_printed_in_full() {
        for (text, expected) in [
            ("2026-11-29", "2026-11-29T00:00:00Z"),
            ("2026-11-29 18:01:03", "2026-11-29T18:01:03Z"),
            ("2026-11-29T18:01:03Z", "2026-11-29T18:01:03Z"),
            ("2026-11-29T18:01:03+01:00", "2026-11-29T18:01:03+01:00"),
        ] {
            assert!(resolve(text) == Value::text(expected), "{text}");
        }
    }
}
