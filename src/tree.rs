//! The immutable tree of files, shared by content id.
//!
//! [`Tree::file`] is the one lazy door: a file is read and parsed the first time it is asked for, and never again while
//! anyone holds it. Two trees of one source share every directory and file whose id is the same; [`Tree::changes`]
//! descends only where ids differ. What a tree reads from is behind [`Objects`], which a source implements. Paths are
//! relative, separated by `/`; `""` is the root; a path that holds `..` or an empty component names nothing.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::format::{self, Format, ParseError};
use crate::model::{ContentId, Document};

/// How many symbolic links one look-up follows inside the tree.
const LINK_COUNT_MAX: usize = 8;
/// How deep directories may be nested.
const DEPTH_MAX: usize = 128;
/// The longest target of a symbolic link, in bytes.
const LINK_BYTES_MAX: u64 = 4096;
/// A shelf forgets what nobody holds when it has grown to this many names since it was last tidied.
const SHELF_TIDY_AT: usize = 4096;

/// Why content of a tree cannot be read; the message holds no path of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TreeError(pub String);

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link; its content is its target, which is followed inside the tree only.
    Link,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// One path component in valid UTF-8; other names, and `.git`, are left out by the source.
    pub name: Box<str>,
    /// What it is; submodules and special files are left out by the source.
    pub kind: EntryKind,
    /// The id of its content.
    pub id: ContentId,
}

/// The names in a directory, sorted, and what they lead to.
pub type Listing = Vec<(Box<str>, EntryKind)>;

/// The object store that a tree reads from. Called on blocking threads only, by several at a time.
pub trait Objects: Send + Sync + 'static {
    /// The entries of a directory, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError>;

    /// The size of a file in bytes, without reading it.
    ///
    /// # Errors
    /// When the object cannot be found.
    fn size(&self, id: ContentId) -> Result<u64, TreeError>;

    /// The bytes of a file, or the target of a link.
    ///
    /// # Errors
    /// When the object cannot be read.
    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError>;

    /// The same, or `None` if that is more than so many bytes.
    ///
    /// # Errors
    /// When the object cannot be read.
    fn read_at_most(&self, id: ContentId, bytes_max: u64) -> Result<Option<Vec<u8>>, TreeError> {
        match self.size(id)? > bytes_max {
            true => Ok(None),
            false => self.read(id).map(Some),
        }
    }
}

/// Everything that one source has read and that somebody still holds, by content id.
pub struct Shelf {
    objects: Arc<dyn Objects>,
    directories: Mutex<Interned<ContentId, Directory>>,
    files: Mutex<Interned<(ContentId, Option<Format>), File>>,
    parsed: AtomicU64,
}

impl Shelf {
    /// An empty shelf over an object store.
    pub fn new(objects: Arc<dyn Objects>) -> Arc<Self> {
        Arc::new(Self {
            objects,
            directories: Mutex::default(),
            files: Mutex::default(),
            parsed: AtomicU64::new(0),
        })
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
        self.parsed.load(Ordering::Relaxed)
    }

    fn directory(&self, id: ContentId) -> Arc<Directory> {
        lock(&self.directories).get_or_insert(id, || Directory { id, entries: OnceLock::new() })
    }

