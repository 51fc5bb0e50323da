//! The flat forms: one environment merged to one list of properties, written as `.properties`, YAML or JSON.
//!
//! A list replaces the list of a lower source as a whole; that is why keys with brackets are merged by what stands before
//! their first bracket, and why they come last.

use std::borrow::Cow;
use std::fmt::Write;

use super::json as json_writer;
use super::nest::{Node, nest};
use super::ordered::Ordered;
use super::yaml as yaml_writer;
use crate::model::{Environment, Scalar, Value};
use crate::placeholder::{Lookup, PlaceholderError, Resolver};

/// What becomes of `${...}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholders {
    /// Replaced by what they stand for.
    Resolve,
    /// Left as they are.
    Keep,
}

/// Why an environment has no flat form. Never carries a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlatError {
    /// A placeholder is circular, or goes beyond the bounds.
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
    /// The key has an empty part, or a list index that is none.
    #[error("key cannot be nested: {key}")]
    UnnestableKey {
        /// The flat key.
        key: String,
    },
    /// The key wants a list where a map or a value stands, or the other way round.
    #[error("key has another shape than one before it: {key}")]
    ShapeConflict {
        /// The flat key that came second.
        key: String,
    },
    /// Too deep, too many gaps in lists, or too many bytes.
    #[error("flat form is too large")]
    TooLarge,
}

/// The `.properties` form: `key: value` lines, nothing escaped, no line break at the end.
pub fn properties(
    environment: &Environment,
    placeholders: Placeholders,
) -> Result<String, FlatError> {
    let mut out = String::new();
    for (key, value) in merge(environment) {
        let separator = if out.is_empty() { "" } else { "\n" };
        write!(out, "{separator}{key}: {}", value.text()).expect("a String takes every write");
    }
    match placeholders {
        Placeholders::Keep => Ok(out),
        Placeholders::Resolve => {
            let lookup = Lookup::new(environment);
            Ok(Resolver::new(&lookup, out.len()).text(&out)?)
        }
    }
}

/// The YAML form. An environment that is nothing but a scalar or a list, read as `document`, is written as just that.
pub fn yaml(environment: &Environment, placeholders: Placeholders) -> Result<String, FlatError> {
    let tree = tree(environment, placeholders)?;
    yaml_writer::write(document(&tree).unwrap_or(&tree))
}

/// The JSON form: compact, in the order of the properties.
pub fn json(environment: &Environment, placeholders: Placeholders) -> Result<String, FlatError> {
    Ok(json_writer::write(&tree(environment, placeholders)?))
}

fn tree(environment: &Environment, placeholders: Placeholders) -> Result<Node<'_>, FlatError> {
    let scalars = merge(environment).into_iter().map(|(key, value)| match value {
        Value::Plain(scalar) => (key, Cow::Borrowed(scalar)),
        Value::Sealed(text) => (key, Cow::Owned(Scalar::String(text.clone()))),
    });
    let mut tree = nest(scalars)?;
    if placeholders == Placeholders::Resolve {
        let lookup = Lookup::new(environment);
        resolve(&mut tree, &mut Resolver::new(&lookup, 0))?;
    }
    Ok(tree)
}

/// The value under `document`, if there is nothing else and it is no map that somebody wrote under that name.
fn document<'n, 'a>(tree: &'n Node<'a>) -> Option<&'n Node<'a>> {
    match tree {
        Node::Map(map) if map.iter().len() == 1 => {
            map.get("document").filter(|document| !matches!(document, Node::Map(_)))
        }
        _ => None,
    }
}

fn resolve(node: &mut Node<'_>, resolver: &mut Resolver<'_>) -> Result<(), PlaceholderError> {
    match node {
        Node::Null => Ok(()),
        Node::Scalar(scalar) => {
            if let Scalar::String(text) = &**scalar
                && let Cow::Owned(resolved) = resolver.value(text)?
            {
                *scalar = Cow::Owned(Scalar::String(resolved.into()));
            }
            Ok(())
        }
        Node::Map(map) => map.values_mut().try_for_each(|value| resolve(value, resolver)),
        Node::List(list) => list.iter_mut().try_for_each(|item| resolve(item, resolver)),
    }
}

/// One list of properties, from the lowest source to the highest; what a key has first fixes its place.
fn merge(environment: &Environment) -> Vec<(&str, &Value)> {
    let mut plain = Ordered::default();
    let mut lists = Ordered::default();
    for source in environment.sources.iter().rev() {
        let mut own_lists = Ordered::<Vec<_>>::default();
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
