//! The commits of a push before they are accepted. Their objects are in git's quarantine, beside the repository.
//!
//! A hook finds the quarantine in `GIT_OBJECT_DIRECTORY`. This module only reads: git adds accepted commits to the
//! repository after the check.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ErrorCode, Oid, Repository};

use super::history::FirstParents;
use super::lookup::Lookup;
use super::pool::{Pool, content_id};
use super::{GitSource, MovedReference, Rewind, RewindRecord, find, label, rewinds};
use crate::areas::Areas;
use crate::model::Revision;
use crate::snapshot::{Layout, Member, MemberHolds, Rewinds, Snapshot};
use crate::source::{OpenError, SourceError};
use crate::tree::ObjectCache;

/// A repository together with objects that are not in it yet.
pub struct Incoming {
    layout: Arc<Layout>,
    pub(super) pool: Arc<Pool>,
    cache: Arc<ObjectCache>,
}

impl Incoming {
    /// Opens the repository at a path with further directories of objects, as git names them to its hooks.
    ///
    /// # Errors
    /// When the repository is missing or cannot be read.
    pub fn open(
        path: &Path,
        object_directories: Vec<PathBuf>,
        layout: Arc<Layout>,
    ) -> Result<Self, OpenError> {
        let pool = Pool::open_with(find(path)?, object_directories);
        let pool = Arc::new(pool.map_err(|error| super::refusal(path, &error))?);
        Ok(Self { layout, cache: ObjectCache::new(Arc::clone(&pool) as Arc<_>), pool })
    }

    /// The snapshot of the commit with this full id, as `label` will serve it. `None` if there is no such commit: for
    /// an id of zeroes, which marks a created or deleted reference, and for an object of another type.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn snapshot(&self, commit: &str, label: &str) -> Result<Option<Snapshot>, SourceError> {
        Ok(self.member(commit, label)?.map(|member| Snapshot::new(vec![member])))
    }

    /// The only member of [`Incoming::snapshot`], which can replace another member in a snapshot.
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
            areas: Areas::default(),
            group: 0,
            layout: Arc::clone(&self.layout),
            revision: Revision::new(commit),
            label: Some(label.into()),
            overlays: Vec::new(),
            tree: self.cache.tree(content_id(tree)),
            history: Some(Arc::new(FirstParents {
                pool: Arc::clone(&self.pool),
                cache: Arc::clone(&self.cache),
                tip: id,
            })),
            rewinds: Rewinds::default(),
            holds: MemberHolds::default(),
            made_seconds: Some(made_seconds),
            // The author is reported when the commit is published.
            commit: None,
        }))
    }

    /// The id of the commit to which an object peels: the commit itself, or the target of a tag. `None` for another
    /// object.
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

    /// Returns whether `new` is `old` or descends from it. Both are full ids of commits.
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

    /// The labels that these moves rewind. `record` is the record before the moves, and `published` returns the object
    /// of a reference before the moves.
    ///
    /// # Errors
    /// As for [`Incoming::snapshot`].
    pub fn rewinds(
        &self,
        moves: &[MovedReference],
        record: Option<&RewindRecord>,
        published: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Rewind>, SourceError> {
        let found =
            self.pool.with(|repository| Ok(rewinds::find(repository, moves, record, &published)));
        found.map_err(|error| self.unavailable(&error))
    }

    /// The rules by which its files are found and named.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The id of the commit of `HEAD`, with which a new branch is compared. `None` in an empty repository.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn head(&self) -> Result<Option<String>, SourceError> {
        let head =
            self.pool.with(|repository| label::resolve_head(repository, &Lookup::Repository(None)));
        let head = head.map_err(|error| self.unavailable(&error))?;
        Ok(head.map(|found| found.commit.to_string()))
    }

    /// Reads the repository together with the further objects.
    pub(super) fn read<T>(
        &self,
        read: impl FnMut(&Repository) -> Result<T, git2::Error>,
    ) -> Result<T, SourceError> {
        self.pool.with(read).map_err(|error| self.unavailable(&error))
    }

    pub(super) fn unavailable(&self, error: &git2::Error) -> SourceError {
        unavailable(&self.layout.base, error)
    }
}

impl GitSource {
    /// The content of a push to this repository. It shares the cache of this source, so that unchanged files are not
    /// read again. The check of a push holds its snapshot until it is published, so that serving it reads no file again
    /// either.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn incoming(&self, object_directories: Vec<PathBuf>) -> Result<Incoming, SourceError> {
        let layout = Arc::clone(&self.inner.options.layout);
        let pool = Pool::open_with(self.inner.pool.git_directory().to_owned(), object_directories);
        let pool = Arc::new(pool.map_err(|error| unavailable(&layout.base, &error))?);
        let cache = self.inner.cache.with_objects(Arc::clone(&pool) as Arc<_>);
        Ok(Incoming { layout, pool, cache })
    }
}

fn tree_of(repository: &Repository, id: Oid) -> Result<Option<(Oid, i64)>, git2::Error> {
    match repository.find_commit(id) {
        Ok(commit) => Ok(Some((commit.tree_id(), commit.time().seconds()))),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Converts an error of libgit2, whose own message may contain paths and goes to the debug log only.
pub(super) fn unavailable(name: &str, error: &git2::Error) -> SourceError {
    tracing::debug!(source = name, error = %error, "libgit2 refused");
    SourceError::Unavailable {
        name: name.to_owned(),
        message: format!("the git repository cannot be read ({:?})", error.class()),
    }
}
