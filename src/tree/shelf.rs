//! What one source has read and somebody still holds: directories and files, each once for its content id.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::{EntryKind, Objects, Tree, TreeError};
use crate::format::{Format, ParseError};
use crate::model::{ContentId, Document};
use crate::sync::lock;

/// A shelf forgets what nobody holds when it has grown to this many names since it was last tidied.
pub(super) const SHELF_TIDY_AT: usize = 4096;

/// Everything that one source has read and that somebody still holds, by content id.
pub struct Shelf {
    pub(super) objects: Arc<dyn Objects>,
    read: Arc<Read>,
}

/// What was read, whichever shelf it was read through.
#[derive(Default)]
struct Read {
    directories: Mutex<Interned<ContentId, Directory>>,
    files: Mutex<Interned<(ContentId, Option<Format>), File>>,
    parsed: AtomicU64,
}

impl Shelf {
    /// An empty shelf over an object store.
    pub fn new(objects: Arc<dyn Objects>) -> Arc<Self> {
        Arc::new(Self { objects, read: Arc::default() })
    }

    /// A shelf over an object store that has more than this one's, such as what a push brings. What one of the two has read
    /// the other need not read again.
    pub fn beside(&self, objects: Arc<dyn Objects>) -> Arc<Self> {
        Arc::new(Self { objects, read: Arc::clone(&self.read) })
    }

    /// The tree whose root directory has this id. Reads nothing yet.
    pub fn tree(self: &Arc<Self>, root: ContentId) -> Tree {
        Tree { root: self.directory(root), shelf: Arc::clone(self), keep: None }
    }

    /// The same, for a source whose content lives in memory: the tree and its clones hold `keep`.
    pub fn tree_keeping(
        self: &Arc<Self>,
        root: ContentId,
        keep: Arc<dyn Any + Send + Sync>,
    ) -> Tree {
        Tree { keep: Some(keep), ..self.tree(root) }
    }

    /// How many files have been parsed since start.
    pub fn parsed_count(&self) -> u64 {
        self.read.parsed.load(Ordering::Relaxed)
    }

    /// Counts a file that is parsed.
    pub(super) fn count_parsed(&self) {
        self.read.parsed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many directories and files it knows by name, held or not.
    #[cfg(test)]
    pub(super) fn held_counts(&self) -> (usize, usize) {
        (lock(&self.read.directories).held.len(), lock(&self.read.files).held.len())
    }

    fn directory(&self, id: ContentId) -> Arc<Directory> {
        lock(&self.read.directories)
            .get_or_insert(id, || Directory { id, entries: OnceLock::new() })
    }

    /// A directory in a directory, made when someone first goes there: most are only passed by.
    pub(super) fn child<'a>(
        &self,
        id: ContentId,
        made: &'a OnceLock<Arc<Directory>>,
    ) -> &'a Arc<Directory> {
        made.get_or_init(|| self.directory(id))
    }

    /// What is already known of a directory, so that one around it that changed keeps what its old version had read.
    fn held_directory(&self, id: ContentId) -> OnceLock<Arc<Directory>> {
        match lock(&self.read.directories).held.get(&id).and_then(Weak::upgrade) {
            Some(directory) => OnceLock::from(directory),
            None => OnceLock::new(),
        }
    }

    /// The same of a file.
    fn held_file(&self, id: ContentId, name: &str) -> OnceLock<Arc<File>> {
        match lock(&self.read.files).held.get(&(id, Format::of(name))).and_then(Weak::upgrade) {
            Some(file) => OnceLock::from(file),
            None => OnceLock::new(),
        }
    }

    pub(super) fn file(&self, id: ContentId, format: Option<Format>) -> Arc<File> {
        lock(&self.read.files).get_or_insert((id, format), || File {
            id,
            format,
            documents: OnceLock::new(),
        })
    }
}

/// Weak references by key, tidied now and then.
struct Interned<K, V> {
    held: HashMap<K, Weak<V>>,
    tidy_at: usize,
}

impl<K, V> Default for Interned<K, V> {
    fn default() -> Self {
        Self { held: HashMap::new(), tidy_at: SHELF_TIDY_AT }
    }
}

impl<K: Eq + Hash, V> Interned<K, V> {
    fn get_or_insert(&mut self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(held) = self.held.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        if self.held.len() >= self.tidy_at {
            self.held.retain(|_, value| value.strong_count() > 0);
            self.tidy_at = (self.held.len() * 2).max(SHELF_TIDY_AT);
        }
        let value = Arc::new(make());
        self.held.insert(key, Arc::downgrade(&value));
        value
    }
}

pub(super) struct Directory {
    pub(super) id: ContentId,
    /// Sorted by name. Set only when the directory could be read.
    entries: OnceLock<Vec<Entry>>,
}

pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) node: Node,
}

#[derive(Clone)]
pub(super) enum Node {
    Directory(ContentId, OnceLock<Arc<Directory>>),
    File(ContentId, OnceLock<Arc<File>>),
    Link(ContentId),
}

impl Node {
    pub(super) fn kind(&self) -> EntryKind {
        match self {
            Self::Directory(..) => EntryKind::Directory,
            Self::File(..) => EntryKind::File,
            Self::Link(_) => EntryKind::Link,
        }
    }

    pub(super) fn id(&self) -> ContentId {
        match self {
            Self::Directory(id, _) | Self::File(id, _) | Self::Link(id) => *id,
        }
    }
}

impl Directory {
    pub(super) fn entries(&self, shelf: &Shelf) -> Result<&[Entry], TreeError> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let mut entries: Vec<Entry> = shelf
            .objects
            .list(self.id)?
            .into_iter()
            .map(|raw| Entry {
                node: match raw.kind {
                    EntryKind::Directory => Node::Directory(raw.id, shelf.held_directory(raw.id)),
                    EntryKind::File => Node::File(raw.id, shelf.held_file(raw.id, &raw.name)),
                    EntryKind::Link => Node::Link(raw.id),
                },
                name: raw.name,
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self.entries.get_or_init(|| entries))
    }
}

/// The content of one file. Its bytes are read when asked for; its documents are parsed once and kept.
pub struct File {
    pub(super) id: ContentId,
    pub(super) format: Option<Format>,
    pub(super) documents: OnceLock<Result<Arc<[Document]>, ParseError>>,
}

impl File {
    /// The id of the content.
    pub fn id(&self) -> ContentId {
        self.id
    }
}
