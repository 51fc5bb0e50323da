//! A composed document. Nodes have numbers, so that an alias shares its node.

use std::borrow::Cow;

use super::scalar::Leaf;
use crate::model::Position;

/// The number of a node in its document.
pub(super) type NodeId = u32;

pub(super) struct YamlDocument<'a> {
    pub(super) nodes: Vec<YamlNode<'a>>,
    pub(super) root: NodeId,
}

pub(super) struct YamlNode<'a> {
    /// The start of the node: its anchor or tag, if it has one.
    pub(super) position: Position,
    pub(super) content: NodeContent<'a>,
    /// The number of nodes with every alias expanded.
    pub(super) weight: u64,
}

pub(super) enum NodeContent<'a> {
    Leaf(Leaf<'a>),
    List(Vec<NodeId>),
    Map(Vec<(NodeId, NodeId)>),
}

/// The value by which the keys of a map are compared.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum KeyIdentity<'n> {
    Text(&'n str),
    /// A key that is no string, by its text in Java.
    Other(Cow<'n, str>),
}

/// The text of a key exceeds its limit.
pub(super) struct KeyTooLongError;

/// The identity of the key `id`, if its text has at most `bytes_max` bytes.
pub(super) fn identity<'n>(
    nodes: &'n [YamlNode<'_>],
    id: NodeId,
    bytes_max: usize,
) -> Result<KeyIdentity<'n>, KeyTooLongError> {
    let identity = match &nodes[id as usize].content {
        NodeContent::Leaf(Leaf::String(text)) => KeyIdentity::Text(text),
        NodeContent::Leaf(leaf) => KeyIdentity::Other(Cow::Borrowed(leaf.text().unwrap_or("null"))),
        // An empty list is an empty text, as in values.
        NodeContent::List(items) if items.is_empty() => KeyIdentity::Text(""),
        NodeContent::List(_) | NodeContent::Map(_) => {
            let mut text = String::new();
            write_java(nodes, id, bytes_max, &mut text)?;
            KeyIdentity::Other(Cow::Owned(text))
        }
    };
    let length = match &identity {
        KeyIdentity::Text(text) => text.len(),
        KeyIdentity::Other(text) => text.len(),
    };
    if length > bytes_max { Err(KeyTooLongError) } else { Ok(identity) }
}

/// Writes the text of Java's collections: `[a, b]`, `{a=1, b=2}`.
fn write_java(
    nodes: &[YamlNode<'_>],
    id: NodeId,
    bytes_max: usize,
    out: &mut String,
) -> Result<(), KeyTooLongError> {
    match &nodes[id as usize].content {
        NodeContent::Leaf(leaf) => out.push_str(leaf.text().unwrap_or_default()),
        NodeContent::List(items) if items.is_empty() => {}
        NodeContent::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_java(nodes, *item, bytes_max, out)?;
            }
            out.push(']');
        }
        NodeContent::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_java(nodes, *key, bytes_max, out)?;
                out.push('=');
                write_java(nodes, *value, bytes_max, out)?;
            }
            out.push('}');
        }
    }
    if out.len() > bytes_max { Err(KeyTooLongError) } else { Ok(()) }
}
