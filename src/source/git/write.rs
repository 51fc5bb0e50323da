//! Files of another source as a commit: first the objects, which nothing leads to, then the branch, unless somebody else
//! has moved it meanwhile. A repository that is not there yet is made beside its place.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{Buf, ErrorCode, FileMode, Oid, Reference, Repository, Signature};

use super::{copy, find, library};
use crate::source::beside::{Beside, Standing, sync};
use crate::source::files::{Content, Files};
use crate::source::labels;

/// Who commits.
const NAME: &str = "Headwater";
/// The same, as an address.
const EMAIL: &str = "headwater@localhost";
/// Before all other places that objects are written to.
const FIRST: i32 = 1_000;

/// Why nothing is committed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No branch can have this name.
    #[error("{0:?} cannot be the name of a branch")]
    Name(String),
    /// Its files lie in a work tree, which would be left behind.
    #[error(
        "branch {0} is checked out in a work tree: give another one with --to-label, or a bare repository"
    )]
    CheckedOut(String),
    /// Somebody else was faster.
    #[error("branch {0} was moved by somebody else meanwhile: nothing was copied, try again")]
    Moved(String),
    /// The repository cannot be written.
    #[error("the repository cannot be written: {0}")]
    Repository(String),
}

impl From<git2::Error> for WriteError {
    fn from(error: git2::Error) -> Self {
        tracing::debug!(%error, "libgit2 refused");
        Self::Repository(format!("{:?}, {:?}", error.class(), error.code()))
    }
}

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self::Repository(error.kind().to_string())
    }
}

/// A commit that no branch leads to yet.
pub struct Draft {
    git_directory: PathBuf,
    reference: String,
    parent: Option<Oid>,
    commit: Oid,
    /// The repository's own place, where it is a new one.
    beside: Option<Beside>,
}

/// The short name of the branch that `HEAD` leads to. None if it leads to a commit.
///
/// # Errors
/// When the repository cannot be read.
pub fn head_branch(path: &Path) -> Result<Option<String>, WriteError> {
    let repository = open(path)?;
    let head = repository.find_reference("HEAD")?;
    Ok(super::lookup::branch_of(&head).map(str::to_owned))
}

impl Draft {
    /// Commits all files of a branch, in place of those that it has. A repository is made where there is none.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn write(
        path: &Path,
        branch: &str,
        files: &Files,
        subject: &str,
    ) -> Result<Self, WriteError> {
        library::prepare();
        let reference = format!("refs/heads/{branch}");
        if !labels::is_name(branch) || !Reference::is_valid_name(&reference) {
            return Err(WriteError::Name(branch.to_owned()));
        }
        if super::is_repository(path) {
            return Self::in_repository(find_in(path)?, reference, None, files, subject);
        }
        let beside = Beside::of(path)?;
        let place = beside.path();
        copy::make(&place).map_err(WriteError::Repository)?;
        copy::point_head(&place, &reference).map_err(WriteError::Repository)?;
        Self::in_repository(place, reference, Some(beside), files, subject)
    }

    fn in_repository(
        git_directory: PathBuf,
        reference: String,
        beside: Option<Beside>,
        files: &Files,
        subject: &str,
    ) -> Result<Self, WriteError> {
        let repository = Repository::open(&git_directory)?;
        if is_checked_out(&repository, &reference)? {
            return Err(WriteError::CheckedOut(branch_of(&reference)));
        }
        let parent = match repository.find_reference(&reference) {
            Ok(found) => Some(found.peel_to_commit()?),
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let commit = in_one_pack(&repository, |repository| {
            let tree = repository.find_tree(tree(repository, &nested(files))?)?;
            let signature = Signature::now(NAME, EMAIL)?;
            let parents: Vec<_> = parent.iter().collect();
            repository.commit(None, &signature, &signature, subject, &tree, &parents)
        })?;
        let parent = parent.map(|parent| parent.id());
        Ok(Self { git_directory, reference, parent, commit, beside })
    }

    /// Where the repository is for now.
    pub fn path(&self) -> &Path {
        &self.git_directory
    }

    /// The full id of the commit.
    pub fn commit(&self) -> String {
        self.commit.to_string()
    }

    /// Moves the branch, and returns when that will survive a power cut.
    ///
    /// # Errors
    /// When somebody else has moved it, or it cannot be written; then it leads to what it led to.
    pub fn publish(self) -> Result<(), WriteError> {
        let repository = Repository::open(&self.git_directory)?;
        // A branch must not be durable before what it leads to.
        sync(&self.git_directory)?;
        let (name, log) = (&self.reference, "copied");
        let moved = match self.parent {
            None => repository.reference(name, self.commit, false, log),
            Some(parent) => repository.reference_matching(name, self.commit, true, parent, log),
        };
        match moved {
            Ok(_) => {}
            Err(error) if matches!(error.code(), ErrorCode::Exists | ErrorCode::Modified) => {
                return Err(WriteError::Moved(branch_of(name)));
            }
            Err(error) => return Err(error.into()),
        }
        match self.beside {
            None => Ok(sync(&self.git_directory)?),
            Some(beside) => Ok(beside.take_place(Standing::Keep)?),
        }
    }
}

