//! Builds documents from events. Aliased nodes are shared and merges resolved. Duplicate keys and exceeded limits are errors.

use std::collections::HashSet;

use super::document::{
    KeyIdentity, KeyTooLongError, NodeContent, NodeId, YamlDocument, YamlNode, identity,
};
use super::events::{EventReader, Tag, YamlEvent};
use super::explicit_tag;
use super::limits::{EXPANSION_MAX, expands_too_far, key_too_long};
use super::merge;
use super::scalar::{self, Leaf, NumberError};
use crate::format::flat_builder::KEY_BYTES_MAX;
use crate::format::{DOCUMENTS_MAX, ParseError};
use crate::model::Position;

/// The deepest node, as in SnakeYAML. The root has depth 0.
const DEPTH_MAX: usize = 50;
/// The most nodes of one file, keys included.
const NODES_MAX: usize = 500_000;

/// Builds the documents of one file one after the other.
pub(super) struct Composer<'a> {
    events: EventReader<'a>,
    nodes: Vec<YamlNode<'a>>,
    /// The node of each anchor in the current document. `None` while that node is incomplete.
    anchors: Vec<Option<NodeId>>,
    documents: usize,
    nodes_before: usize,
    expansion: u64,
}

impl<'a> Composer<'a> {
    /// `dash` is the character that replaces dashes in the text.
    pub(super) fn new(text: &'a str, dash: Option<char>) -> Self {
        Self {
            events: EventReader::new(text, dash),
            nodes: Vec::new(),
            anchors: Vec::new(),
            documents: 0,
            nodes_before: 0,
            expansion: 0,
        }
    }

