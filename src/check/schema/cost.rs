//! The cost of applying a schema to one environment, counted before the application. With references, a small schema can need
//! unlimited time.

use serde_json::Value;

use crate::percent;

/// The most pairs of a subschema and a value that one application may visit.
const STEP_COUNT_MAX: usize = 100_000;
/// The deepest nesting of references and values.
const DEPTH_MAX: usize = 256;

/// Returns true if a schema can be applied within the limits.
pub(super) fn is_affordable(schema: &Value, instance: &Value) -> bool {
    let mut walk = CostCounter { root: schema, steps_left: STEP_COUNT_MAX };
    walk.visit(schema, instance, 0).is_some()
}

struct CostCounter<'a> {
    root: &'a Value,
    steps_left: usize,
}

impl CostCounter<'_> {
    /// Visits every pair that an application could visit, which may be more than it does. `None` beyond the limits.
    fn visit(&mut self, schema: &Value, instance: &Value, depth: usize) -> Option<()> {
        self.spend(1)?;
        if depth > DEPTH_MAX {
            return None;
        }
        let Value::Object(keywords) = schema else {
            return Some(());
        };
        // These keywords evaluate the other keywords once more to find what is left over.
        let leftover = ["unevaluatedProperties", "unevaluatedItems"];
        let times =
            if leftover.iter().any(|keyword| keywords.contains_key(*keyword)) { 2 } else { 1 };
        for _ in 0..times {
            for (keyword, value) in keywords {
                self.keyword(keyword, value, instance, depth + 1)?;
            }
        }
        Some(())
    }

    fn keyword(&mut self, keyword: &str, value: &Value, at: &Value, depth: usize) -> Option<()> {
        match (keyword, value) {
            ("$ref", Value::String(reference)) => match referred(self.root, reference) {
                Some(target) => self.visit(target, at, depth),
                None => Some(()),
            },
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                parts.iter().try_for_each(|part| self.visit(part, at, depth))
            }
            ("not" | "if" | "then" | "else", part) => self.visit(part, at, depth),
            ("dependentSchemas" | "dependencies", Value::Object(parts)) => {
                parts.values().try_for_each(|part| self.visit(part, at, depth))
            }
            ("properties", Value::Object(parts)) => parts.iter().try_for_each(|(name, part)| {
                at.get(name).map_or(Some(()), |child| self.visit(part, child, depth))
            }),
            ("patternProperties", Value::Object(parts)) => {
                parts.values().try_for_each(|part| self.children(part, at, depth))
            }
            ("items" | "prefixItems", Value::Array(parts)) => {
                let items = at.as_array().map_or(&[][..], Vec::as_slice);
                parts.iter().zip(items).try_for_each(|(part, item)| self.visit(part, item, depth))
            }
            ("propertyNames", part) => {
                let count = at.as_object().map_or(0, serde_json::Map::len);
                (0..count).try_for_each(|_| self.visit(part, &Value::Null, depth))
            }
            (
                "additionalProperties"
                | "items"
                | "additionalItems"
                | "contains"
                | "unevaluatedProperties"
                | "unevaluatedItems",
                part,
            ) => self.children(part, at, depth),
            ("enum", Value::Array(options)) => self.spend(options.len()),
            _ => Some(()),
        }
    }

    fn children(&mut self, part: &Value, at: &Value, depth: usize) -> Option<()> {
        match at {
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(part, item, depth)),
            Value::Object(map) => map.values().try_for_each(|value| self.visit(part, value, depth)),
            _ => Some(()),
        }
    }

    fn spend(&mut self, steps: usize) -> Option<()> {
        self.steps_left = self.steps_left.checked_sub(steps)?;
        Some(())
    }
}

/// The target of a reference within the file.
fn referred<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    root.pointer(&percent::decode(pointer)?)
}
