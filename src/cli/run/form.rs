//! The raw forms of a whole configuration: YAML, JSON, `.properties`, and lines that a shell reads.

use std::fmt::Write;

use super::values::{KeyValue, KeyValues};
use super::variables::Variables;
use crate::cli::environment;
use crate::render::flat::{self, FlatError, PlaceholderMode};

/// Placeholders are resolved in the entries already. A placeholder without a value stays as it is.
pub(super) fn yaml(values: &KeyValues) -> Result<String, FlatError> {
    let environment = environment::from_wire(&KeyValues::environment(values.0.iter()));
    flat::yaml(&environment, PlaceholderMode::Keep)
}

pub(super) fn json(values: &KeyValues) -> Result<String, FlatError> {
    Ok(nested(values.0.iter())? + "\n")
}

/// Some of the keys as nested JSON on one line.
pub(super) fn nested<'a>(entries: impl Iterator<Item = &'a KeyValue>) -> Result<String, FlatError> {
    let environment = environment::from_wire(&KeyValues::environment(entries));
    flat::json(&environment, PlaceholderMode::Keep)
}

/// `key=value` lines with the escapes of `java.util.Properties`, in ASCII, so that every reader understands them.
pub(super) fn properties(values: &KeyValues) -> String {
    let mut out = String::new();
    for entry in &values.0 {
        escape(&mut out, &entry.key, FormPlace::Key);
        out.push('=');
        escape(&mut out, &entry.text(), FormPlace::Value);
        out.push('\n');
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FormPlace {
    Key,
    Value,
}

fn escape(out: &mut String, text: &str, place: FormPlace) {
    for (at, c) in text.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' ' if at == 0 || place == FormPlace::Key => out.push_str("\\ "),
            '=' | ':' if place == FormPlace::Key => out.extend(['\\', c]),
            '#' | '!' if at == 0 => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04X}").expect("a String takes every write");
                }
            }
        }
    }
}

/// `NAME=value` lines, quoted as `sh` and `systemd` read them.
pub(super) fn env(variables: &Variables) -> String {
    let mut out = String::new();
    for (name, value) in &variables.by_name {
        writeln!(out, "{name}={}", quoted(value)).expect("a String takes every write");
    }
    out
}

fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn values(pairs: &[(&str, Value)]) -> KeyValues {
        let entry = |(key, value): &(&str, Value)| KeyValue {
            key: (*key).to_owned(),
            value: value.clone(),
            rank: 0,
            unanswered: None,
        };
        KeyValues(pairs.iter().map(entry).collect())
    }

    #[test]
    fn a_configuration_is_nested_in_yaml_and_json() {
        let values = values(&[
            ("a.b", json!(1)),
            ("a.c[0]", json!("x")),
            ("a.c[1]", json!(true)),
            ("d", json!("${kept}")),
        ]);
        let expected = "{\"a\":{\"b\":1,\"c\":[\"x\",true]},\"d\":\"${kept}\"}\n";
        assert_eq!(json(&values).unwrap(), expected);
        assert_eq!(yaml(&values).unwrap(), "a:\n  b: 1\n  c:\n  - x\n  - true\nd: ${kept}\n");
    }

    #[test]
    fn properties_are_escaped_as_java_reads_them() {
        let values = values(&[
            ("a b", json!(" x=1:2 #3")),
            ("c:d=e", json!("one\ntwo\\\t")),
            ("f", json!("#ü😀")),
            ("g", Value::Null),
            ("h.[/**]", json!(1.5)),
        ]);
        let expected = concat!(
            "a\\ b=\\ x=1:2 #3\n",
            "c\\:d\\=e=one\\ntwo\\\\\\t\n",
            "f=\\#\\u00FC\\uD83D\\uDE00\n",
            "g=\n",
            "h.[/**]=1.5\n",
        );
        assert_eq!(properties(&values), expected);
    }

    #[test]
    fn variables_are_quoted_as_a_shell_reads_them() {
        let pairs = [("A", "plain/1.0"), ("B", "it's\n$HOME `x`"), ("C", "")];
        let by_name = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let variables = Variables { by_name, ..Variables::default() };
        assert_eq!(env(&variables), "A=plain/1.0\nB='it'\\''s\n$HOME `x`'\nC=\n");
    }
}
