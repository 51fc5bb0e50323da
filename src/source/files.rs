//! All files of a label, out of one source and on their way into another one.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Origin, Problem};
use crate::tree::{Arrived, EntryKind, Tree, TreeError, Unfit, join};

/// The most files that are taken.
const FILE_COUNT_MAX: usize = 200_000;
/// The most directories that are looked into: a few hundred bytes may describe as many as there are stars.
const DIRECTORY_COUNT_MAX: usize = 200_000;
/// The most bytes that all of them may have together.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The most that is told of what cannot be taken.
const PROBLEM_COUNT_MAX: usize = 20;

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file's bytes.
    File(Bytes),
    /// The target of a symbolic link.
    Link(Bytes),
}

/// Contents by path.
pub type Files = BTreeMap<String, Content>;

/// Why the files of a tree are not taken.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// These cannot be copied; at least one, and not all if there are many.
    #[error("{} cannot be copied", .0.len())]
    Unfit(Vec<Problem>),
    /// There are more than fit.
    #[error(
        "there are more than {FILE_COUNT_MAX} files or directories, or more than {BYTES_MAX} bytes in them"
    )]
    TooMuch,
}

/// All that a tree holds. What it leaves out makes it incomplete, and is refused. Blocking.
///
/// # Errors
/// See [`FilesError`].
pub fn of(tree: &Tree) -> Result<Files, FilesError> {
    let mut taken = Taken::default();
    let walked = tree.arrived(None, &mut |arrived| taken.directory(tree, &arrived));
    if taken.is_too_much {
        return Err(FilesError::TooMuch);
    }
    walked?;
    match taken {
        Taken { unfit, .. } if !unfit.is_empty() => Err(FilesError::Unfit(unfit)),
        Taken { files, .. } => Ok(files),
    }
}

#[derive(Default)]
struct Taken {
    files: Files,
    directory_count: usize,
    byte_count: u64,
    is_too_much: bool,
    unfit: Vec<Problem>,
}

impl Taken {
    fn directory(&mut self, tree: &Tree, arrived: &Arrived<'_>) -> Result<(), TreeError> {
        for left_out in &arrived.left_out {
            let message = match left_out.why {
                Unfit::Kind => "is a submodule, whose files are in another repository",
                Unfit::Name => "has a name that is not plain text, or one that is kept for git",
            };
            if self.unfit.len() < PROBLEM_COUNT_MAX {
                self.unfit.push(problem(join(arrived.directory, &left_out.name), message));
            }
        }
        self.directory_count += 1;
        for entry in &arrived.entries {
            if entry.kind == EntryKind::Directory {
                continue;
            }
            self.byte_count = self.byte_count.saturating_add(tree.size_of(entry)?);
            self.bounded()?;
            let bytes = Bytes::from(tree.bytes_of(entry)?);
            let content = match entry.kind {
                EntryKind::Link => Content::Link(bytes),
                EntryKind::File | EntryKind::Directory => Content::File(bytes),
            };
            self.files.insert(join(arrived.directory, entry.name), content);
        }
        self.bounded()
    }

    /// Ends the walk where it is too much.
    fn bounded(&mut self) -> Result<(), TreeError> {
        self.is_too_much = self.byte_count > BYTES_MAX
            || self.files.len() >= FILE_COUNT_MAX
            || self.directory_count > DIRECTORY_COUNT_MAX;
        match self.is_too_much {
            true => Err(TreeError("there is too much".to_owned())),
            false => Ok(()),
        }
    }
}

/// Why one path cannot be copied.
pub fn problem(path: String, message: &str) -> Problem {
    Problem {
        origin: Origin { file: path.into(), position: None },
        key: None,
        message: message.to_owned(),
    }
}
