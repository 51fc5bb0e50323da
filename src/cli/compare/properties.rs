//! The keys and values of one property source on both sides.

use std::collections::BTreeMap;

use headwater_wire::Environment;
use serde_json::{Map, Value};

use super::answer_difference::{AnswerDifference, AnswerSide, DifferenceKind, text};
use super::documented::{self, Heading};

/// The name of the source that the settings' overrides make.
pub(super) const OVERRIDES: &str = "overrides";
/// The prefix of a sealed value.
const SEALED: &str = "{cipher}";
/// The prefix of Spring's name for a sealed property that it cannot open.
const INVALID: &str = "invalid.";

/// The key of imports.
const IMPORT: &str = "spring.config.import";
/// The schemes that Spring Boot itself opens.
const OWN: [&str; 2] = ["classpath", "file"];

type Properties = Map<String, Value>;

/// The differences of a source, by key.
pub(super) fn compare(name: &str, [spring, ours]: [&Properties; 2]) -> Vec<AnswerDifference> {
    if name == OVERRIDES && spring != ours && as_lists(spring) == as_lists(ours) {
        let difference =
            AnswerDifference::of(DifferenceKind::Order).documented(documented::OVERRIDES);
        return vec![difference];
    }
    let mut differences = Vec::new();
    for (key, value) in spring {
        differences.extend(of_spring(key, value, ours));
    }
    for (key, value) in ours {
        let is_sealed = is_sealed(value) && spring.contains_key(&format!("{INVALID}{key}"));
        if !is_sealed && !spring.contains_key(key) {
            let difference = AnswerDifference::of(DifferenceKind::KeyOnlyIn(AnswerSide::Headwater));
            differences.push(difference.key(key).values(None, Some(value)));
        }
    }
    if differences.is_empty() {
        differences.extend(another_order(name, spring, ours));
    }
    differences
}

/// The difference of a property of Spring's, if there is one.
fn of_spring(key: &str, value: &Value, ours: &Properties) -> Option<AnswerDifference> {
    if let Some(sealed) =
        key.strip_prefix(INVALID).filter(|key| ours.get(*key).is_some_and(is_sealed))
    {
        let difference = AnswerDifference::of(DifferenceKind::Value)
            .key(sealed)
            .values(Some(value), ours.get(sealed));
        return Some(difference.documented(documented::SEALED));
    }
    let Some(other) = ours.get(key) else {
        let difference = AnswerDifference::of(DifferenceKind::KeyOnlyIn(AnswerSide::Spring));
        return Some(difference.key(key).values(Some(value), None));
    };
    if value == other {
        return None;
    }
    let kind = if text(value) == text(other) {
        DifferenceKind::Type { spring: type_of(value), headwater: type_of(other) }
    } else {
        DifferenceKind::Value
    };
    let difference = AnswerDifference::of(kind).key(key).values(Some(value), Some(other));
    Some(AnswerDifference { documented: reason(value, other), ..difference })
}

/// The documented reason for another value, if it is one.
fn reason(spring: &Value, ours: &Value) -> Option<Heading> {
    if is_sealed(ours) {
        return Some(documented::SEALED);
    }
    // `!!timestamp 2020-01-01` is `2020-01-01T00:00:00.000+00:00` there.
    let (spring, ours) = (spring.as_str()?, ours.as_str()?);
    let is_date = |text: &str| {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        text.len() == "2020-01-01".len() && digits == 8 && text.matches('-').count() == 2
    };
    let is_timestamp = spring.ends_with("+00:00") && spring.get(10..11) == Some("T");
    let day = spring.get(..10).filter(|day| is_timestamp && is_date(day))?;
    ours.get(..4).filter(|year| day.starts_with(year)).map(|_| documented::TIMESTAMPS)
}

fn is_sealed(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with(SEALED))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) | Value::Object(_) => "structure",
    }
}

/// Finds the first key that is not in its place, if the properties differ in their order only.
fn another_order(name: &str, spring: &Properties, ours: &Properties) -> Option<AnswerDifference> {
    let moved = spring.keys().zip(ours.keys()).find(|(spring, ours)| spring != ours);
    let documented = is_xml(name).then_some(documented::XML_ORDER);
    moved.map(|(key, _)| AnswerDifference {
        documented,
        ..AnswerDifference::of(DifferenceKind::Order).key(key)
    })
}

/// True for an XML file. Spring returns its keys in the order of a hash table.
pub(super) fn is_xml(name: &str) -> bool {
    name.ends_with(".xml")
}

/// The properties with `a[0]` spelled `a.0`, in any order.
fn as_lists(properties: &Properties) -> BTreeMap<String, &Value> {
    properties.iter().map(|(key, value)| (unbracketed(key), value)).collect()
}

