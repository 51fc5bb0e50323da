//! Flat keys to a tree: `a.b[0]` becomes a map, in it a map, in it a list. The corners are those of Spring Cloud Config,
//! except that a key stored beside a scalar keeps all of its text, so that reading the tree gives the same flat keys.

use std::borrow::Cow;

use super::flat::FlatError;
use super::ordered::Ordered;
use crate::model::Scalar;

/// How deep maps and lists may stand in each other.
pub(super) const DEPTH_MAX: usize = 100;
/// How many slots that no key fills the lists of one answer may have together.
pub(super) const GAPS_MAX: usize = 100_000;

/// A value with the structure that its key describes.
#[derive(Debug, Default)]
pub(super) enum Node<'a> {
    /// Nothing was written here: a gap in a list.
    #[default]
    Null,
    /// A leaf.
    Scalar(Cow<'a, Scalar>),
    /// Values by name.
    Map(Ordered<'a, Node<'a>>),
    /// Values by number.
    List(Vec<Node<'a>>),
}

/// Builds what flat keys describe: a map, for a key begins with a name.
pub(super) fn nest<'a>(
    properties: impl Iterator<Item = (&'a str, Cow<'a, Scalar>)>,
) -> Result<Node<'a>, FlatError> {
    let mut root = Node::Map(Ordered::default());
    let mut gaps_left = GAPS_MAX;
    for (key, scalar) in properties {
        put(&mut root, key, scalar, &mut gaps_left)?;
    }
    Ok(root)
}

fn put<'a>(
    root: &mut Node<'a>,
    key: &'a str,
    scalar: Cow<'a, Scalar>,
    gaps_left: &mut usize,
) -> Result<(), FlatError> {
    let conflict = || FlatError::ShapeConflict { key: key.into() };
    let mut node = root;
    let mut steps = steps(key)?.into_iter().peekable();
    while let Some(step) = steps.next() {
        node = match step {
            Step::Name { name, rest } => {
                let map = as_map(node).ok_or_else(conflict)?;
                let deeper = matches!(steps.peek(), Some(Step::Name { .. }));
                if deeper && matches!(map.get(name), Some(Node::Scalar(_) | Node::List(_))) {
                    map.put(rest, Node::Scalar(scalar));
                    return Ok(());
                }
                map.get_or_default(name)
            }
            Step::Index(index) => {
                let list = as_list(node).ok_or_else(conflict)?;
                let gaps = index.saturating_sub(list.len());
                *gaps_left = gaps_left.checked_sub(gaps).ok_or(FlatError::TooLarge)?;
                if index >= list.len() {
                    list.resize_with(index + 1, Node::default);
                }
                &mut list[index]
            }
        };
    }
    *node = Node::Scalar(scalar);
    Ok(())
}

/// The map at a place; a place nothing was written to becomes one.
fn as_map<'n, 'a>(node: &'n mut Node<'a>) -> Option<&'n mut Ordered<'a, Node<'a>>> {
    if matches!(node, Node::Null) {
        *node = Node::Map(Ordered::default());
    }
    match node {
        Node::Map(map) => Some(map),
        _ => None,
    }
}

/// The list at a place; a place nothing was written to becomes one.
fn as_list<'n, 'a>(node: &'n mut Node<'a>) -> Option<&'n mut Vec<Node<'a>>> {
    if matches!(node, Node::Null) {
        *node = Node::List(Vec::new());
    }
    match node {
        Node::List(list) => Some(list),
        _ => None,
    }
}

/// One move down the tree.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    /// Into a map; `rest` is the key from this name on.
    Name { name: &'a str, rest: &'a str },
    /// Into a list.
    Index(usize),
}

fn steps(key: &str) -> Result<Vec<Step<'_>>, FlatError> {
    let unnestable = || FlatError::UnnestableKey { key: key.into() };
    let mut steps = Vec::new();
    let mut start = 0;
    while steps.len() <= DEPTH_MAX {
        let end = name_end(key, start);
        if end == start && end < key.len() {
            return Err(unnestable());
        }
        let (name, rest) = (&key[start..end], &key[start..]);
        steps.push(Step::Name { name, rest });
        let mut after = &key[end..];
        while let Some(inner) = after.strip_prefix('[') {
            let (index, behind) = inner.split_once(']').ok_or_else(unnestable)?;
            steps.push(Step::Index(index_of(index).ok_or_else(unnestable)?));
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

/// Where the name that begins at `start` ends: at a dot, or at a bracket around an integer. Other brackets belong to it.
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

/// The number in brackets. A sign makes an integer, but no index.
fn index_of(text: &str) -> Option<usize> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<i32>().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
