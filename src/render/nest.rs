//! Builds a tree from flat keys: `a.b[0]` becomes a list in a map in a map. Edge cases follow Spring Cloud Config, with one
//! exception: a key below a scalar keeps its whole text, so that flattening the tree gives the same keys.

use std::borrow::Cow;

use super::flat_error::FlatError;
use super::ordered_map::OrderedMap;
use crate::model::Scalar;

/// The deepest nesting of maps and lists.
pub(super) const DEPTH_MAX: usize = 100;
/// The most list items without a key in one answer.
pub(super) const GAPS_MAX: usize = 100_000;

/// A value in the tree.
#[derive(Debug, Default)]
pub(super) enum NestedNode<'a> {
    /// A list item without a key.
    #[default]
    Null,
    Scalar(Cow<'a, Scalar>),
    Map(OrderedMap<'a, NestedNode<'a>>),
    List(Vec<NestedNode<'a>>),
}

/// Builds the tree of flat keys. Its root is a map, because every key begins with a name.
pub(super) fn nest<'a>(
    properties: impl Iterator<Item = (&'a str, Cow<'a, Scalar>)>,
) -> Result<NestedNode<'a>, FlatError> {
    let mut root = NestedNode::Map(OrderedMap::default());
    let mut gaps_left = GAPS_MAX;
    for (key, scalar) in properties {
        put(&mut root, key, scalar, &mut gaps_left)?;
    }
    Ok(root)
}

fn put<'a>(
    root: &mut NestedNode<'a>,
    key: &'a str,
    scalar: Cow<'a, Scalar>,
    gaps_left: &mut usize,
) -> Result<(), FlatError> {
    let conflict = || FlatError::ShapeConflict { key: key.into() };
    let mut node = root;
    let mut steps = steps(key)?.into_iter().peekable();
    while let Some(step) = steps.next() {
        node = match step {
            KeyStep::Name { name, rest } => {
                let map = as_map(node).ok_or_else(conflict)?;
                let deeper = matches!(steps.peek(), Some(KeyStep::Name { .. }));
                if deeper
                    && matches!(map.get(name), Some(NestedNode::Scalar(_) | NestedNode::List(_)))
                {
                    map.put(rest, NestedNode::Scalar(scalar));
                    return Ok(());
                }
                map.get_or_default(name)
            }
            KeyStep::Index(index) => {
                let list = as_list(node).ok_or_else(conflict)?;
                let gaps = index.saturating_sub(list.len());
                *gaps_left = gaps_left.checked_sub(gaps).ok_or(FlatError::TooLarge)?;
                if index >= list.len() {
                    list.resize_with(index + 1, NestedNode::default);
                }
                &mut list[index]
            }
        };
    }
    *node = NestedNode::Scalar(scalar);
    Ok(())
}

/// The map at a node. An empty node becomes a map.
fn as_map<'n, 'a>(node: &'n mut NestedNode<'a>) -> Option<&'n mut OrderedMap<'a, NestedNode<'a>>> {
    if matches!(node, NestedNode::Null) {
        *node = NestedNode::Map(OrderedMap::default());
    }
    match node {
        NestedNode::Map(map) => Some(map),
        _ => None,
    }
}

/// The list at a node. An empty node becomes a list.
fn as_list<'n, 'a>(node: &'n mut NestedNode<'a>) -> Option<&'n mut Vec<NestedNode<'a>>> {
    if matches!(node, NestedNode::Null) {
        *node = NestedNode::List(Vec::new());
    }
    match node {
        NestedNode::List(list) => Some(list),
        _ => None,
    }
}

/// One segment of a key.
#[derive(Debug, PartialEq)]
enum KeyStep<'a> {
    /// A name in a map. `rest` is the key from this name on.
    Name { name: &'a str, rest: &'a str },
    /// An index in a list.
    Index(usize),
}

fn steps(key: &str) -> Result<Vec<KeyStep<'_>>, FlatError> {
    let unnestable = || FlatError::UnnestableKey { key: key.into() };
    let mut steps = Vec::new();
    let mut start = 0;
    while steps.len() <= DEPTH_MAX {
        let end = name_end(key, start);
        if end == start && end < key.len() {
            return Err(unnestable());
        }
        let (name, rest) = (&key[start..end], &key[start..]);
        steps.push(KeyStep::Name { name, rest });
        let mut after = &key[end..];
        while let Some(inner) = after.strip_prefix('[') {
            let (index, behind) = inner.split_once(']').ok_or_else(unnestable)?;
            steps.push(KeyStep::Index(index_of(index).ok_or_else(unnestable)?));
            after = behind;
        }
        match after.strip_prefix('.') {
            Some(next) => start = key.len() - next.len(),
            None if after.is_empty() => break,
            None => return Err(unnestable()),
        }
    }
    if steps.len() > DEPTH_MAX {
        return Err(FlatError::TooLarge);
    }
    Ok(steps)
}

/// The end of the name that begins at `start`: a dot, or a bracket around an integer. Other brackets belong to the name.
fn name_end(key: &str, start: usize) -> usize {
    let mut bracket = None;
    for (at, found) in key[start..].match_indices(['.', '[', ']']) {
        let at = start + at;
        match (found, bracket) {
            (".", _) => return at,
            ("[", _) => bracket = Some(at),
            (_, Some(open)) if key[open + 1..at].parse::<i32>().is_ok() => return open,
            _ => {}
        }
    }
    key.len()
}

/// Parses the index in brackets. A number with a sign is no index.
fn index_of(text: &str) -> Option<usize> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<i32>().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
