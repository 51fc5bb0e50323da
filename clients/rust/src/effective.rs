//! Merges property sources to one value for each key, by precedence.

use std::collections::{BTreeMap, HashMap, HashSet};

use headwater_wire::PropertySource;
use serde_json::Value;

/// The effective value of one key.
#[derive(Clone)]
pub(crate) struct Effective {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Position of the winning source; 0 is the most specific one.
    pub(crate) source: usize,
}

/// Merges sources, of which the first is the most specific.
///
/// A plain key takes the value of the most specific source and keeps the position at which it first appeared. A key with
/// a bracket belongs to the group that the text before the bracket names. The most specific source with any key of a
/// group determines the whole group: lists are replaced and never mixed. A list and a plain value of the same name also
/// replace each other. An empty list arrives as an empty value and thus empties the list of a less specific source.
pub(crate) fn merge(sources: &[PropertySource]) -> Vec<Effective> {
    let mut plain = Vec::<Effective>::new();
    let mut position = HashMap::<&str, usize>::new();
    let mut groups = Groups::default();

    for (index, source) in sources.iter().enumerate().rev() {
        let mut replaced = HashSet::new();
        for (key, value) in &source.source {
            let entry = Effective { key: key.clone(), value: untracked(value), source: index };
            if let Some(group) = group_of(key) {
                groups.insert(group, entry, replaced.insert(group));
            } else if key == "spring.profiles" {
                // Old servers send the activation condition of a document under this key. It is not a property.
            } else if let Some(&at) = position.get(key.as_str()) {
                plain[at] = entry;
            } else {
                position.insert(key, plain.len());
                plain.push(entry);
            }
        }
    }

    let groups = groups.without_replaced_by(&plain, &position);
    plain.retain(|entry| groups.source(&entry.key).is_none_or(|source| entry.source <= source));
    plain.extend(groups.into_entries());
    plain.shrink_to_fit();
    plain
}

/// Returns the text before the first bracket, which may be empty: `a.list` for `a.list[0].b`.
fn group_of(key: &str) -> Option<&str> {
    key.find('[').map(|at| &key[..at])
}

/// Unwraps a value that the server sends together with its origin: `{"value": .., "origin": ..}`.
fn untracked(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.len() == 2 && members.contains_key("origin") => {
            members.get("value").unwrap_or(value).clone()
        }
        _ => value.clone(),
    }
}

/// Indexed keys by the text before their first bracket, in the order in which the groups first appeared.
#[derive(Default)]
struct Groups<'a> {
    position: BTreeMap<&'a str, usize>,
    entries: Vec<(&'a str, Vec<Effective>)>,
}

impl<'a> Groups<'a> {
    fn insert(&mut self, group: &'a str, entry: Effective, first_of_source: bool) {
        let at = *self.position.entry(group).or_insert_with(|| {
            self.entries.push((group, Vec::new()));
            self.entries.len() - 1
        });
        let entries = &mut self.entries[at].1;
        if first_of_source {
            entries.clear();
        }
        entries.push(entry);
    }

    /// Empties the groups that a plain value of a more specific source replaces.
    fn without_replaced_by(mut self, plain: &[Effective], position: &HashMap<&str, usize>) -> Self {
        for (group, entries) in &mut self.entries {
            let value = position.get(*group).map(|&at| plain[at].source);
            if value.is_some_and(|value| entries.first().is_some_and(|entry| value < entry.source))
            {
                entries.clear();
            }
        }
        self
    }

    fn source(&self, group: &str) -> Option<usize> {
        let at = *self.position.get(group)?;
        self.entries[at].1.first().map(|entry| entry.source)
    }

    fn into_entries(self) -> impl Iterator<Item = Effective> {
        self.entries.into_iter().flat_map(|(_, entries)| entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Merges sources, the most specific first, and compares the result as `key=value@source`.
    #[track_caller]
    fn check(sources: &[Value], expected: &str) {
        let sources: Vec<_> = sources.iter().map(|source| source_of(source.clone())).collect();
        let merged: Vec<_> = merge(&sources)
            .iter()
            .map(|entry| format!("{}={}@{}", entry.key, entry.value, entry.source))
            .collect();
        assert_eq!(merged.join(" "), expected);
    }

    fn source_of(source: Value) -> PropertySource {
        serde_json::from_value(json!({ "name": "s", "source": source })).unwrap()
    }

    #[test]
    fn the_most_specific_source_wins_and_the_first_position_stays() {
        check(&[json!({"b": 1}), json!({"a": 2, "b": 2, "c": 2})], "a=2@1 b=1@0 c=2@1");
    }

    #[test]
    fn a_list_is_replaced_whole() {
        check(
            &[json!({"l[0]": "x"}), json!({"l[0]": "a", "l[1]": "b", "p": 1})],
            r#"p=1@1 l[0]="x"@0"#,
        );
        check(&[json!({"p": 1}), json!({"l[0].a": 1, "l[1].a": 2})], "p=1@0 l[0].a=1@1 l[1].a=2@1");
    }

    #[test]
    fn an_empty_list_empties_the_list_below_and_a_list_replaces_an_empty_one() {
        check(&[json!({"l": ""}), json!({"l[0]": "a"})], r#"l=""@0"#);
        check(&[json!({"l[0]": "a"}), json!({"l": ""})], r#"l[0]="a"@0"#);
        check(&[json!({"l[0]": "a", "l": ""})], r#"l=""@0 l[0]="a"@0"#);
    }

    #[test]
    fn tracked_values_are_unwrapped_and_spring_profiles_is_dropped() {
        check(
            &[
                json!({"a": {"value": 5, "origin": "1:4"}, "b": {"value": 5}, "spring.profiles": "dev"}),
            ],
            r#"a=5@0 b={"value":5}@0"#,
        );
    }
}
