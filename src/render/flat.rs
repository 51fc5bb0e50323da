//! The flat forms: an environment merged into one list of properties and written as `.properties`, YAML or JSON
//! (docs/protocol.md#4-flat-forms).
//!
//! A list replaces the whole list of a lower source. Keys with brackets are therefore merged by the text before the first
//! bracket, and follow all other keys.

use std::borrow::Cow;
use std::fmt::Write;

use super::json as json_writer;
use super::nest::{NestedNode, nest};
use super::ordered_map::OrderedMap;
use super::yaml as yaml_writer;
use crate::model::{Environment, Scalar, Value};
use crate::placeholder::{EnvironmentValues, Meter, PlaceholderError, Resolver};

pub use super::flat_error::FlatError;

/// The treatment of placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaceholderMode {
    /// Placeholders are replaced by their values.
    Resolve,
    /// Placeholders stay as they are written.
    Keep,
}

/// Renders the `.properties` form: `key: value` lines without escapes and without a final line break.
pub fn properties(
    environment: &Environment,
    placeholders: PlaceholderMode,
) -> Result<String, FlatError> {
    properties_metered(environment, placeholders, &|_| true)
}

/// As [`properties`], with a meter for resolved placeholders.
pub fn properties_metered(
    environment: &Environment,
    placeholders: PlaceholderMode,
    meter: &Meter<'_>,
) -> Result<String, FlatError> {
    let mut out = String::new();
    for (key, value) in merge(environment) {
        let separator = if out.is_empty() { "" } else { "\n" };
        write!(out, "{separator}{key}: {}", value.text()).expect("a String takes every write");
    }
    match placeholders {
        PlaceholderMode::Keep => Ok(out),
        PlaceholderMode::Resolve => {
            let lookup = EnvironmentValues::new(environment);
            Ok(Resolver::new(&lookup, out.len()).metered(meter).text(&out)?)
        }
    }
}

/// Renders the YAML form. An environment whose only key is `document`, with a scalar or a list, is written as that value.
pub fn yaml(environment: &Environment, placeholders: PlaceholderMode) -> Result<String, FlatError> {
    yaml_metered(environment, placeholders, &|_| true)
}

/// As [`yaml`], with a meter for resolved placeholders.
pub fn yaml_metered(
    environment: &Environment,
    placeholders: PlaceholderMode,
    meter: &Meter<'_>,
) -> Result<String, FlatError> {
    let tree = tree(environment, placeholders, meter)?;
    yaml_writer::write(document(&tree).unwrap_or(&tree))
}

/// Renders the JSON form, compact and in the order of the properties.
pub fn json(environment: &Environment, placeholders: PlaceholderMode) -> Result<String, FlatError> {
    json_metered(environment, placeholders, &|_| true)
}

/// As [`json`], with a meter for resolved placeholders.
pub fn json_metered(
    environment: &Environment,
    placeholders: PlaceholderMode,
    meter: &Meter<'_>,
) -> Result<String, FlatError> {
    Ok(json_writer::write(&tree(environment, placeholders, meter)?))
}

fn tree<'a>(
    environment: &'a Environment,
    placeholders: PlaceholderMode,
    meter: &Meter<'_>,
) -> Result<NestedNode<'a>, FlatError> {
    let scalars = merge(environment).into_iter().map(|(key, value)| match value {
        Value::Plain(scalar) | Value::Opened(scalar) => (key, Cow::Borrowed(scalar)),
        Value::Sealed(text) => (key, Cow::Owned(Scalar::String(text.clone()))),
    });
    let mut tree = nest(scalars)?;
    if placeholders == PlaceholderMode::Resolve {
        let lookup = EnvironmentValues::new(environment);
        resolve(&mut tree, &mut Resolver::new(&lookup, 0).metered(meter))?;
    }
    Ok(tree)
}

/// The value of `document`, if that is the only key and the value is no map.
fn document<'n, 'a>(tree: &'n NestedNode<'a>) -> Option<&'n NestedNode<'a>> {
    match tree {
        NestedNode::Map(map) if map.iter().len() == 1 => {
            map.get("document").filter(|document| !matches!(document, NestedNode::Map(_)))
        }
        _ => None,
    }
}

fn resolve(node: &mut NestedNode<'_>, resolver: &mut Resolver<'_>) -> Result<(), PlaceholderError> {
    match node {
        NestedNode::Null => Ok(()),
        NestedNode::Scalar(scalar) => {
            if let Scalar::String(text) = &**scalar
                && let Cow::Owned(resolved) = resolver.value(text)?
            {
                *scalar = Cow::Owned(Scalar::String(resolved.into()));
            }
            Ok(())
        }
        NestedNode::Map(map) => map.values_mut().try_for_each(|value| resolve(value, resolver)),
        NestedNode::List(list) => list.iter_mut().try_for_each(|item| resolve(item, resolver)),
    }
}

/// Merges all sources from the lowest to the highest. A key keeps the place of its first occurrence.
fn merge(environment: &Environment) -> Vec<(&str, &Value)> {
    let mut plain = OrderedMap::default();
    let mut lists = OrderedMap::default();
    for source in environment.sources.iter().rev() {
        let mut own_lists = OrderedMap::<Vec<_>>::default();
        for property in source.properties() {
            let (key, value) = (&*property.key, &property.value);
            match key.split_once('[') {
                None => plain.put(key, value),
                Some((list, _)) => own_lists.get_or_default(list).push((key, value)),
            }
        }
        for (list, items) in own_lists.into_entries() {
            lists.put(list, items);
        }
    }
    let mut merged = plain.into_entries();
    merged.retain(|(key, _)| *key != "spring.profiles");
    merged.extend(lists.into_entries().into_iter().flat_map(|(_, items)| items));
    merged
}

#[cfg(test)]
mod tests;
