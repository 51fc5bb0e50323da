//! The immutable snapshot: a revision and a tree of files, shared by content id.
//!
//! [`Tree::file`] is the one lazy door: a file is read and parsed the first time it is asked for, and never again while
//! anyone holds it. Two snapshots share every directory and file whose id is the same; [`Tree::changes`] descends only
//! where ids differ. What a tree reads from is behind [`Objects`], which a source implements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::format::{self, Format};
use crate::model::{ContentId, Document, Label, Origin, Problem, Revision};

/// How deep symbolic links are followed inside the tree.
const LINK_DEPTH_MAX: usize = 8;

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
    /// A symbolic link; its content is its target, followed inside the tree only.
    Link,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// One path component; valid UTF-8, other names are left out by the source.
    pub name: Box<str>,
    /// What it is; submodules and special files are left out by the source.
    pub kind: EntryKind,
    /// The id of its content.
    pub id: ContentId,
}

/// The object store that a tree reads from. Called on blocking threads only.
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
    /// The bytes of a file or the target of a link.
    ///
    /// # Errors
    /// When the object cannot be read.
    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError>;
}

/// Everything that one source has read and that somebody still holds, by content id.
pub struct Shelf {
    objects: Arc<dyn Objects>,
    directories: Mutex<HashMap<ContentId, Weak<Directory>>>,
    files: Mutex<HashMap<(ContentId, Option<Format>), Weak<File>>>,
}

/// A directory of a tree, its entries read the first time they are needed.
pub struct Directory {
    id: ContentId,
    entries: OnceLock<Result<Vec<Entry>, TreeError>>,
}

struct Entry {
    name: Box<str>,
    kind: EntryKind,
    id: ContentId,
    directory: Option<Arc<Directory>>,
    file: OnceLock<Arc<File>>,
}