    /// Builds the next document. Returns `None` at the end of the file.
    pub(super) fn next_document(&mut self) -> Result<Option<YamlDocument<'a>>, ParseError> {
        loop {
            match self.events.next()? {
                None => return Ok(None),
                Some((YamlEvent::DocumentStart, position)) => {
                    self.count_document(position)?;
                    let (event, position) = self.next_event()?;
                    let root = self.node(event, position, 0)?;
                    let nodes = std::mem::take(&mut self.nodes);
                    self.nodes_before += nodes.len();
                    return Ok(Some(YamlDocument { nodes, root }));
                }
                Some(_) => {}
            }
        }
    }

    fn count_document(&mut self, position: Position) -> Result<(), ParseError> {
        self.documents += 1;
        if self.documents > DOCUMENTS_MAX {
            let message = format!("file has more than {DOCUMENTS_MAX} documents");
            return Err(ParseError::at(position, message));
        }
        Ok(())
    }

    fn next_event(&mut self) -> Result<(YamlEvent<'a>, Position), ParseError> {
        self.events.next()?.ok_or_else(|| ParseError::whole("file ends within a document"))
    }

    fn node(
        &mut self,
        event: YamlEvent<'a>,
        position: Position,
        depth: usize,
    ) -> Result<NodeId, ParseError> {
        if let YamlEvent::Alias(anchor) = event {
            return self.alias(anchor, position);
        }
        if depth > DEPTH_MAX {
            return Err(ParseError::at(position, format!("nested deeper than {DEPTH_MAX}")));
        }
        match event {
            YamlEvent::Scalar { text, plain, anchor, tag } => {
                let leaf = leaf(text, plain, &tag).map_err(|why| ParseError::at(position, why))?;
                let id = self.add(position, NodeContent::Leaf(leaf))?;
                self.name(anchor, id);
                Ok(id)
            }
            YamlEvent::ListStart { anchor, tag } => {
                check_tag(&tag, &["seq"], position)?;
                let items = self.items(depth)?;
                let id = self.add(position, NodeContent::List(items))?;
                self.name(anchor, id);
                Ok(id)
            }
            YamlEvent::MapStart { anchor, tag } => {
                check_tag(&tag, &["map", "set"], position)?;
                let entries = self.entries(depth)?;
                let content = match tag {
                    Tag::Standard(name) if *name == *"set" => {
                        NodeContent::List(entries.iter().map(|(key, _)| *key).collect())
                    }
                    _ => NodeContent::Map(self.merged(entries)?),
                };
                let id = self.add(position, content)?;
                self.name(anchor, id);
                Ok(id)
            }
            YamlEvent::Alias(_)
            | YamlEvent::DocumentStart
            | YamlEvent::DocumentEnd
            | YamlEvent::End => Err(ParseError::at(position, "value expected")),
        }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<NodeId>, ParseError> {
        let mut items = Vec::new();
        loop {
            match self.next_event()? {
                (YamlEvent::End, _) => return Ok(items),
                (event, position) => {
                    let item = self.node(event, position, depth + 1)?;
                    self.check_value(item)?;
                    items.push(item);
                }
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(NodeId, NodeId)>, ParseError> {
        let mut entries = Vec::new();
        loop {
            match self.next_event()? {
                (YamlEvent::End, _) => break,
                (event, position) => {
                    let key = self.node(event, position, depth + 1)?;
                    let (event, position) = self.next_event()?;
                    let value = self.node(event, position, depth + 1)?;
                    self.check_value(value)?;
                    entries.push((key, value));
                }
            }
        }
        self.check_duplicates(&entries)?;
        Ok(entries)
    }

    /// Rejects `<<` as a value.
    fn check_value(&self, id: NodeId) -> Result<(), ParseError> {
        match &self.nodes[id as usize] {
            YamlNode { content: NodeContent::Leaf(Leaf::Merge), position, .. } => {
                Err(ParseError::at(*position, "merge sign is not a key here"))
            }
            _ => Ok(()),
        }
    }

    fn check_duplicates(&self, entries: &[(NodeId, NodeId)]) -> Result<(), ParseError> {
        let mut seen: HashSet<SeenKey<'_>> = HashSet::with_capacity(entries.len());
        for (id, _) in entries {
            let YamlNode { position, content, .. } = &self.nodes[*id as usize];
            if matches!(content, NodeContent::Leaf(Leaf::Merge)) {
                continue;
            }
            let identity = identity(&self.nodes, *id, KEY_BYTES_MAX)
                .map_err(|KeyTooLongError| key_too_long(*position))?;
            let key = SeenKey { identity, position: *position };
            if let Some(first) = seen.get(&key) {
                let Position { line, column } = first.position;
                let message = format!("duplicate key, first given at line {line}, column {column}");
                return Err(ParseError::at(*position, message));
            }
            seen.insert(key);
        }
        Ok(())
    }

    fn merged(
        &mut self,
        entries: Vec<(NodeId, NodeId)>,
    ) -> Result<Vec<(NodeId, NodeId)>, ParseError> {
        let is_merge = |(key, _): &(NodeId, NodeId)| {
            matches!(self.nodes[*key as usize].content, NodeContent::Leaf(Leaf::Merge))
        };
        if !entries.iter().any(is_merge) {
            return Ok(entries);
        }
        let left = EXPANSION_MAX.saturating_sub(self.expansion);
        let (entries, cost) = merge::merged(&self.nodes, &entries, left)?;
        self.expansion += cost;
        Ok(entries)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<NodeId, ParseError> {
        let Some(id) = self.anchors.get(anchor).copied().flatten() else {
            return Err(ParseError::at(position, "alias stands within the node it names"));
        };
        self.expansion = self.expansion.saturating_add(self.nodes[id as usize].weight);
        if self.expansion > EXPANSION_MAX {
            return Err(expands_too_far(position));
        }
        Ok(id)
    }

    fn name(&mut self, anchor: usize, id: NodeId) {
        if anchor == 0 {
            return;
        }
        if self.anchors.len() <= anchor {
            self.anchors.resize(anchor + 1, None);
        }
        self.anchors[anchor] = Some(id);
    }

    fn add(&mut self, position: Position, content: NodeContent<'a>) -> Result<NodeId, ParseError> {
        let count = self.nodes.len();
        if self.nodes_before + count >= NODES_MAX {
            return Err(ParseError::at(position, format!("file has more than {NODES_MAX} nodes")));
        }
        let weight_of = |id: &NodeId| self.nodes[*id as usize].weight;
        let below: u64 = match &content {
            NodeContent::Leaf(_) => 0,
            NodeContent::List(items) => items.iter().map(weight_of).sum(),
            NodeContent::Map(entries) => {
                entries.iter().map(|(_, value)| 1 + weight_of(value)).sum()
            }
        };
        self.nodes.push(YamlNode { position, content, weight: 1 + below });
        Ok(NodeId::try_from(count).expect("NODES_MAX is below the largest id"))
    }
}

/// A key with its position. Equality compares the identity alone.
struct SeenKey<'n> {
    identity: KeyIdentity<'n>,
    position: Position,
}

impl PartialEq for SeenKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for SeenKey<'_> {}

impl std::hash::Hash for SeenKey<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

fn leaf<'a>(
    text: std::borrow::Cow<'a, str>,
    plain: bool,
    tag: &Tag,
) -> Result<Leaf<'a>, &'static str> {
    match tag {
        Tag::None if !plain => Ok(Leaf::String(text)),
        Tag::None | Tag::NonSpecific => scalar::resolve(text)
            .map_err(|NumberError| "number cannot be read, quote it if it is text"),
        Tag::Standard(name) => explicit_tag::resolve(name, text),
        Tag::Unknown => Err("tag is not known"),
    }
}

fn check_tag(tag: &Tag, fitting: &[&str], position: Position) -> Result<(), ParseError> {
    match tag {
        Tag::None | Tag::NonSpecific => Ok(()),
        Tag::Standard(name) if fitting.contains(&&**name) => Ok(()),
        Tag::Standard(_) | Tag::Unknown => {
            Err(ParseError::at(position, "tag is not known for a list or a map"))
        }
    }
}
