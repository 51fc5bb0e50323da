//! What a push brings and nothing serves yet: commits whose objects lie in git's quarantine, beside the repository.
//!
//! A hook finds the quarantine in `GIT_OBJECT_DIRECTORY`. Nothing here moves a reference or writes anything; which of these
//! commits become part of the repository is for git to do, once they were judged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ErrorCode, Oid, Repository};

use super::history::FirstParents;
use super::lookup::Lookup;
use super::pool::{Pool, content_id};
use super::{GitSource, find, label};
use crate::model::Revision;
use crate::snapshot::{Layout, Member, Snapshot};
use crate::source::{OpenError, SourceError};
use crate::tree::Shelf;

/// A repository together with objects that are not in it yet.
pub struct Incoming {
    layout: Arc<Layout>,
    pool: Arc<Pool>,
    shelf: Arc<Shelf>,
}

impl Incoming {
    /// Opens the repository at a path with further directories of objects, as git names them to its hooks.
    ///
    /// # Errors
    /// When there is no repository, or none that can be read.
    pub fn open(
        path: &Path,
        object_directories: Vec<PathBuf>,
        layout: Arc<Layout>,
    ) -> Result<Self, OpenError> {
        let pool = Pool::open_with(find(path)?, object_directories);
        let pool = Arc::new(pool.map_err(|error| super::refusal(path, &error))?);
        Ok(Self { layout, shelf: Shelf::new(Arc::clone(&pool) as Arc<_>), pool })
    }

    /// The commit with this full id, as `label` will lead to it. `None` if there is no such commit: an id of zeroes, which
    /// stands for a reference that is made or deleted, or an object that is no commit.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn snapshot(&self, commit: &str, label: &str) -> Result<Option<Snapshot>, SourceError> {
        Ok(self.member(commit, label)?.map(|member| Snapshot::new(vec![member])))
    }

    /// The same as one member, to take the place of another one in a snapshot.
    ///
    /// # Errors
    /// As for [`Incoming::snapshot`].
    pub fn member(&self, commit: &str, label: &str) -> Result<Option<Member>, SourceError> {
        let Ok(id) = Oid::from_str(commit) else {
            return Ok(None);
        };
        let found = self.pool.with(|repository| tree_of(repository, id));
        let found = found.map_err(|error| self.unavailable(&error))?;
        Ok(found.map(|(tree, made_seconds)| Member {
            group: 0,
            layout: Arc::clone(&self.layout),
            revision: Revision::new(commit),
            label: Some(label.into()),
            overlays: Vec::new(),
            tree: self.shelf.tree(content_id(tree)),
            history: Some(Arc::new(FirstParents {
                pool: Arc::clone(&self.pool),
                shelf: Arc::clone(&self.shelf),
                tip: id,
            })),
            made_seconds: Some(made_seconds),
            // Who made it is told once it is published.
            commit: None,
        }))
    }

    /// The commit that an object is or, as a tag, leads to. None if it leads to something else.
    ///
    /// # Errors
    /// As for [`Incoming::snapshot`].
    pub fn commit(&self, id: &str) -> Result<Option<String>, SourceError> {
        let Ok(id) = Oid::from_str(id) else {
            return Ok(None);
        };
        let peeled = self.pool.with(|repository| {
            let object = repository.find_object(id, None)?;
            Ok(object.peel_to_commit().ok().map(|commit| commit.id().to_string()))
        });
        peeled.map_err(|error| self.unavailable(&error))
    }

    /// Whether one commit follows another one, both given by their full ids.
    ///
    /// # Errors
    /// As for [`Incoming::snapshot`].
    pub fn follows(&self, new: &str, old: &str) -> Result<bool, SourceError> {
        let (Ok(new), Ok(old)) = (Oid::from_str(new), Oid::from_str(old)) else {
            return Ok(false);
        };
        let follows = self.pool.with(|repository| repository.graph_descendant_of(new, old));
        Ok(new == old || follows.map_err(|error| self.unavailable(&error))?)
    }

    /// How its files are found and named.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The id of the commit that `HEAD` leads to: what a branch that is made is compared with. None in an empty repository.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn head(&self) -> Result<Option<String>, SourceError> {
        let head =
            self.pool.with(|repository| label::resolve_head(repository, &Lookup::Repository));
        let head = head.map_err(|error| self.unavailable(&error))?;
        Ok(head.map(|found| found.commit.to_string()))
    }

    fn unavailable(&self, error: &git2::Error) -> SourceError {
        unavailable(&self.layout.base, error)
    }
}

impl GitSource {
    /// What a push to this repository brings. Files that are the same are not read again, and what is read of the new ones
    /// need not be read again when they are served: whoever judges a push holds its snapshot until it is published.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn incoming(&self, object_directories: Vec<PathBuf>) -> Result<Incoming, SourceError> {
        let layout = Arc::clone(&self.inner.options.layout);
        let pool = Pool::open_with(self.inner.pool.git_directory().to_owned(), object_directories);
        let pool = Arc::new(pool.map_err(|error| unavailable(&layout.base, &error))?);
        let shelf = self.inner.shelf.beside(Arc::clone(&pool) as Arc<_>);
        Ok(Incoming { layout, pool, shelf })
    }
}

fn tree_of(repository: &Repository, id: Oid) -> Result<Option<(Oid, i64)>, git2::Error> {
    match repository.find_commit(id) {
        Ok(commit) => Ok(Some((commit.tree_id(), commit.time().seconds()))),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// libgit2 puts paths of the machine into its messages; those are for the log.
pub(super) fn unavailable(name: &str, error: &git2::Error) -> SourceError {
    tracing::debug!(source = name, error = %error, "libgit2 refused");
    SourceError::Unavailable {
        name: name.to_owned(),
        message: format!("the git repository cannot be read ({:?})", error.class()),
    }
}