/// True if an environment imports from a store outside the repository. Then Spring may fail where Headwater does not.
pub(super) fn has_foreign_import(environment: &Environment) -> bool {
    let sources = environment.property_sources.iter().flat_map(|source| &source.source);
    let imports = sources.filter(|(key, _)| relaxed(key).starts_with(IMPORT));
    imports
        .filter_map(|(_, value)| value.as_str())
        .any(|list| list.split([',', ';']).any(is_foreign))
}

/// A key as Spring's binder reads it.
fn relaxed(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

fn is_foreign(location: &str) -> bool {
    let location = location.trim();
    let location = location.strip_prefix("optional:").unwrap_or(location);
    location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !OWN.contains(&scheme)
    })
}

/// A key with `a.0` for `a[0]`.
pub(super) fn unbracketed(key: &str) -> String {
    key.replace('[', ".").replace(']', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spring: &str, ours: &str, expected: &[(&str, DifferenceKind, Option<Heading>)]) {
        check_named("a.yml", spring, ours, expected);
    }

    #[track_caller]
    fn check_named(
        name: &str,
        spring: &str,
        ours: &str,
        expected: &[(&str, DifferenceKind, Option<Heading>)],
    ) {
        let [spring, ours] = [spring, ours].map(|text| serde_json::from_str(text).unwrap());
        let found = compare(name, [&spring, &ours]);
        let found = found
            .iter()
            .map(|it| (it.key.as_deref().unwrap_or(""), it.kind.clone(), it.documented));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn keys_values_types_and_order_are_distinguished() {
        check(r#"{"a": 1, "b": "x"}"#, r#"{"a": 1, "b": "x"}"#, &[]);
        check(r#"{"a": 1}"#, r#"{"a": 2}"#, &[("a", DifferenceKind::Value, None)]);
        check(r#"{"a": 1.0}"#, r#"{"a": 1}"#, &[("a", DifferenceKind::Value, None)]);
        let types = DifferenceKind::Type { spring: "number", headwater: "text" };
        check(r#"{"a": 1}"#, r#"{"a": "1"}"#, &[("a", types, None)]);
        check(r#"{"a": 1}"#, "{}", &[("a", DifferenceKind::KeyOnlyIn(AnswerSide::Spring), None)]);
        check(
            "{}",
            r#"{"a": 1}"#,
            &[("a", DifferenceKind::KeyOnlyIn(AnswerSide::Headwater), None)],
        );
        check(r#"{"a": 1, "b": 2}"#, r#"{"b": 2, "a": 1}"#, &[("a", DifferenceKind::Order, None)]);
    }

    #[test]
    fn imports_of_other_stores_are_recognised() {
        for (key, value, expected) in [
            ("spring.config.import", "optional:vault://", true),
            ("spring.config.import[1]", "near.yml", false),
            ("SPRING.CONFIG.IM-PORT", "near.yml, sm://", true),
            ("spring.config.import", "optional:file:/etc/x.yml;aws-secretsmanager:/a", true),
            ("spring.config.import", "optional:classpath:x.yml", false),
            ("other", "vault://", false),
        ] {
            let source = serde_json::json!({"name": "a", "source": {key: value}});
            let environment = serde_json::json!({"name": "a", "propertySources": [source]});
            let environment = serde_json::from_value(environment).unwrap();
            assert_eq!(has_foreign_import(&environment), expected, "{key}: {value}");
        }
    }

    #[test]
    fn documented_values_are_recognised() {
        let sealed = [("a", DifferenceKind::Value, Some(documented::SEALED))];
        check(r#"{"invalid.a": "<n/a>"}"#, r#"{"a": "{cipher}x"}"#, &sealed);
        check(r#"{"a": "opened"}"#, r#"{"a": "{cipher}x"}"#, &sealed);
        let date = [("a", DifferenceKind::Value, Some(documented::TIMESTAMPS))];
        check(r#"{"a": "2020-01-01T00:00:00.000+00:00"}"#, r#"{"a": "2020-01-01"}"#, &date);
        let other = [("a", DifferenceKind::Value, None)];
        check(r#"{"a": "2020-01-01T00:00:00.000+00:00"}"#, r#"{"a": "x"}"#, &other);
        let xml = [("b", DifferenceKind::Order, Some(documented::XML_ORDER))];
        check_named("x/a.xml", r#"{"b": 1, "a": 2}"#, r#"{"a": 2, "b": 1}"#, &xml);
        let order = [("", DifferenceKind::Order, Some(documented::OVERRIDES))];
        check_named(OVERRIDES, r#"{"b": 1, "a.0": 2}"#, r#"{"a[0]": 2, "b": 1}"#, &order);
    }
}
