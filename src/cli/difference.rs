//! What differs between two environments, as people and as programs read it: names of keys, and values if asked for.

use std::fmt::Write;

use serde_json::{Value, json};

use super::output;
use crate::change::{Change, effective};
use crate::model::Environment;

/// The most keys of one environment that people are shown.
const KEY_COUNT_MAX: usize = 200;

/// The three lists, sorted, as members of a JSON object.
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
    match counts.is_empty() {
        true => "no key has another value, but their sources differ".to_owned(),
        false => counts.join(", "),
    }
}

/// A line for each key in order of its name: `+` added, `-` removed, `~` changed. With both environments also what it was
/// and what it is, placeholders as they are written.
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
