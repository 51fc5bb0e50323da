//! The keys whose values can change the result of a schema. A schema that lists its properties depends on these alone.

use serde_json::Value;

/// The keywords that depend on no values other than those of named properties, as long as the set of keys stays the same.
const NAMING_KEYWORDS: [&str; 14] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "additionalProperties",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "properties",
    "required",
    "title",
    "type",
];

/// Returns true if another value of a flat key can change the result of a schema, as long as the set of keys stays the same.
pub(super) fn depends_on(schema: &Value, key: &str) -> bool {
    // The items of a list come from one source, so a change can replace all of them.
    if key.contains('[') {
        return true;
    }
    let Value::Object(keywords) = schema else {
        return false;
    };
    let is_naming = |(keyword, value): (&String, &Value)| match keyword.as_str() {
        "additionalProperties" => value.is_boolean(),
        keyword => NAMING_KEYWORDS.contains(&keyword),
    };
    if !keywords.iter().all(is_naming) {
        return true;
    }
    let Some(Value::Object(properties)) = keywords.get("properties") else {
        return false;
    };
    properties.iter().any(|(name, schema)| match key.strip_prefix(name.as_str()) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(|rest| depends_on(schema, rest)),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, concerned: &[&str], unconcerned: &[&str]) {
        for key in concerned {
            assert!(depends_on(schema, key), "{key}");
        }
        for key in unconcerned {
            assert!(!depends_on(schema, key), "{key}");
        }
    }

    #[test]
    fn a_schema_of_named_properties_depends_on_these() {
        let schema = json!({
            "type": "object",
            "required": ["server"],
            "properties": {
                "server": {
                    "type": "object",
                    "properties": {"port": {"type": "integer"}, "tls": {"minProperties": 1}},
                    "additionalProperties": false
                },
                "a.b": true
            }
        });
        check(
            &schema,
            &["server", "server.port", "server.tls.key", "server.tls", "a.b", "log[0]", "a.b[1].c"],
            &["log", "log.level", "server.name", "serverless", "a.c", "server.port.unit"],
        );
    }

    #[test]
    fn other_keywords_may_depend_on_everything() {
        let all = ["log", "a.b"];
        check(&json!({"properties": {}, "minProperties": 1}), &all, &[]);
        check(&json!({"additionalProperties": {"type": "string"}}), &all, &[]);
        check(&json!({"allOf": [true]}), &all, &[]);
        check(&json!({"$ref": "#/$defs/all", "$defs": {}}), &all, &[]);
        check(&json!({"additionalProperties": false}), &[], &all);
        check(&json!(true), &[], &all);
    }
}
