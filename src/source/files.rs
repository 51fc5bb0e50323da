//! All files of a label, read from one source to be written to another one.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Origin, Problem};
use crate::tree::{DirectoryAdditions, EntryKind, OmissionReason, Tree, TreeError, join};

/// The most files of a tree that are read.
const FILE_COUNT_MAX: usize = 200_000;
/// The most directories that are read: a few hundred bytes of shared trees can describe billions of them.
const DIRECTORY_COUNT_MAX: usize = 200_000;
/// The largest total size of the files, in bytes.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The most files that are reported as unfit.
const PROBLEM_COUNT_MAX: usize = 20;

/// The content of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file's bytes.
    File(Bytes),
    /// The target of a symbolic link.
    Link(Bytes),
}

/// Contents by path.
pub type Files = BTreeMap<String, Content>;

/// The reasons for which the files of a tree are not read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Files that cannot be copied: at least one, and not all if there are many.
    #[error("{} cannot be copied", .0.len())]
    Unfit(Vec<Problem>),
    /// The tree is over a limit.
    #[error(
        "the label has more than {FILE_COUNT_MAX} files or directories, or more than {BYTES_MAX} bytes in them"
    )]
    TooMuch,
}

/// Reads all files of a tree. A tree that leaves files out is incomplete, and is rejected. Blocking.
///
/// # Errors
/// See [`FilesError`].
pub fn of(tree: &Tree) -> Result<Files, FilesError> {
    let mut taken = FileCollector::default();
    let walked = tree.visit_additions(None, &mut |additions| taken.directory(tree, &additions));
    if taken.is_too_much {
        return Err(FilesError::TooMuch);
    }
    walked?;
    match taken {
        FileCollector { unfit, .. } if !unfit.is_empty() => Err(FilesError::Unfit(unfit)),
        FileCollector { files, .. } => Ok(files),
    }
}

#[derive(Default)]
struct FileCollector {
    files: Files,
    directory_count: usize,
    byte_count: u64,
    is_too_much: bool,
    unfit: Vec<Problem>,
}

impl FileCollector {
    fn directory(
        &mut self,
        tree: &Tree,
        additions: &DirectoryAdditions<'_>,
    ) -> Result<(), TreeError> {
        for omitted in &additions.omitted {
            let message = match omitted.reason {
                OmissionReason::Kind => "is a submodule, whose files are in another repository",
                OmissionReason::Name => {
                    "has a name that is not plain text, or one that is kept for git"
                }
            };
            if self.unfit.len() < PROBLEM_COUNT_MAX {
                self.unfit.push(problem(join(additions.directory, &omitted.name), message));
            }
        }
        self.directory_count += 1;
        for entry in &additions.entries {
            if entry.kind == EntryKind::Directory {
                continue;
            }
            self.byte_count = self.byte_count.saturating_add(tree.size_of(entry)?);
            self.check_bounds()?;
            let bytes = Bytes::from(tree.bytes_of(entry)?);
            let content = match entry.kind {
                EntryKind::Link => Content::Link(bytes),
                EntryKind::File | EntryKind::Directory => Content::File(bytes),
            };
            self.files.insert(join(additions.directory, entry.name), content);
        }
        self.check_bounds()
    }

    /// Ends the walk at the limits.
    fn check_bounds(&mut self) -> Result<(), TreeError> {
        self.is_too_much = self.byte_count > BYTES_MAX
            || self.files.len() >= FILE_COUNT_MAX
            || self.directory_count > DIRECTORY_COUNT_MAX;
        if self.is_too_much {
            return Err(TreeError("the tree is over the limits of a copy".to_owned()));
        }
        Ok(())
    }
}

/// Describes the reason for which one path cannot be copied.
pub fn problem(path: String, message: &str) -> Problem {
    Problem {
        origin: Origin { file: path.into(), position: None },
        key: None,
        message: message.to_owned(),
    }
}