    /// A directory in a directory, made when someone first goes there: most are only passed by.
    fn child<'a>(&self, id: ContentId, made: &'a OnceLock<Arc<Directory>>) -> &'a Arc<Directory> {
        made.get_or_init(|| self.directory(id))
    }

    /// What is already known of a directory, so that one around it that changed keeps what its old version had read.
    fn held_directory(&self, id: ContentId) -> OnceLock<Arc<Directory>> {
        match lock(&self.directories).held.get(&id).and_then(Weak::upgrade) {
            Some(directory) => OnceLock::from(directory),
            None => OnceLock::new(),
        }
    }

    /// The same of a file.
    fn held_file(&self, id: ContentId, name: &str) -> OnceLock<Arc<File>> {
        match lock(&self.files).held.get(&(id, Format::of(name))).and_then(Weak::upgrade) {
            Some(file) => OnceLock::from(file),
            None => OnceLock::new(),
        }
    }

    fn file(&self, id: ContentId, format: Option<Format>) -> Arc<File> {
        lock(&self.files).get_or_insert((id, format), || File {
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

struct Directory {
    id: ContentId,
    /// Sorted by name. Set only when the directory could be read.
    entries: OnceLock<Vec<Entry>>,
}

struct Entry {
    name: Box<str>,
    node: Node,
}

#[derive(Clone)]
enum Node {
    Directory(ContentId, OnceLock<Arc<Directory>>),
    File(ContentId, OnceLock<Arc<File>>),
    Link(ContentId),
}

impl Node {
    fn kind(&self) -> EntryKind {
        match self {
            Self::Directory(..) => EntryKind::Directory,
            Self::File(..) => EntryKind::File,
            Self::Link(_) => EntryKind::Link,
        }
    }

    fn id(&self) -> ContentId {
        match self {
            Self::Directory(id, _) | Self::File(id, _) | Self::Link(id) => *id,
        }
    }
}

impl Directory {
    fn entries(&self, shelf: &Shelf) -> Result<&[Entry], TreeError> {
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
    id: ContentId,
    format: Option<Format>,
    documents: OnceLock<Result<Arc<[Document]>, ParseError>>,
}

impl File {
    /// The id of the content.
    pub fn id(&self) -> ContentId {
        self.id
    }
}

/// An immutable tree of files. Cheap to clone; whoever holds it holds what was read through it.
#[derive(Clone)]
pub struct Tree {
    shelf: Arc<Shelf>,
    root: Arc<Directory>,
    #[expect(dead_code, reason = "held for as long as the tree is, and never looked at")]
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

/// What differs between two trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Paths of the files that were added, removed or changed.
    pub files: Vec<String>,
    /// Directories in which names came, went or changed their kind.
    pub listings: Vec<String>,
    /// A symbolic link came, went or changed, so that any path may lead elsewhere.
    pub links: bool,
}

impl Changes {
    /// Whether the trees are the same.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.listings.is_empty() && !self.links
    }
}

impl Tree {
    /// The id of the root directory: equal ids mean equal trees.
    pub fn id(&self) -> ContentId {
        self.root.id
    }

    /// How many files this tree's source has parsed since start.
    pub fn parsed_count(&self) -> u64 {
        self.shelf.parsed_count()
    }

    /// The file at a path, links inside the tree followed.
    ///
    /// # Errors
    /// When the source cannot be read; a path that names no regular file is `None`.
    pub fn file(&self, path: &str) -> Result<Option<Arc<File>>, TreeError> {
        let Some(Found::Entry(Entry { name, node: Node::File(id, file) })) = self.find(path)?
        else {
            return Ok(None);
        };
        // A link may call a file by a name that says another format than the file's own.
        let format = Format::of(path.rsplit('/').next().unwrap_or(path));
        let own = file.get_or_init(|| self.shelf.file(*id, Format::of(name)));
        Ok(Some(match own.format == format {
            true => Arc::clone(own),
            false => self.shelf.file(*id, format),
        }))
    }

    /// The path that links make of a path, whether anything is there or not; `None` if there is no link on the way, or if
    /// one leads outside.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn behind_links(&self, path: &str) -> Result<Option<String>, TreeError> {
        Ok(match self.follow(path)? {
            Some(Followed { path: Cow::Owned(behind), .. }) => Some(behind),
            _ => None,
        })
    }

    /// The documents of a configuration file, parsed at most once.
    ///
    /// # Errors
    /// The outer error when the source cannot be read, the inner one when the file is not what its extension says.
    pub fn documents(&self, file: &File) -> Result<Result<Arc<[Document]>, ParseError>, TreeError> {
        if let Some(documents) = file.documents.get() {
            return Ok(documents.clone());
        }
        let documents = self.parse(file)?;
        Ok(file.documents.get_or_init(|| documents).clone())
    }

    fn parse(&self, file: &File) -> Result<Result<Arc<[Document]>, ParseError>, TreeError> {
        let Some(format) = file.format else {
            return Ok(Ok(Arc::new([])));
        };
        self.shelf.parsed.fetch_add(1, Ordering::Relaxed);
        let bytes = self.shelf.objects.read_at_most(file.id, format::FILE_BYTES_MAX as u64)?;
        Ok(match bytes {
            Some(bytes) => format::parse(format, &bytes).map(Into::into),
            None => Err(ParseError::too_large()),
        })
    }

    /// The size of a file in bytes, without reading it.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn size(&self, file: &File) -> Result<u64, TreeError> {
        self.shelf.objects.size(file.id)
    }

    /// The bytes of a file. They are not kept.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn bytes(&self, file: &File) -> Result<Vec<u8>, TreeError> {
        self.shelf.objects.read(file.id)
    }

    /// The names in a directory, sorted, or `None` if the path names no directory. A link to something inside the tree
    /// is listed as what it leads to.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn list(&self, path: &str) -> Result<Option<Listing>, TreeError> {
        let Some(directory) = self.directory(path)? else {
            return Ok(None);
        };
        let mut names = Vec::new();
        for entry in directory.entries(&self.shelf)? {
            let kind = match entry.node.kind() {
                EntryKind::Link => match self.kind(&join(path, &entry.name))? {
                    Some(kind) => kind,
                    None => continue,
                },
                kind => kind,
            };
            names.push((entry.name.clone(), kind));
        }
        Ok(Some(names))
    }

    /// What a path leads to, or `None` if it leads nowhere inside the tree.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn kind(&self, path: &str) -> Result<Option<EntryKind>, TreeError> {
        Ok(match self.find(path)? {
            None => None,
            Some(Found::Root) => Some(EntryKind::Directory),
            Some(Found::Entry(entry)) => Some(entry.node.kind()),
        })
    }

    /// Calls `visit` with the path of every regular file, links not followed, in order of path within each directory.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn walk(&self, visit: &mut dyn FnMut(&str)) -> Result<(), TreeError> {
        self.walk_directory(&self.root, "", 0, visit)
    }

    fn walk_directory(
        &self,
        directory: &Directory,
        path: &str,
        depth: usize,
        visit: &mut dyn FnMut(&str),
    ) -> Result<(), TreeError> {
        if depth > DEPTH_MAX {
            return Ok(());
        }
        for entry in directory.entries(&self.shelf)? {
            let path = join(path, &entry.name);
            match &entry.node {
                Node::Directory(id, child) => {
                    let child = self.shelf.child(*id, child);
                    self.walk_directory(child, &path, depth + 1, visit)?;
                }
                Node::File(..) => visit(&path),
                Node::Link(_) => {}
            }
        }
        Ok(())
    }

    /// What this tree has that `old` has otherwise. Costs what differs, not what there is.
    ///
    /// # Errors
    /// When the source of either tree cannot be read.
    pub fn changes(&self, old: &Self) -> Result<Changes, TreeError> {
        let mut changes = Changes::default();
        if self.root.id != old.root.id {
            compare(
                Some((&old.shelf, &old.root)),
                Some((&self.shelf, &self.root)),
                "",
                0,
                &mut changes,
            )?;
        }
        Ok(changes)
    }

    fn directory(&self, path: &str) -> Result<Option<&Directory>, TreeError> {
        Ok(match self.find(path)? {
            Some(Found::Root) => Some(&self.root),
            Some(Found::Entry(Entry { node: Node::Directory(id, child), .. })) => {
                Some(self.shelf.child(*id, child))
            }
            _ => None,
        })
    }

    fn find(&self, path: &str) -> Result<Option<Found<'_>>, TreeError> {
        Ok(self.follow(path)?.and_then(|followed| followed.found))
    }

    /// Walks a path down from the root; a link starts the walk again at where it leads, as long as that is inside.
    fn follow<'t, 'p>(&'t self, path: &'p str) -> Result<Option<Followed<'t, 'p>>, TreeError> {
        if !is_safe(path) {
            return Ok(None);
        }
        let mut path = Cow::Borrowed(path);
        for _ in 0..=LINK_COUNT_MAX {
            let found = match self.descend(&path)? {
                Step::Found(found) => Some(found),
                Step::Nowhere => None,
                Step::Link { at, target } => {
                    let Some(redirected) = self.redirect(&path, at, target)? else {
                        return Ok(None);
                    };
                    path = Cow::Owned(redirected);
                    continue;
                }
            };
            return Ok(Some(Followed { path, found }));
        }
        Ok(None)
    }

    fn descend(&self, path: &str) -> Result<Step<'_>, TreeError> {
        if path.is_empty() {
            return Ok(Step::Found(Found::Root));
        }
        let mut directory = &*self.root;
        let mut components = path.split('/').enumerate().peekable();
        while let Some((at, component)) = components.next() {
            let entries = directory.entries(&self.shelf)?;
            let Ok(index) = entries.binary_search_by(|entry| (*entry.name).cmp(component)) else {
                return Ok(Step::Nowhere);
            };
            let entry = &entries[index];
            match &entry.node {
                Node::Link(target) => return Ok(Step::Link { at, target: *target }),
                _ if components.peek().is_none() => return Ok(Step::Found(Found::Entry(entry))),
                Node::Directory(id, child) => directory = self.shelf.child(*id, child),
                Node::File(..) => return Ok(Step::Nowhere),
            }
        }
        Ok(Step::Nowhere)
    }

    /// The path with its component `at`, a link, replaced by where it leads, or `None` if that leaves the tree.
    fn redirect(
        &self,
        path: &str,
        at: usize,
        target: ContentId,
    ) -> Result<Option<String>, TreeError> {
        let Some(target) = self.shelf.objects.read_at_most(target, LINK_BYTES_MAX)? else {
            return Ok(None);
        };
        let Ok(target) = String::from_utf8(target) else {
            return Ok(None);
        };
        if target.starts_with('/') || target.contains(['\0', '\\']) {
            return Ok(None);
        }
        let mut redirected: Vec<&str> = path.split('/').take(at).collect();
        for component in target.split('/') {
            match component {
                "" | "." => {}
                ".." if redirected.pop().is_none() => return Ok(None),
                ".." => {}
                name => redirected.push(name),
            }
        }
        redirected.extend(path.split('/').skip(at + 1));
        Ok((redirected.len() <= DEPTH_MAX).then(|| redirected.join("/")))
    }
}

