//! Directories and contents of held trees, each once for its id.
//!
//! Invariant: a held directory keeps everything in it alive, even after its keys are deleted from etcd. Two revisions share
//! their common nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use super::keys::hex;
use super::objects::{DirectoryList, ListEntry, ObjectKind, id_of, parse_list, parse_pieces};
use crate::model::ContentId;
use crate::sync::lock;
use crate::tree::{EntryKind, Objects, RawEntry, TreeError};

/// The deepest nesting of directories.
const DEPTH_MAX: usize = 128;
/// The deepest division of one list.
const DIVISION_COUNT_MAX: usize = 32;
/// The size of the table at which released nodes are removed from it. Afterwards, twice the number of held nodes.
const TIDY_AT: usize = 4096;

/// All nodes that the trees of one source hold.
#[derive(Default)]
pub(super) struct Nodes {
    known: Mutex<NodeTable>,
}

#[derive(Default)]
struct NodeTable {
    nodes: HashMap<ContentId, Weak<TreeNode>>,
    tidy_at: usize,
}

/// A directory, or the content of a file or a link.
pub(super) struct TreeNode {
    body: NodeBody,
}

enum NodeBody {
    Directory {
        entries: Vec<RawEntry>,
        /// Keeps the children alive.
        _children: Vec<Arc<TreeNode>>,
    },
    /// The bytes, in one or several pieces.
    Content(Vec<Bytes>),
}

/// A message about a missing or malformed object of a tree, with the id of the object.
#[derive(Debug)]
pub(super) struct BrokenTreeError(pub(super) String);

/// Finds the value of an object.
pub(super) type Find<'a> = &'a dyn Fn(ContentId) -> Option<Bytes>;

/// The id of an object in a tree. Objects of different kinds may have the same value and therefore the same id in etcd, and
/// have different ids in a tree.
fn tree_id(kind: ObjectKind, id: ContentId) -> ContentId {
    let kind: &[u8] = match kind {
        ObjectKind::File | ObjectKind::Link => return id,
        ObjectKind::Pieces => b"pieces",
        ObjectKind::Directory => b"directory",
    };
    id_of(&[kind, id.as_bytes()].concat())
}

impl Nodes {
    /// Loads a directory with its content, and returns it with its id in a tree. Reads only nodes that are not held yet.
    pub(super) fn root(
        &self,
        id: ContentId,
        find: Find<'_>,
    ) -> Result<(ContentId, Arc<TreeNode>), BrokenTreeError> {
        let root = self.node(ObjectKind::Directory, id, find, 0)?;
        Ok((tree_id(ObjectKind::Directory, id), root))
    }

    fn node(
        &self,
        kind: ObjectKind,
        id: ContentId,
        find: Find<'_>,
        depth: usize,
    ) -> Result<Arc<TreeNode>, BrokenTreeError> {
        let known = tree_id(kind, id);
        if let Some(node) = lock(&self.known).nodes.get(&known).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let body = match kind {
            ObjectKind::File | ObjectKind::Link => NodeBody::Content(vec![value(id, find)?]),
            ObjectKind::Pieces => {
                let pieces = parse_pieces(&value(id, find)?).ok_or_else(|| malformed(id))?;
                let pieces = pieces.into_iter().map(|id| value(id, find));
                NodeBody::Content(pieces.collect::<Result<_, _>>()?)
            }
            ObjectKind::Directory if depth > DEPTH_MAX => return Err(malformed(id)),
            ObjectKind::Directory => self.directory(id, find, depth)?,
        };
        let node = Arc::new(TreeNode { body });
        lock(&self.known).insert(known, &node);
        Ok(node)
    }

    fn directory(
        &self,
        id: ContentId,
        find: Find<'_>,
        depth: usize,
    ) -> Result<NodeBody, BrokenTreeError> {
        let mut entries = Vec::new();
        collect(id, find, 0, &mut entries)?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if entries.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(malformed(id));
        }
        let children = entries.iter().map(|entry| self.node(entry.kind, entry.id, find, depth + 1));
        let children = children.collect::<Result<_, _>>()?;
        let entries = entries.into_iter().map(|ListEntry { name, kind, id }| RawEntry {
            name,
            id: tree_id(kind, id),
            kind: match kind {
                ObjectKind::File | ObjectKind::Pieces => EntryKind::File,
                ObjectKind::Link => EntryKind::Link,
                ObjectKind::Directory => EntryKind::Directory,
            },
        });
        Ok(NodeBody::Directory { entries: entries.collect(), _children: children })
    }

    fn held(&self, id: ContentId) -> Result<Arc<TreeNode>, TreeError> {
        let held = lock(&self.known).nodes.get(&id).and_then(Weak::upgrade);
        held.ok_or_else(|| TreeError(format!("content {id} is no longer held")))
    }
}

impl NodeTable {
    fn insert(&mut self, id: ContentId, node: &Arc<TreeNode>) {
        if self.nodes.len() >= self.tidy_at {
            self.nodes.retain(|_, node| node.strong_count() > 0);
            self.tidy_at = (self.nodes.len() * 2).max(TIDY_AT);
        }
        self.nodes.insert(id, Arc::downgrade(node));
    }
}

/// Collects all entries of a directory, divided or not.
fn collect(
    id: ContentId,
    find: Find<'_>,
    division: usize,
    entries: &mut Vec<ListEntry>,
) -> Result<(), BrokenTreeError> {
    match parse_list(&value(id, find)?) {
        Some(DirectoryList::Entries(more)) => entries.extend(more),
        Some(DirectoryList::Divided(parts)) if division < DIVISION_COUNT_MAX => {
            for part in parts {
                collect(part, find, division + 1, entries)?;
            }
        }
        Some(DirectoryList::Divided(_)) | None => return Err(malformed(id)),
    }
    Ok(())
}

fn value(id: ContentId, find: Find<'_>) -> Result<Bytes, BrokenTreeError> {
    find(id).ok_or_else(|| BrokenTreeError(format!("object {} is missing", hex(id))))
}

fn malformed(id: ContentId) -> BrokenTreeError {
    BrokenTreeError(format!(
        "object {} is malformed, or of another kind than its reference",
        hex(id)
    ))
}

impl Objects for Nodes {
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError> {
        match &self.held(id)?.body {
            NodeBody::Directory { entries, .. } => Ok(entries.clone()),
            NodeBody::Content(_) => Err(TreeError(format!("content {id} is no directory"))),
        }
    }

    fn size(&self, id: ContentId) -> Result<u64, TreeError> {
        match &self.held(id)?.body {
            NodeBody::Content(pieces) => Ok(pieces.iter().map(|piece| piece.len() as u64).sum()),
            NodeBody::Directory { .. } => Err(TreeError(format!("content {id} is a directory"))),
        }
    }

    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError> {
        match &self.held(id)?.body {
            NodeBody::Content(pieces) => Ok(pieces.concat()),
            NodeBody::Directory { .. } => Err(TreeError(format!("content {id} is a directory"))),
        }
    }
}
