//! Prints the differences of two environments: names of keys, and values on request.

use std::fmt::Write;

use serde_json::{Value, json};

use super::output;
use crate::change::{Change, effective};
use crate::model::Environment;

/// The most keys of one environment that are printed.
const KEY_COUNT_MAX: usize = 200;

/// Adds the three lists to a JSON object, sorted.
pub(super) fn add_keys(object: &mut Value, change: &Change) {
    let Change { added, removed, changed } = change;
    for (name, keys) in [("added", added), ("removed", removed), ("changed", changed)] {
        object[name] = keys.iter().map(|key| json!(&**key)).collect();
    }
}

/// `1 key added, 2 changed`.
pub(super) fn summary(change: &Change) -> String {
    let Change { added, removed, changed } = change;
    let counts = [(added.len(), "added"), (removed.len(), "removed"), (changed.len(), "changed")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", plural(count, "key")))
        .collect();
    if counts.is_empty() {
        "no value differs, but the property sources do".to_owned()
    } else {
        counts.join(", ")
    }
}

/// Prints a line for each key, sorted by name: `+` added, `-` removed, `~` changed. With both environments, a line has the
/// old and the new value too, with unresolved placeholders.
pub(super) fn lines(
    change: &Change,
    values: Option<(&Environment, &Environment)>,
    indent: &str,
) -> String {
    let Change { added, removed, changed } = change;
    let mut rows: Vec<(&str, char)> = Vec::new();
    for (keys, sign) in [(added, '+'), (removed, '-'), (changed, '~')] {
        rows.extend(keys.iter().map(|key| (&**key, sign)));
    }
    rows.sort_unstable();
    let values = values.map(|(old, new)| (effective(old), effective(new)));
    let mut text = String::new();
    for (key, sign) in rows.iter().take(KEY_COUNT_MAX) {
        let shown = values.as_ref().map(|(old, new)| (old.get(*key), new.get(*key)));
        let shown = match shown.map(|(old, new)| {
            let text = |value: &&crate::model::Value| output::one_line(value.text());
            (old.map(text), new.map(text))
        }) {
            Some((Some(old), Some(new))) => format!(" = {old} -> {new}"),
            Some((Some(only), None) | (None, Some(only))) => format!(" = {only}"),
            Some((None, None)) | None => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{indent}{sign} {}{shown}", output::one_line(key));
    }
    if rows.len() > KEY_COUNT_MAX {
        let _ = writeln!(text, "{indent}and {} more", rows.len() - KEY_COUNT_MAX);
    }
    text
}

/// `1 key`, `2 keys`.
pub(super) fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}