/// Where a path leads, whether anything is there or not.
struct Followed<'t, 'p> {
    /// Owned if there was a link on the way.
    path: Cow<'p, str>,
    found: Option<Found<'t>>,
}

enum Found<'a> {
    Root,
    Entry(&'a Entry),
}

enum Step<'a> {
    Found(Found<'a>),
    Nowhere,
    Link { at: usize, target: ContentId },
}

type Side<'a> = Option<(&'a Shelf, &'a Directory)>;

fn compare(
    old: Side<'_>,
    new: Side<'_>,
    path: &str,
    depth: usize,
    changes: &mut Changes,
) -> Result<(), TreeError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let mut names_changed = old.is_none() || new.is_none();
    let old_entries = old.map_or(Ok(&[][..]), |(shelf, at)| at.entries(shelf))?;
    let new_entries = new.map_or(Ok(&[][..]), |(shelf, at)| at.entries(shelf))?;
    for (before, after) in pairs(old_entries, new_entries) {
        if let (Some(before), Some(after)) = (before, after)
            && before.node.id() == after.node.id()
            && before.node.kind() == after.node.kind()
        {
            continue;
        }
        let (before_kind, after_kind) = (before.map(kind_of), after.map(kind_of));
        names_changed |= before_kind != after_kind;
        changes.links |= [before_kind, after_kind].contains(&Some(EntryKind::Link));
        let Some(name) = after.or(before).map(|entry| &*entry.name) else {
            continue;
        };
        let path = join(path, name);
        let before_directory = before.zip(old).and_then(subdirectory);
        let after_directory = after.zip(new).and_then(subdirectory);
        if before_directory.is_some() || after_directory.is_some() {
            compare(before_directory, after_directory, &path, depth + 1, changes)?;
        }
        if [before_kind, after_kind].contains(&Some(EntryKind::File)) {
            changes.files.push(path);
        }
    }
    if names_changed {
        changes.listings.push(path.to_owned());
    }
    Ok(())
}

