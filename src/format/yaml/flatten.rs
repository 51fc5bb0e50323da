//! Flattens a document into the keys of Spring's `YamlProcessor` (docs/protocol.md#9-yaml).

use std::collections::HashMap;

use super::document::{KeyIdentity, NodeContent, NodeId, YamlDocument, YamlNode, identity};
use super::scalar::Leaf;
use crate::format::ParseError;
use crate::format::flat_builder::{FlatBuilder, KEY_BYTES_MAX};
use crate::model::Scalar;

/// Adds one document. Null, an empty text and an empty list add none. An empty map adds a document without keys.
pub(super) fn document(tree: &YamlDocument<'_>, flat: &mut FlatBuilder) -> Result<(), ParseError> {
    match &tree.nodes[tree.root as usize].content {
        NodeContent::Leaf(leaf) if leaf.text().unwrap_or_default().is_empty() => return Ok(()),
        NodeContent::List(items) if items.is_empty() => return Ok(()),
        NodeContent::Map(entries) => map(tree, entries, flat)?,
        NodeContent::Leaf(_) | NodeContent::List(_) => {
            let mark = flat.enter_key("document");
            node(tree, tree.root, flat)?;
            flat.leave(mark);
        }
    }
    flat.end_document()
}

fn node(tree: &YamlDocument<'_>, id: NodeId, flat: &mut FlatBuilder) -> Result<(), ParseError> {
    let YamlNode { position, content, .. } = &tree.nodes[id as usize];
    match content {
        NodeContent::Leaf(leaf) => flat.put(scalar(leaf), *position),
        NodeContent::List(items) if items.is_empty() => {
            flat.put(Scalar::String("".into()), *position)
        }
        NodeContent::List(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            let mark = flat.enter_item(index);
            node(tree, *item, flat)?;
            flat.leave(mark);
            Ok(())
        }),
        NodeContent::Map(entries) => map(tree, entries, flat),
    }
}

fn map(
    tree: &YamlDocument<'_>,
    entries: &[(NodeId, NodeId)],
    flat: &mut FlatBuilder,
) -> Result<(), ParseError> {
    let is_text = |(key, _): &(NodeId, NodeId)| {
        matches!(tree.nodes[*key as usize].content, NodeContent::Leaf(Leaf::String(_)))
    };
    if !entries.iter().all(is_text) {
        return map_with_odd_keys(tree, entries, flat);
    }
    entries.iter().try_for_each(|(key, value)| {
        let NodeContent::Leaf(Leaf::String(key)) = &tree.nodes[*key as usize].content else {
            return Ok(());
        };
        below(tree, key, *value, flat)
    })
}

/// Flattens a map with keys that are no strings. These keys are written in brackets. If another key of the map is spelled
/// with the same brackets, the later value wins.
fn map_with_odd_keys(
    tree: &YamlDocument<'_>,
    entries: &[(NodeId, NodeId)],
    flat: &mut FlatBuilder,
) -> Result<(), ParseError> {
    let mut named: Vec<(String, NodeId)> = Vec::with_capacity(entries.len());
    let mut places = HashMap::new();
    for (key, value) in entries {
        let position = tree.nodes[*key as usize].position;
        let name = match identity(&tree.nodes, *key, KEY_BYTES_MAX) {
            Ok(KeyIdentity::Text(text)) => text.to_owned(),
            Ok(KeyIdentity::Other(text)) => format!("[{text}]"),
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

fn below(
    tree: &YamlDocument<'_>,
    key: &str,
    value: NodeId,
    flat: &mut FlatBuilder,
) -> Result<(), ParseError> {
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
