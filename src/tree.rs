//! An immutable tree of files in which equal content is shared by content id.
//!
//! [`Tree::file`] loads lazily: a file is read and parsed at the first request and stays parsed while anything holds it.
//! Two trees of one source share every directory and file with the same id, so [`Tree::changes`] descends only where ids
//! differ. A source implements [`Objects`] to supply the content.
//!
//! Paths are relative and separated by `/`. The empty path is the root. A path with `..` or an empty component names
//! nothing.

mod additions;
mod aliases;
mod changes;
mod composing;
mod object_cache;
mod reserved;

use std::any::Any;
use std::sync::Arc;

pub use crate::format::ParseError;
use crate::format::{self, Format};
use crate::model::{ContentId, Document};

pub use additions::{AddedEntry, DirectoryAdditions};
pub use aliases::Aliases;
pub use changes::Changes;
use changes::compare;
use object_cache::{EntryNode, TreeDirectory, TreeEntry};
pub use object_cache::{ObjectCache, TreeFile};
pub use reserved::{RESERVED, ReservedEntry};

/// The most symbolic links that one lookup follows inside the tree.
const LINK_COUNT_MAX: usize = 8;
/// The deepest nesting of directories.
const DEPTH_MAX: usize = 128;
/// The longest target of a symbolic link, in bytes.
const LINK_BYTES_MAX: u64 = 4096;

/// A failure to read content from the source. The message contains no path of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TreeError(pub String);

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Directory,
    /// A regular file.
    File,
    /// A symbolic link. Its content is its target, which is followed only inside the tree.
    Link,
}

/// One entry of a directory, as the source lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// One path component in valid UTF-8. The source omits other names and `.git`.
    pub name: Box<str>,
    /// The source omits submodules and special files.
    pub kind: EntryKind,
    pub id: ContentId,
}

/// A directory entry that a tree does not contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OmittedEntry {
    /// The name as text. Bytes that are not UTF-8 are replaced.
    pub name: String,
    pub reason: OmissionReason,
}

/// The reason why a tree does not contain an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OmissionReason {
    /// The entry is neither a directory nor a file nor a link, such as a submodule.
    Kind,
    /// The name is not a plain path component in UTF-8.
    Name,
}

/// The sorted names in a directory, each with the kind of its target.
pub type DirectoryListing = Vec<(Box<str>, EntryKind)>;

/// The object store that a tree reads from. Several blocking threads call it at the same time.
pub trait Objects: Send + Sync + 'static {
    /// The entries of a directory, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError>;

    /// The entries that [`Objects::list`] omits from a directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn omitted(&self, _id: ContentId) -> Result<Vec<OmittedEntry>, TreeError> {
        Ok(Vec::new())
    }

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

    /// As [`Objects::read`], or `None` if the object has more than `bytes_max` bytes.
    ///
    /// # Errors
    /// When the object cannot be read.
    fn read_at_most(&self, id: ContentId, bytes_max: u64) -> Result<Option<Vec<u8>>, TreeError> {
        if self.size(id)? > bytes_max {
            return Ok(None);
        }
        self.read(id).map(Some)
    }
}

/// An immutable tree of files. A clone is cheap and keeps everything that was read through the tree.
#[derive(Clone)]
pub struct Tree {
    cache: Arc<ObjectCache>,
    root: Arc<TreeDirectory>,
    /// The links that the source has replaced. `None` for a source that keeps its links.
    aliases: Option<Arc<Aliases>>,
    #[expect(dead_code, reason = "held for as long as the tree is, and never looked at")]
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

/// The result of a lookup by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathLookup<T> {
    pub found: Option<T>,
    /// The path after symbolic links were resolved, also when nothing was found there. `None` without a link on the way,
    /// and with a link that leaves the tree. For a file, links that the source has replaced count.
    pub behind_links: Option<String>,
}

impl Tree {
    /// The id of the root directory: equal ids mean equal trees.
    pub fn id(&self) -> ContentId {
        self.root.id
    }

    /// The number of files that this tree's source has parsed since the start.
    pub fn parsed_count(&self) -> u64 {
        self.cache.parsed_count()
    }

