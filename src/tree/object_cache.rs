//! The directories and files that one source has read and that are still in use, each once for its content id.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::{EntryKind, Objects, RESERVED, Tree, TreeError};
use crate::format::{Format, ParseError};
use crate::model::{ContentId, Document};
use crate::sync::lock;

/// A cache removes its dead entries when it has at least this many entries, and twice as many as after the last removal.
pub(super) const CACHE_TIDY_AT: usize = 4096;

/// The content that one source has read, by content id. Entries are weak: they live as long as a tree holds them.
pub struct ObjectCache {
    pub(super) objects: Arc<dyn Objects>,
    read: Arc<CachedObjects>,
}

/// The entries that several caches over different object stores share.
#[derive(Default)]
struct CachedObjects {
    directories: Mutex<Interned<ContentId, TreeDirectory>>,
    files: Mutex<Interned<(ContentId, Option<Format>), TreeFile>>,
    parsed: AtomicU64,
}

impl ObjectCache {
    /// Creates an empty cache over an object store.
    pub fn new(objects: Arc<dyn Objects>) -> Arc<Self> {
        Arc::new(Self { objects, read: Arc::default() })
    }

    /// Creates a cache over another object store, such as the quarantine of a push, that shares the entries of this one.
    pub fn with_objects(&self, objects: Arc<dyn Objects>) -> Arc<Self> {
        Arc::new(Self { objects, read: Arc::clone(&self.read) })
    }

    /// The tree whose root directory has this id. Reads nothing yet.
    pub fn tree(self: &Arc<Self>, root: ContentId) -> Tree {
        Tree { root: self.directory(root), cache: Arc::clone(self), aliases: None, keep: None }
    }

    /// As [`ObjectCache::tree`], for a source whose content is in memory: the tree and its clones hold `keep`.
    pub fn tree_keeping(
        self: &Arc<Self>,
        root: ContentId,
        keep: Arc<dyn Any + Send + Sync>,
    ) -> Tree {
        Tree { keep: Some(keep), ..self.tree(root) }
    }

    /// The number of files that were parsed since the start.
    pub fn parsed_count(&self) -> u64 {
        self.read.parsed.load(Ordering::Relaxed)
    }

    pub(super) fn count_parsed(&self) {
        self.read.parsed.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers of directory and file entries, dead ones included.
    #[cfg(test)]
    pub(super) fn held_counts(&self) -> (usize, usize) {
        (lock(&self.read.directories).held.len(), lock(&self.read.files).held.len())
    }

    fn directory(&self, id: ContentId) -> Arc<TreeDirectory> {
        lock(&self.read.directories).get_or_insert(id, || TreeDirectory {
            id,
            entries: OnceLock::new(),
            scan: OnceLock::new(),
        })
    }

    /// The subdirectory of an entry, created at the first visit. Most subdirectories are never visited.
    pub(super) fn child<'a>(
        &self,
        id: ContentId,
        made: &'a OnceLock<Arc<TreeDirectory>>,
    ) -> &'a Arc<TreeDirectory> {
        made.get_or_init(|| self.directory(id))
    }

    /// The cached directory with this id, so that a changed parent keeps the unchanged subdirectories that were read.
    fn held_directory(&self, id: ContentId) -> OnceLock<Arc<TreeDirectory>> {
        match lock(&self.read.directories).held.get(&id).and_then(Weak::upgrade) {
            Some(directory) => OnceLock::from(directory),
            None => OnceLock::new(),
        }
    }

    /// As [`ObjectCache::held_directory`], for a file.
    fn held_file(&self, id: ContentId, name: &str) -> OnceLock<Arc<TreeFile>> {
        match lock(&self.read.files).held.get(&(id, Format::of(name))).and_then(Weak::upgrade) {
            Some(file) => OnceLock::from(file),
            None => OnceLock::new(),
        }
    }

    pub(super) fn file(&self, id: ContentId, format: Option<Format>) -> Arc<TreeFile> {
        lock(&self.read.files).get_or_insert((id, format), || TreeFile {
            id,
            format,
            documents: OnceLock::new(),
        })
    }
}

