//! Events to a tree: anchors shared, merges done, duplicate keys and everything that grows out of bounds refused.

use std::collections::HashSet;

use super::events::{Event, Events, Tag};
use super::merge;
use super::scalar::{self, BadNumber, Leaf};
use super::tagged;
use super::tree::{Content, Identity, Node, NodeId, TooLong, Tree, identity};
use crate::format::flat::KEY_BYTES_MAX;
use crate::format::{DOCUMENTS_MAX, ParseError};
use crate::model::Position;

/// The deepest node, where the root has depth 0; SnakeYAML's own bound.
const DEPTH_MAX: usize = 50;
/// The most nodes of one file, keys included.
const NODES_MAX: usize = 500_000;
/// The most nodes that all aliases and merges of one file may stand for.
const EXPANSION_MAX: u64 = 1_000_000;

/// Makes the trees of one file, document by document.
pub(super) struct Composer<'a> {
    events: Events<'a>,
    nodes: Vec<Node<'a>>,
    /// What each anchor of the present document names; `None` while that node is still open.
    anchors: Vec<Option<NodeId>>,
    documents: usize,
    nodes_before: usize,
    expansion: u64,
}

impl<'a> Composer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            events: Events::new(text),
            nodes: Vec::new(),
            anchors: Vec::new(),
            documents: 0,
            nodes_before: 0,
            expansion: 0,
        }
    }

    /// The next document, `None` at the end of the file.
    pub(super) fn next_document(&mut self) -> Result<Option<Tree<'a>>, ParseError> {
        loop {
            match self.events.next()? {
                None => return Ok(None),
                Some((Event::DocumentStart, position)) => {
                    self.count_document(position)?;
                    let (event, position) = self.next_event()?;
                    let root = self.node(event, position, 0)?;
                    let nodes = std::mem::take(&mut self.nodes);
                    self.nodes_before += nodes.len();
                    return Ok(Some(Tree { nodes, root }));
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

    fn next_event(&mut self) -> Result<(Event<'a>, Position), ParseError> {
        self.events.next()?.ok_or_else(|| ParseError::whole("file ends within a document"))
    }

    fn node(
        &mut self,
        event: Event<'a>,
        position: Position,
        depth: usize,
    ) -> Result<NodeId, ParseError> {
        if let Event::Alias(anchor) = event {
            return self.alias(anchor, position);
        }
        if depth > DEPTH_MAX {
            return Err(ParseError::at(position, format!("nested deeper than {DEPTH_MAX}")));
        }
        match event {
            Event::Scalar { text, plain, anchor, tag } => {
                let leaf = leaf(text, plain, &tag).map_err(|why| ParseError::at(position, why))?;
                let id = self.add(position, Content::Leaf(leaf))?;
                self.name(anchor, id);
                Ok(id)
            }
            Event::ListStart { anchor, tag } => {
                check_tag(&tag, &["seq"], position)?;
                let items = self.items(depth)?;
                let id = self.add(position, Content::List(items))?;
                self.name(anchor, id);
                Ok(id)
            }
            Event::MapStart { anchor, tag } => {
                check_tag(&tag, &["map", "set"], position)?;
                let entries = self.entries(depth)?;
                let content = match tag {
                    Tag::Standard(name) if *name == *"set" => {
                        Content::List(entries.iter().map(|(key, _)| *key).collect())
                    }
                    _ => Content::Map(self.merged(entries)?),
                };
                let id = self.add(position, content)?;
                self.name(anchor, id);
                Ok(id)
            }
            Event::Alias(_) | Event::DocumentStart | Event::DocumentEnd | Event::End => {
                Err(ParseError::at(position, "value expected"))
            }
        }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<NodeId>, ParseError> {
        let mut items = Vec::new();
        loop {
            match self.next_event()? {
                (Event::End, _) => return Ok(items),
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
                (Event::End, _) => break,
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

    /// `<<` is for keys only.
    fn check_value(&self, id: NodeId) -> Result<(), ParseError> {
        match &self.nodes[id as usize] {
            Node { content: Content::Leaf(Leaf::Merge), position, .. } => {
                Err(ParseError::at(*position, "merge sign is not a key here"))
            }
            _ => Ok(()),
        }
    }

    fn check_duplicates(&self, entries: &[(NodeId, NodeId)]) -> Result<(), ParseError> {
        let mut seen: HashSet<Seen<'_>> = HashSet::with_capacity(entries.len());
        for (id, _) in entries {
            let Node { position, content, .. } = &self.nodes[*id as usize];
            if matches!(content, Content::Leaf(Leaf::Merge)) {
                continue;
            }
            let identity =
                identity(&self.nodes, *id, KEY_BYTES_MAX).map_err(|TooLong| too_long(*position))?;
            let key = Seen { identity, position: *position };
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
            matches!(self.nodes[*key as usize].content, Content::Leaf(Leaf::Merge))
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

    fn add(&mut self, position: Position, content: Content<'a>) -> Result<NodeId, ParseError> {
        let count = self.nodes.len();
        if self.nodes_before + count >= NODES_MAX {
            return Err(ParseError::at(position, format!("file has more than {NODES_MAX} nodes")));
        }
        let weight_of = |id: &NodeId| self.nodes[*id as usize].weight;
        let below: u64 = match &content {
            Content::Leaf(_) => 0,
            Content::List(items) => items.iter().map(weight_of).sum(),
            Content::Map(entries) => entries.iter().map(|(_, value)| 1 + weight_of(value)).sum(),
        };
        self.nodes.push(Node { position, content, weight: 1 + below });
        Ok(NodeId::try_from(count).expect("NODES_MAX is below the largest id"))
    }
}

/// A key with its place, told apart by its identity.
struct Seen<'n> {
    identity: Identity<'n>,
    position: Position,
}

impl PartialEq for Seen<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Seen<'_> {}

impl std::hash::Hash for Seen<'_> {
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
            .map_err(|BadNumber| "number cannot be read, quote it if it is text"),
        Tag::Standard(name) => tagged::resolve(name, text),
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

fn too_long(position: Position) -> ParseError {
    ParseError::at(position, format!("key is longer than {KEY_BYTES_MAX} bytes"))
}

pub(super) fn expands_too_far(position: Position) -> ParseError {
    let message = format!("aliases stand for more than {EXPANSION_MAX} nodes");
    ParseError::at(position, message)
}