    /// The file at a path. Links are followed inside the tree. A path that names no regular file is `None`.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn file(&self, path: &str) -> Result<Option<Arc<TreeFile>>, TreeError> {
        Ok(self.lookup_file(path)?.found)
    }

    /// As [`Tree::file`], with the path behind links.
    ///
    /// # Errors
    /// As for [`Tree::file`].
    pub fn lookup_file(&self, path: &str) -> Result<PathLookup<Arc<TreeFile>>, TreeError> {
        // A link can give a file a name with another extension than the file's own.
        self.lookup_file_as(path, Format::of(path.rsplit('/').next().unwrap_or(path)))
    }

    /// As [`Tree::lookup_file`], for a file that is read as `format` regardless of its extension.
    ///
    /// # Errors
    /// As for [`Tree::file`].
    pub fn lookup_file_as(
        &self,
        path: &str,
        format: Option<Format>,
    ) -> Result<PathLookup<Arc<TreeFile>>, TreeError> {
        let (found, behind_links) = self.follow(path)?;
        let behind_links = self.behind_aliases(path, behind_links);
        let Some(PathTarget::Entry(TreeEntry { name, node: EntryNode::File(id, file) })) = found
        else {
            return Ok(PathLookup { found: None, behind_links });
        };
        let own = file.get_or_init(|| self.cache.file(*id, Format::of(name)));
        let found =
            if own.format == format { Arc::clone(own) } else { self.cache.file(*id, format) };
        Ok(PathLookup { found: Some(found), behind_links })
    }

    fn behind_aliases(&self, path: &str, behind_links: Option<String>) -> Option<String> {
        let Some(aliases) = &self.aliases else { return behind_links };
        aliases.behind(behind_links.as_deref().unwrap_or(path)).or(behind_links)
    }

    /// The tree of a source that has replaced links by what is behind them.
    #[must_use]
    pub fn with_aliases(self, aliases: Arc<Aliases>) -> Self {
        Self { aliases: Some(aliases).filter(|aliases| !aliases.is_empty()), ..self }
    }

    /// The documents of a configuration file, parsed at most once.
    ///
    /// # Errors
    /// The outer error when the source cannot be read, the inner one when the file does not parse.
    pub fn documents(
        &self,
        file: &TreeFile,
    ) -> Result<Result<Arc<[Document]>, ParseError>, TreeError> {
        if let Some(documents) = file.documents.get() {
            return Ok(documents.clone());
        }
        let documents = self.parse(file)?;
        Ok(file.documents.get_or_init(|| documents).clone())
    }

    fn parse(&self, file: &TreeFile) -> Result<Result<Arc<[Document]>, ParseError>, TreeError> {
        let Some(format) = file.format else {
            return Ok(Ok(Arc::new([])));
        };
        self.cache.count_parsed();
        let bytes = self.cache.objects.read_at_most(file.id, format.read_bytes_max())?;
        Ok(match bytes {
            Some(bytes) => format::parse(format, &bytes).map(Into::into),
            None => Err(ParseError::too_large_for(format)),
        })
    }

    /// The size of a file in bytes, without reading it.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn size(&self, file: &TreeFile) -> Result<u64, TreeError> {
        self.cache.objects.size(file.id)
    }

    /// Reads the bytes of a file. They are not cached.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn bytes(&self, file: &TreeFile) -> Result<Vec<u8>, TreeError> {
        self.cache.objects.read(file.id)
    }

    /// The sorted names in a directory, or `None` if the path names no directory. A link inside the tree is listed with
    /// the kind of its target.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn list(&self, path: &str) -> Result<Option<DirectoryListing>, TreeError> {
        let Some(directory) = self.directory(path)? else {
            return Ok(None);
        };
        let mut names = Vec::new();
        for entry in directory.entries(&self.cache)? {
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

    /// The names in a directory that begin with `prefix`, of every kind. The lookup is a binary search.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn names_with_prefix(&self, path: &str, prefix: &str) -> Result<Vec<&str>, TreeError> {
        let Some(directory) = self.directory(path)? else {
            return Ok(Vec::new());
        };
        let entries = directory.entries(&self.cache)?;
        let from = entries.partition_point(|entry| &*entry.name < prefix);
        let names = entries[from..].iter().map(|entry| &*entry.name);
        Ok(names.take_while(|name| name.starts_with(prefix)).collect())
    }

    /// Returns true if a name in the directory begins with `prefix`.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn has_name_with_prefix(&self, path: &str, prefix: &str) -> Result<bool, TreeError> {
        let Some(directory) = self.directory(path)? else {
            return Ok(false);
        };
        let entries = directory.entries(&self.cache)?;
        let first = entries.partition_point(|entry| &*entry.name < prefix);
        Ok(entries.get(first).is_some_and(|entry| entry.name.starts_with(prefix)))
    }

    /// As [`Tree::has_name_with_prefix`], with a prefix that may contain `/`. Also returns true for a directory behind a
    /// link, because the caller has to record the path behind it.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn may_have_name_with_prefix(&self, path: &str, prefix: &str) -> Result<bool, TreeError> {
        if let Some((below, prefix)) = prefix.rsplit_once('/') {
            return self.may_have_name_with_prefix(&join(path, below), prefix);
        }
        let (_, behind_links) = self.follow(path)?;
        Ok(behind_links.is_some() || self.has_name_with_prefix(path, prefix)?)
    }

    /// The kind of the entry at a path, or `None` if the path leads nowhere inside the tree.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn kind(&self, path: &str) -> Result<Option<EntryKind>, TreeError> {
        Ok(self.lookup_kind(path)?.found)
    }

    /// As [`Tree::kind`], with the path behind links.
    ///
    /// # Errors
    /// As for [`Tree::kind`].
    pub fn lookup_kind(&self, path: &str) -> Result<PathLookup<EntryKind>, TreeError> {
        let (found, behind_links) = self.follow(path)?;
        let found = found.map(|found| match found {
            PathTarget::Root => EntryKind::Directory,
            PathTarget::Entry(entry) => entry.node.kind(),
        });
        Ok(PathLookup { found, behind_links })
    }

    /// Calls `visit` with the path of every regular file, sorted within each directory. Links are not followed.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn walk(&self, visit: &mut dyn FnMut(&str)) -> Result<(), TreeError> {
        self.walk_directory(&self.root, "", 0, visit)
    }

    fn walk_directory(
        &self,
        directory: &TreeDirectory,
        path: &str,
        depth: usize,
        visit: &mut dyn FnMut(&str),
    ) -> Result<(), TreeError> {
        if depth > DEPTH_MAX {
            return Ok(());
        }
        for entry in directory.entries(&self.cache)? {
            let path = join(path, &entry.name);
            match &entry.node {
                EntryNode::Directory(id, child) => {
                    let child = self.cache.child(*id, child);
                    self.walk_directory(child, &path, depth + 1, visit)?;
                }
                EntryNode::File(..) => visit(&path),
                EntryNode::Link(_) => {}
            }
        }
        Ok(())
    }

    /// The differences between this tree and `old`. The cost grows with the differences, not with the size of the tree.
    ///
    /// # Errors
    /// When the source of either tree cannot be read.
    pub fn changes(&self, old: &Self) -> Result<Changes, TreeError> {
        let mut changes = Changes::default();
        if self.root.id != old.root.id {
            compare(
                Some((&old.cache, &old.root)),
                Some((&self.cache, &self.root)),
                "",
                0,
                &mut changes,
            )?;
        }
        Ok(changes)
    }

    fn directory(&self, path: &str) -> Result<Option<&TreeDirectory>, TreeError> {
        Ok(match self.find(path)? {
            Some(PathTarget::Root) => Some(&self.root),
            Some(PathTarget::Entry(TreeEntry {
                node: EntryNode::Directory(id, child), ..
            })) => Some(self.cache.child(*id, child)),
            _ => None,
        })
    }

    fn find(&self, path: &str) -> Result<Option<PathTarget<'_>>, TreeError> {
        Ok(self.follow(path)?.0)
    }

    /// Walks a path down from the root. A link restarts the walk at its target, as long as the target is inside the tree.
    /// Returns the entry and the path behind links, which is present even when the entry is not.
    fn follow(&self, path: &str) -> Result<(Option<PathTarget<'_>>, Option<String>), TreeError> {
        if !is_safe(path) {
            return Ok((None, None));
        }
        let mut behind_links: Option<String> = None;
        for _ in 0..=LINK_COUNT_MAX {
            let path = behind_links.as_deref().unwrap_or(path);
            let (at, target) = match self.descend(path)? {
                DescendStep::Found(found) => return Ok((Some(found), behind_links)),
                DescendStep::Nowhere => return Ok((None, behind_links)),
                DescendStep::Link { at, target } => (at, target),
            };
            let Some(redirected) = self.redirect(path, at, target)? else {
                return Ok((None, None));
            };
            behind_links = Some(redirected);
        }
        Ok((None, None))
    }

    fn descend(&self, path: &str) -> Result<DescendStep<'_>, TreeError> {
        if path.is_empty() {
            return Ok(DescendStep::Found(PathTarget::Root));
        }
        let mut directory = &*self.root;
        let mut components = path.split('/').enumerate().peekable();
        while let Some((at, component)) = components.next() {
            let entries = directory.entries(&self.cache)?;
            let Ok(index) = entries.binary_search_by(|entry| (*entry.name).cmp(component)) else {
                return Ok(DescendStep::Nowhere);
            };
            let entry = &entries[index];
            match &entry.node {
                EntryNode::Link(target) => return Ok(DescendStep::Link { at, target: *target }),
                _ if components.peek().is_none() => {
                    return Ok(DescendStep::Found(PathTarget::Entry(entry)));
                }
                EntryNode::Directory(id, child) => directory = self.cache.child(*id, child),
                EntryNode::File(..) => return Ok(DescendStep::Nowhere),
            }
        }
        Ok(DescendStep::Nowhere)
    }

    /// Replaces the link at component `at` by its target. `None` if that leaves the tree.
    fn redirect(
        &self,
        path: &str,
        at: usize,
        target: ContentId,
    ) -> Result<Option<String>, TreeError> {
        let Some(target) = self.cache.objects.read_at_most(target, LINK_BYTES_MAX)? else {
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

enum PathTarget<'a> {
    Root,
    Entry(&'a TreeEntry),
}

enum DescendStep<'a> {
    Found(PathTarget<'a>),
    Nowhere,
    Link { at: usize, target: ContentId },
}

fn is_safe(path: &str) -> bool {
    let is_name = |component: &str| {
        !component.is_empty() && component != "." && component != ".." && component.len() <= 255
    };
    let mut components = path.split('/').enumerate();
    path.is_empty() || components.all(|(depth, name)| depth < DEPTH_MAX && is_name(name))
}

/// Joins a directory and a name. In the root the path is the name alone.
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        return name.to_owned();
    }
    format!("{directory}/{name}")
}

#[cfg(test)]
mod tests;