fn open(path: &Path) -> Result<Repository, WriteError> {
    library::prepare();
    Ok(Repository::open(find_in(path)?)?)
}

fn find_in(path: &Path) -> Result<PathBuf, WriteError> {
    find(path).map_err(|error| WriteError::Repository(error.to_string()))
}

fn branch_of(reference: &str) -> String {
    reference.trim_start_matches("refs/heads/").to_owned()
}

/// Whether a work tree of this repository, or one that is linked to it, shows the branch.
fn is_checked_out(repository: &Repository, reference: &str) -> Result<bool, git2::Error> {
    let shows = |repository: &Repository| -> Result<bool, git2::Error> {
        let head = repository.find_reference("HEAD")?;
        Ok(head.symbolic_target_bytes() == Some(reference.as_bytes()))
    };
    if !repository.is_bare() && shows(repository)? {
        return Ok(true);
    }
    for name in repository.worktrees()?.iter().flatten().flatten() {
        let linked = Repository::open_from_worktree(&repository.find_worktree(name)?);
        // One whose directory is gone shows nothing.
        if let Ok(linked) = linked
            && shows(&linked)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes all new objects into one pack instead of a file for each.
fn in_one_pack<T>(
    repository: &Repository,
    write: impl FnOnce(&Repository) -> Result<T, git2::Error>,
) -> Result<T, WriteError> {
    let odb = repository.odb()?;
    let held = odb.add_new_mempack_backend(FIRST)?;
    let written = write(repository)?;
    let mut pack = Buf::new();
    held.dump(repository, &mut pack)?;
    let mut writer = odb.packwriter()?;
    writer.write_all(&pack)?;
    writer.commit()?;
    Ok(written)
}

/// The names in a directory.
#[derive(Default)]
struct Directory<'a>(BTreeMap<&'a str, Item<'a>>);

enum Item<'a> {
    Directory(Directory<'a>),
    Content(&'a Content),
}

fn nested(files: &Files) -> Directory<'_> {
    let mut root = Directory::default();
    for (path, content) in files {
        let mut directory = &mut root;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                directory.0.insert(name, Item::Content(content));
                break;
            }
            let item =
                directory.0.entry(name).or_insert_with(|| Item::Directory(Directory::default()));
            match item {
                Item::Directory(below) => directory = below,
                // In no tree does anything lie in a file.
                Item::Content(_) => break,
            }
        }
    }
    root
}

fn tree(repository: &Repository, directory: &Directory<'_>) -> Result<Oid, git2::Error> {
    let mut builder = repository.treebuilder(None)?;
    for (name, item) in &directory.0 {
        let (id, mode) = match item {
            Item::Directory(below) => (tree(repository, below)?, FileMode::Tree),
            Item::Content(Content::File(bytes)) => (repository.blob(bytes)?, FileMode::Blob),
            Item::Content(Content::Link(target)) => (repository.blob(target)?, FileMode::Link),
        };
        builder.insert(*name, id, mode.into())?;
    }
    builder.write()
}
