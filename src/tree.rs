//! The immutable tree of files, shared by content id.
//!
//! [`Tree::file`] is the one lazy door: a file is read and parsed the first time it is asked for, and never again while
//! anyone holds it. Two trees of one source share every directory and file whose id is the same; [`Tree::changes`]
//! descends only where ids differ. What a tree reads from is behind [`Objects`], which a source implements. Paths are
//! relative, separated by `/`; `""` is the root; a path that holds `..` or an empty component names nothing.

mod arrived;
mod changes;
mod shelf;

use std::any::Any;
use std::sync::Arc;

use crate::format::{self, Format, ParseError};
use crate::model::{ContentId, Document};

pub use arrived::{Arrived, ArrivedEntry};
pub use changes::Changes;
use changes::compare;
use shelf::{Directory, Entry, Node};
pub use shelf::{File, Shelf};

/// How many symbolic links one look-up follows inside the tree.
const LINK_COUNT_MAX: usize = 8;
/// How deep directories may be nested.
const DEPTH_MAX: usize = 128;
/// The longest target of a symbolic link, in bytes.
const LINK_BYTES_MAX: u64 = 4096;

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

/// A name in a directory that no tree shows, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// As text, whatever it is made of.
    pub name: String,
    /// Why it is not shown.
    pub why: Unfit,
}

/// Why a name is in no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is neither a directory nor a file nor a link: a submodule.
    Kind,
    /// It is no plain component in UTF-8.
    Name,
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

    /// What [`Objects::list`] leaves out of a directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn left_out(&self, _id: ContentId) -> Result<Vec<LeftOut>, TreeError> {
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

/// An immutable tree of files. Cheap to clone; whoever holds it holds what was read through it.
#[derive(Clone)]
pub struct Tree {
    shelf: Arc<Shelf>,
    root: Arc<Directory>,
    #[expect(dead_code, reason = "held for as long as the tree is, and never looked at")]
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a look at a path found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look<T> {
    /// What is there.
    pub found: Option<T>,
    /// The path that links inside the tree made of the path, whether anything is there or not; `None` if there was no link
    /// on the way, or one led outside.
    pub behind_links: Option<String>,
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
        Ok(self.look_for_file(path)?.found)
    }

    /// As [`Tree::file`], with the path that links made of the path.
    ///
    /// # Errors
    /// As for [`Tree::file`].
    pub fn look_for_file(&self, path: &str) -> Result<Look<Arc<File>>, TreeError> {
        let (found, behind_links) = self.follow(path)?;
        let Some(Found::Entry(Entry { name, node: Node::File(id, file) })) = found else {
            return Ok(Look { found: None, behind_links });
        };
        // A link may call a file by a name that says another format than the file's own.
        let format = Format::of(path.rsplit('/').next().unwrap_or(path));
        let own = file.get_or_init(|| self.shelf.file(*id, Format::of(name)));
        let found = match own.format == format {
            true => Arc::clone(own),
            false => self.shelf.file(*id, format),
        };
        Ok(Look { found: Some(found), behind_links })
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
        self.shelf.count_parsed();
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

    /// The names in a directory that begin like this, whatever they stand for. A directory of thousands is not gone through.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn names_beginning(&self, path: &str, with: &str) -> Result<Vec<&str>, TreeError> {
        let Some(directory) = self.directory(path)? else {
            return Ok(Vec::new());
        };
        let entries = directory.entries(&self.shelf)?;
        let from = entries.partition_point(|entry| &*entry.name < with);
        let names = entries[from..].iter().map(|entry| &*entry.name);
        Ok(names.take_while(|name| name.starts_with(with)).collect())
    }

    /// What a path leads to, or `None` if it leads nowhere inside the tree.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn kind(&self, path: &str) -> Result<Option<EntryKind>, TreeError> {
        Ok(self.look_for_kind(path)?.found)
    }

    /// As [`Tree::kind`], with the path that links made of the path.
    ///
    /// # Errors
    /// As for [`Tree::kind`].
    pub fn look_for_kind(&self, path: &str) -> Result<Look<EntryKind>, TreeError> {
        let (found, behind_links) = self.follow(path)?;
        let found = found.map(|found| match found {
            Found::Root => EntryKind::Directory,
            Found::Entry(entry) => entry.node.kind(),
        });
        Ok(Look { found, behind_links })
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
        Ok(self.follow(path)?.0)
    }

    /// Walks a path down from the root; a link starts the walk again at where it leads, as long as that is inside. Gives what
    /// is there, and where the links led, whether anything is there or not.
    fn follow(&self, path: &str) -> Result<(Option<Found<'_>>, Option<String>), TreeError> {
        if !is_safe(path) {
            return Ok((None, None));
        }
        let mut behind_links: Option<String> = None;
        for _ in 0..=LINK_COUNT_MAX {
            let path = behind_links.as_deref().unwrap_or(path);
            let (at, target) = match self.descend(path)? {
                Step::Found(found) => return Ok((Some(found), behind_links)),
                Step::Nowhere => return Ok((None, behind_links)),
                Step::Link { at, target } => (at, target),
            };
            let Some(redirected) = self.redirect(path, at, target)? else {
                return Ok((None, None));
            };
            behind_links = Some(redirected);
        }
        Ok((None, None))
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

enum Found<'a> {
    Root,
    Entry(&'a Entry),
}

enum Step<'a> {
    Found(Found<'a>),
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

/// `directory/name`, or the name alone in the root.
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        return name.to_owned();
    }
    format!("{directory}/{name}")
}

#[cfg(test)]
mod tests;
