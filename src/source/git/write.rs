//! Writing the files of another source as a commit. The objects come first, then the branch moves, unless it was moved
//! concurrently. A new repository is made beside its target and moved into place.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{Buf, ErrorCode, FileMode, Oid, Reference, Repository, Signature};

use super::{copy, find, library};
use crate::source::atomic_replace::{Overwrite, Replacement, sync};
use crate::source::files::{Content, Files};
use crate::source::labels;

/// The name of the committer.
const NAME: &str = "Headwater";
/// The e-mail address of the committer.
const EMAIL: &str = "headwater@localhost";
/// The priority of the in-memory pack, above all other object stores.
const FIRST: i32 = 1_000;

/// The reasons for which nothing is committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitWriteError {
    /// The name is not valid for a branch.
    #[error("{0:?} is not a valid name of a branch")]
    Name(String),
    /// A work tree has checked out the branch and would become stale.
    #[error(
        "branch {0} is checked out in a work tree, and nothing was copied: choose another branch with --to-label, or a bare repository"
    )]
    CheckedOut(String),
    /// Another writer moved the branch first.
    #[error("branch {0} was moved concurrently, and nothing was copied. Try again")]
    Moved(String),
    /// The repository cannot be written.
    #[error("the repository cannot be written: {0}")]
    Repository(String),
}

impl From<git2::Error> for CommitWriteError {
    fn from(error: git2::Error) -> Self {
        tracing::debug!(%error, "libgit2 failed");
        Self::Repository(format!("{:?}, {:?}", error.class(), error.code()))
    }
}

impl From<std::io::Error> for CommitWriteError {
    fn from(error: std::io::Error) -> Self {
        Self::Repository(error.kind().to_string())
    }
}

/// A commit that no branch references yet.
pub struct CommitDraft {
    git_directory: PathBuf,
    reference: String,
    parent: Option<Oid>,
    commit: Oid,
    /// The pending move of a new repository into place.
    replacement: Option<Replacement>,
}

/// The short name of the branch that `HEAD` references. `None` for a detached `HEAD`.
///
/// # Errors
/// When the repository cannot be read.
pub fn head_branch(path: &Path) -> Result<Option<String>, CommitWriteError> {
    let repository = open(path)?;
    let head = repository.find_reference("HEAD")?;
    Ok(super::reference::branch_of(&head).map(str::to_owned))
}

impl CommitDraft {
    /// Commits files as the complete content of a branch. Makes a repository where there is none.
    ///
    /// # Errors
    /// See [`CommitWriteError`].
    pub fn write(
        path: &Path,
        branch: &str,
        files: &Files,
        subject: &str,
    ) -> Result<Self, CommitWriteError> {
        library::prepare();
        let reference = format!("refs/heads/{branch}");
        if !labels::is_name(branch) || !Reference::is_valid_name(&reference) {
            return Err(CommitWriteError::Name(branch.to_owned()));
        }
        if super::is_repository(path) {
            return Self::in_repository(find_in(path)?, reference, None, files, subject);
        }
        let replacement = Replacement::of(path)?;
        let place = replacement.path();
        copy::make(&place).map_err(CommitWriteError::Repository)?;
        copy::point_head(&place, &reference).map_err(CommitWriteError::Repository)?;
        Self::in_repository(place, reference, Some(replacement), files, subject)
    }

    fn in_repository(
        git_directory: PathBuf,
        reference: String,
        replacement: Option<Replacement>,
        files: &Files,
        subject: &str,
    ) -> Result<Self, CommitWriteError> {
        let repository = Repository::open(&git_directory)?;
        if is_checked_out(&repository, &reference)? {
            return Err(CommitWriteError::CheckedOut(branch_of(&reference)));
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
        Ok(Self { git_directory, reference, parent, commit, replacement })
    }

    /// The present path of the repository, before it is published.
    pub fn path(&self) -> &Path {
        &self.git_directory
    }

    /// The full id of the commit.
    pub fn commit(&self) -> String {
        self.commit.to_string()
    }

    /// Moves the branch, and returns when that survives a power failure.
    ///
    /// # Errors
    /// When the branch was moved concurrently, or cannot be written. The branch is unchanged then.
    pub fn publish(self) -> Result<(), CommitWriteError> {
        let repository = Repository::open(&self.git_directory)?;
        // A branch must not be durable before its objects.
        sync(&self.git_directory)?;
        let (name, log) = (&self.reference, "copied");
        let moved = match self.parent {
            None => repository.reference(name, self.commit, false, log),
            Some(parent) => repository.reference_matching(name, self.commit, true, parent, log),
        };
        match moved {
            Ok(_) => {}
            Err(error) if matches!(error.code(), ErrorCode::Exists | ErrorCode::Modified) => {
                return Err(CommitWriteError::Moved(branch_of(name)));
            }
            Err(error) => return Err(error.into()),
        }
        match self.replacement {
            None => Ok(sync(&self.git_directory)?),
            Some(replacement) => Ok(replacement.publish(Overwrite::Never)?),
        }
    }
}

fn open(path: &Path) -> Result<Repository, CommitWriteError> {
    library::prepare();
    Ok(Repository::open(find_in(path)?)?)
}

fn find_in(path: &Path) -> Result<PathBuf, CommitWriteError> {
    find(path).map_err(|error| CommitWriteError::Repository(error.to_string()))
}

fn branch_of(reference: &str) -> String {
    reference.trim_start_matches("refs/heads/").to_owned()
}

/// Returns whether the work tree of this repository, or a linked one, has checked out the branch.
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
        // A linked work tree whose directory is gone is ignored.
        if let Ok(linked) = linked
            && shows(&linked)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes all new objects into one pack instead of one file each.
fn in_one_pack<T>(
    repository: &Repository,
    write: impl FnOnce(&Repository) -> Result<T, git2::Error>,
) -> Result<T, CommitWriteError> {
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

/// The entries of a directory by name.
#[derive(Default)]
struct NestedDirectory<'a>(BTreeMap<&'a str, NestedEntry<'a>>);

enum NestedEntry<'a> {
    Directory(NestedDirectory<'a>),
    Content(&'a Content),
}

fn nested(files: &Files) -> NestedDirectory<'_> {
    let mut root = NestedDirectory::default();
    for (path, content) in files {
        let mut directory = &mut root;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                directory.0.insert(name, NestedEntry::Content(content));
                break;
            }
            let item = directory
                .0
                .entry(name)
                .or_insert_with(|| NestedEntry::Directory(NestedDirectory::default()));
            match item {
                NestedEntry::Directory(below) => directory = below,
                // A tree never has an entry below a file.
                NestedEntry::Content(_) => break,
            }
        }
    }
    root
}

fn tree(repository: &Repository, directory: &NestedDirectory<'_>) -> Result<Oid, git2::Error> {
    let mut builder = repository.treebuilder(None)?;
    for (name, item) in &directory.0 {
        let (id, mode) = match item {
            NestedEntry::Directory(below) => (tree(repository, below)?, FileMode::Tree),
            NestedEntry::Content(Content::File(bytes)) => (repository.blob(bytes)?, FileMode::Blob),
            NestedEntry::Content(Content::Link(target)) => {
                (repository.blob(target)?, FileMode::Link)
            }
        };
        builder.insert(*name, id, mode.into())?;
    }
    builder.write()
}
