//! The trees that are held: directories and contents, each once for its id. Whoever holds a directory holds all that is in
//! it, whatever becomes of the keys that it was read from; what two revisions have in common is made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use super::keys::hex;
use super::objects::{Entry, Kind, List, id_of, parse_list, parse_pieces};
use crate::model::ContentId;
use crate::sync::lock;
use crate::tree::{EntryKind, Objects, RawEntry, TreeError};

/// How deep directories may be nested.
const DEPTH_MAX: usize = 128;
/// How deep one list may be divided.
const DIVISION_COUNT_MAX: usize = 32;
/// What nobody holds is forgotten when so many names are known, and twice as many as were held then.
const TIDY_AT: usize = 4096;

/// Everything that some tree of one source holds.
#[derive(Default)]
pub(super) struct Nodes {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    nodes: HashMap<ContentId, Weak<Node>>,
    tidy_at: usize,
}

/// A directory, or the content of a file or a link.
pub(super) struct Node {
    body: Body,
}

enum Body {
    Directory {
        entries: Vec<RawEntry>,
        /// Held, so that they can be found.
        _children: Vec<Arc<Node>>,
    },
    /// In one or several pieces.
    Content(Vec<Bytes>),
}

/// What a tree consists of is not there, or not what it should be. In words, with the object's id.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

/// Finds the value of an object.
pub(super) type Find<'a> = &'a dyn Fn(ContentId) -> Option<Bytes>;

/// Objects of different kinds may have the same value, and so the same id in etcd. In a tree they have one each.
fn tree_id(kind: Kind, id: ContentId) -> ContentId {
    let kind: &[u8] = match kind {
        Kind::File | Kind::Link => return id,
        Kind::Pieces => b"pieces",
        Kind::Directory => b"directory",
    };
    id_of(&[kind, id.as_bytes()].concat())
}

impl Nodes {
    /// The directory with all that is in it, and its id in a tree. Only what is not held yet is read.
    pub(super) fn root(
        &self,
        id: ContentId,
        find: Find<'_>,
    ) -> Result<(ContentId, Arc<Node>), Broken> {
        let root = self.node(Kind::Directory, id, find, 0)?;
        Ok((tree_id(Kind::Directory, id), root))
    }

    fn node(
        &self,
        kind: Kind,
        id: ContentId,
        find: Find<'_>,
        depth: usize,
    ) -> Result<Arc<Node>, Broken> {
        let known = tree_id(kind, id);
        if let Some(node) = lock(&self.known).nodes.get(&known).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let body = match kind {
            Kind::File | Kind::Link => Body::Content(vec![value(id, find)?]),
            Kind::Pieces => {
                let pieces = parse_pieces(&value(id, find)?).ok_or_else(|| malformed(id))?;
                let pieces = pieces.into_iter().map(|id| value(id, find));
                Body::Content(pieces.collect::<Result<_, _>>()?)
            }
            Kind::Directory if depth > DEPTH_MAX => return Err(malformed(id)),
            Kind::Directory => self.directory(id, find, depth)?,
        };
        let node = Arc::new(Node { body });
        lock(&self.known).insert(known, &node);
        Ok(node)
    }

    fn directory(&self, id: ContentId, find: Find<'_>, depth: usize) -> Result<Body, Broken> {
        let mut entries = Vec::new();
        collect(id, find, 0, &mut entries)?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if entries.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(malformed(id));
        }
        let children = entries.iter().map(|entry| self.node(entry.kind, entry.id, find, depth + 1));
        let children = children.collect::<Result<_, _>>()?;
        let entries = entries.into_iter().map(|Entry { name, kind, id }| RawEntry {
            name,
            id: tree_id(kind, id),
            kind: match kind {
                Kind::File | Kind::Pieces => EntryKind::File,
                Kind::Link => EntryKind::Link,
                Kind::Directory => EntryKind::Directory,
            },
        });
        Ok(Body::Directory { entries: entries.collect(), _children: children })
    }

    fn held(&self, id: ContentId) -> Result<Arc<Node>, TreeError> {
        let held = lock(&self.known).nodes.get(&id).and_then(Weak::upgrade);
        held.ok_or_else(|| TreeError(format!("content {id} is not held any more")))
    }
}

impl Known {
    fn insert(&mut self, id: ContentId, node: &Arc<Node>) {
        if self.nodes.len() >= self.tidy_at {
            self.nodes.retain(|_, node| node.strong_count() > 0);
            self.tidy_at = (self.nodes.len() * 2).max(TIDY_AT);
        }
        self.nodes.insert(id, Arc::downgrade(node));
    }
}

/// All entries of a directory, whether it is divided or not.
fn collect(
    id: ContentId,
    find: Find<'_>,
    division: usize,
    entries: &mut Vec<Entry>,
) -> Result<(), Broken> {
    match parse_list(&value(id, find)?) {
        Some(List::Entries(more)) => entries.extend(more),
        Some(List::Divided(parts)) if division < DIVISION_COUNT_MAX => {
            for part in parts {
                collect(part, find, division + 1, entries)?;
            }
        }
        Some(List::Divided(_)) | None => return Err(malformed(id)),
    }
    Ok(())
}

fn value(id: ContentId, find: Find<'_>) -> Result<Bytes, Broken> {
    find(id).ok_or_else(|| Broken(format!("object {} is missing", hex(id))))
}

fn malformed(id: ContentId) -> Broken {
    Broken(format!("object {} is not what its place asks for", hex(id)))
}

impl Objects for Nodes {
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError> {
        match &self.held(id)?.body {
            Body::Directory { entries, .. } => Ok(entries.clone()),
            Body::Content(_) => Err(TreeError(format!("content {id} is no directory"))),
        }
    }

    fn size(&self, id: ContentId) -> Result<u64, TreeError> {
        match &self.held(id)?.body {
            Body::Content(pieces) => Ok(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Body::Directory { .. } => Err(TreeError(format!("content {id} is a directory"))),
        }
    }

    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError> {
        match &self.held(id)?.body {
            Body::Content(pieces) => Ok(pieces.concat()),
            Body::Directory { .. } => Err(TreeError(format!("content {id} is a directory"))),
        }
    }
}