fn kind_of(entry: &Entry) -> EntryKind {
    entry.node.kind()
}

fn subdirectory<'a>(
    (entry, (shelf, _)): (&'a Entry, (&'a Shelf, &'a Directory)),
) -> Option<(&'a Shelf, &'a Directory)> {
    match &entry.node {
        Node::Directory(id, child) => Some((shelf, shelf.child(*id, child))),
        Node::File(..) | Node::Link(_) => None,
    }
}

/// The entries of two sorted directories side by side, by name.
fn pairs<'a>(old: &'a [Entry], new: &'a [Entry]) -> Vec<(Option<&'a Entry>, Option<&'a Entry>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(before), Some(after)) => before.name.cmp(&after.name),
        };
        pairs.push(match order {
            std::cmp::Ordering::Less => (old.next(), None),
            std::cmp::Ordering::Greater => (None, new.next()),
            std::cmp::Ordering::Equal => (old.next(), new.next()),
        });
    }
}

fn is_safe(path: &str) -> bool {
    let is_name = |component: &str| {
        !component.is_empty() && component != "." && component != ".." && component.len() <= 255
    };
    let mut components = path.split('/').enumerate();
    path.is_empty() || components.all(|(depth, name)| depth < DEPTH_MAX && is_name(name))
}

/// `directory/name`, or the name alone in the root.
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        return name.to_owned();
    }
    format!("{directory}/{name}")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
