//! A composed document: nodes by number, so that what an alias names is shared and costs nothing twice.

use std::borrow::Cow;

use super::scalar::Leaf;
use crate::model::Position;

/// The number of a node in its tree.
pub(super) type NodeId = u32;

/// One document.
pub(super) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: NodeId,
}

/// One node with the place it begins at: its anchor or tag, if it has one.
pub(super) struct Node<'a> {
    pub(super) position: Position,
    pub(super) content: Content<'a>,
    /// How many nodes it would be if every alias were written out.
    pub(super) weight: u64,
}

/// What a node is.
pub(super) enum Content<'a> {
    Leaf(Leaf<'a>),
    List(Vec<NodeId>),
    Map(Vec<(NodeId, NodeId)>),
}

/// What tells two keys of a map apart.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Identity<'n> {
    /// A string.
    Text(&'n str),
    /// Anything else, by its text in Java.
    Other(Cow<'n, str>),
}

/// The text of a key got longer than its bound.
pub(super) struct TooLong;

/// What the key `id` is, with its text no longer than `bytes_max`.
pub(super) fn identity<'n>(
    nodes: &'n [Node<'_>],
    id: NodeId,
    bytes_max: usize,
) -> Result<Identity<'n>, TooLong> {
    let identity = match &nodes[id as usize].content {
        Content::Leaf(Leaf::String(text)) => Identity::Text(text),
        Content::Leaf(leaf) => Identity::Other(Cow::Borrowed(leaf.text().unwrap_or("null"))),
        // An empty list is an empty text, here as everywhere.
        Content::List(items) if items.is_empty() => Identity::Text(""),
        Content::List(_) | Content::Map(_) => {
            let mut text = String::new();
            write_java(nodes, id, bytes_max, &mut text)?;
            Identity::Other(Cow::Owned(text))
        }
    };
    let length = match &identity {
        Identity::Text(text) => text.len(),
        Identity::Other(text) => text.len(),
    };
    if length > bytes_max { Err(TooLong) } else { Ok(identity) }
}

/// The text that Java's collections print: `[a, b]`, `{a=1, b=2}`.
fn write_java(
    nodes: &[Node<'_>],
    id: NodeId,
    bytes_max: usize,
    out: &mut String,
) -> Result<(), TooLong> {
    match &nodes[id as usize].content {
        Content::Leaf(leaf) => out.push_str(leaf.text().unwrap_or_default()),
        Content::List(items) if items.is_empty() => {}
        Content::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_java(nodes, *item, bytes_max, out)?;
            }
            out.push(']');
        }
        Content::Map(entries) => {
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
    if out.len() > bytes_max { Err(TooLong) } else { Ok(()) }
}