/// Weak references by key. Dead ones are removed when the map has doubled.
struct Interned<K, V> {
    held: HashMap<K, Weak<V>>,
    tidy_at: usize,
}

impl<K, V> Default for Interned<K, V> {
    fn default() -> Self {
        Self { held: HashMap::new(), tidy_at: CACHE_TIDY_AT }
    }
}

impl<K: Eq + Hash, V> Interned<K, V> {
    fn get_or_insert(&mut self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(held) = self.held.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        if self.held.len() >= self.tidy_at {
            self.held.retain(|_, value| value.strong_count() > 0);
            self.tidy_at = (self.held.len() * 2).max(CACHE_TIDY_AT);
        }
        let value = Arc::new(make());
        self.held.insert(key, Arc::downgrade(&value));
        value
    }
}

/// A directory with the cache through which its content is read.
pub(super) type CachedDirectory<'a> = (&'a ObjectCache, &'a TreeDirectory);

pub(super) struct TreeDirectory {
    pub(super) id: ContentId,
    /// Empty until the directory was read successfully.
    entries: OnceLock<DirectoryEntries>,
    /// The files of interest in and below this directory.
    pub(super) scan: OnceLock<Scan>,
}

/// The files in and below a directory that other modules look for in a whole tree. Paths are relative to the directory.
#[derive(Default)]
pub(super) struct Scan {
    /// The result of [`Tree::composing_files`].
    pub(super) composing: Vec<Box<str>>,
    /// The paths of symbolic links.
    pub(super) links: Vec<Box<str>>,
}

struct DirectoryEntries {
    /// Sorted by name, without the reserved one.
    visible: Vec<TreeEntry>,
    reserved: Option<TreeEntry>,
}

pub(super) struct TreeEntry {
    pub(super) name: Box<str>,
    pub(super) node: EntryNode,
}

#[derive(Clone)]
pub(super) enum EntryNode {
    Directory(ContentId, OnceLock<Arc<TreeDirectory>>),
    File(ContentId, OnceLock<Arc<TreeFile>>),
    Link(ContentId),
}

impl EntryNode {
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

impl TreeDirectory {
    pub(super) fn entries(&self, cache: &ObjectCache) -> Result<&[TreeEntry], TreeError> {
        Ok(&self.read(cache)?.visible)
    }

    /// The entry that belongs to the server. It is not among the others.
    pub(super) fn reserved(&self, cache: &ObjectCache) -> Result<Option<&TreeEntry>, TreeError> {
        Ok(self.read(cache)?.reserved.as_ref())
    }

    fn read(&self, cache: &ObjectCache) -> Result<&DirectoryEntries, TreeError> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let mut entries: Vec<TreeEntry> = cache
            .objects
            .list(self.id)?
            .into_iter()
            .map(|raw| TreeEntry {
                node: match raw.kind {
                    EntryKind::Directory => {
                        EntryNode::Directory(raw.id, cache.held_directory(raw.id))
                    }
                    EntryKind::File => EntryNode::File(raw.id, cache.held_file(raw.id, &raw.name)),
                    EntryKind::Link => EntryNode::Link(raw.id),
                },
                name: raw.name,
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let place = entries.binary_search_by(|entry| (*entry.name).cmp(RESERVED));
        let reserved = place.ok().map(|index| entries.remove(index));
        Ok(self.entries.get_or_init(|| DirectoryEntries { visible: entries, reserved }))
    }
}

/// The content of one file. Its bytes are read at each request. Its documents are parsed once and kept.
pub struct TreeFile {
    pub(super) id: ContentId,
    pub(super) format: Option<Format>,
    pub(super) documents: OnceLock<Result<Arc<[Document]>, ParseError>>,
}

impl TreeFile {
    pub fn id(&self) -> ContentId {
        self.id
    }
}
