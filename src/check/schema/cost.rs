//! How much work a schema is for one environment, counted before it is done: with references a small schema can ask for more
//! than anybody can wait for, or for something that never ends.

use serde_json::Value;

/// How many pairs of a part of the schema and a part of the environment one application may look at.
const STEP_COUNT_MAX: usize = 100_000;
/// How deep references and values may lead.
const DEPTH_MAX: usize = 256;

/// Whether a schema can be applied within the bounds.
pub(super) fn is_affordable(schema: &Value, instance: &Value) -> bool {
    let mut walk = Walk { root: schema, steps_left: STEP_COUNT_MAX };
    walk.visit(schema, instance, 0).is_some()
}

struct Walk<'a> {
    root: &'a Value,
    steps_left: usize,
}

impl Walk<'_> {
    /// Goes wherever an application could go, which may be further than it does. `None` when that is too far.
    fn visit(&mut self, schema: &Value, instance: &Value, depth: usize) -> Option<()> {
        self.spend(1)?;
        if depth > DEPTH_MAX {
            return None;
        }
        let Value::Object(keywords) = schema else {
            return Some(());
        };
        // To know what is left over, the other keywords are asked once more.
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

/// What a reference within the file leads to.
fn referred<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    root.pointer(&decoded(pointer)?)
}

/// A pointer as it stands in a URI, without its percent signs.
fn decoded(pointer: &str) -> Option<String> {
    if !pointer.contains('%') {
        return Some(pointer.to_owned());
    }
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}
