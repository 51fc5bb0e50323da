//! A composed document to flat keys, as Spring's `YamlProcessor` names them (specification, 9).

use std::collections::HashMap;

use super::scalar::Leaf;
use super::tree::{Content, Identity, Node, NodeId, Tree, identity};
use crate::format::ParseError;
use crate::format::flat::{Flat, KEY_BYTES_MAX};
use crate::model::Scalar;

/// Adds one document. Nothing, an empty text and an empty list are none at all; an empty map is one without keys.
pub(super) fn document(tree: &Tree<'_>, flat: &mut Flat) -> Result<(), ParseError> {
    match &tree.nodes[tree.root as usize].content {
        Content::Leaf(leaf) if leaf.text().unwrap_or_default().is_empty() => return Ok(()),
        Content::List(items) if items.is_empty() => return Ok(()),
        Content::Map(entries) => map(tree, entries, flat)?,
        Content::Leaf(_) | Content::List(_) => {
            let mark = flat.enter_key("document");
            node(tree, tree.root, flat)?;
            flat.leave(mark);
        }
    }
    flat.end_document()
}

fn node(tree: &Tree<'_>, id: NodeId, flat: &mut Flat) -> Result<(), ParseError> {
    let Node { position, content, .. } = &tree.nodes[id as usize];
    match content {
        Content::Leaf(leaf) => flat.put(scalar(leaf), *position),
        Content::List(items) if items.is_empty() => flat.put(Scalar::String("".into()), *position),
        Content::List(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            let mark = flat.enter_item(index);
            node(tree, *item, flat)?;
            flat.leave(mark);
            Ok(())
        }),
        Content::Map(entries) => map(tree, entries, flat),
    }
}

fn map(tree: &Tree<'_>, entries: &[(NodeId, NodeId)], flat: &mut Flat) -> Result<(), ParseError> {
    let is_text = |(key, _): &(NodeId, NodeId)| {
        matches!(tree.nodes[*key as usize].content, Content::Leaf(Leaf::String(_)))
    };
    if !entries.iter().all(is_text) {
        return map_with_odd_keys(tree, entries, flat);
    }
    entries.iter().try_for_each(|(key, value)| {
        let Content::Leaf(Leaf::String(key)) = &tree.nodes[*key as usize].content else {
            return Ok(());
        };
        below(tree, key, *value, flat)
    })
}

/// Keys that are no strings get brackets, which another key of the map may have spelt out: then the later value counts.
fn map_with_odd_keys(
    tree: &Tree<'_>,
    entries: &[(NodeId, NodeId)],
    flat: &mut Flat,
) -> Result<(), ParseError> {
    let mut named: Vec<(String, NodeId)> = Vec::with_capacity(entries.len());
    let mut places = HashMap::new();
    for (key, value) in entries {
        let position = tree.nodes[*key as usize].position;
        let name = match identity(&tree.nodes, *key, KEY_BYTES_MAX) {
            Ok(Identity::Text(text)) => text.to_owned(),
            Ok(Identity::Other(text)) => format!("[{text}]"),
            Err(_) => return Err(ParseError::at(position, "key is too long")),
        };
        let place = *places.entry(name.clone()).or_insert(named.len());
        match named.get_mut(place) {
            Some(earlier) => earlier.1 = *value,
            None => named.push((name, *value)),
        }
    }
    named.iter().try_for_each(|(key, value)| below(tree, key, *value, flat))
}

fn below(tree: &Tree<'_>, key: &str, value: NodeId, flat: &mut Flat) -> Result<(), ParseError> {
    let mark = flat.enter_key(key);
    node(tree, value, flat)?;
    flat.leave(mark);
    Ok(())
}

fn scalar(leaf: &Leaf<'_>) -> Scalar {
    match leaf {
        Leaf::Null => Scalar::String("".into()),
        Leaf::Bool(value) => Scalar::Bool(*value),
        Leaf::Integer(text) => Scalar::Integer(text.clone()),
        Leaf::Float(text) => Scalar::Float(text.clone()),
        Leaf::String(text) => Scalar::String(text.as_ref().into()),
        Leaf::Merge => Scalar::String("<<".into()),
    }
}
