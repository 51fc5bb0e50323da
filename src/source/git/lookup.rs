//! Lookup of references: in the repository itself, or among the published references of a hosted repository or a copy.

use std::sync::Arc;

use git2::{ErrorCode, ObjectType, Oid, Reference, Repository};

use super::published::{Custody, Published, Table};
use super::reference::branch_of;
use super::upstream::Upstream;

/// The place in which references are looked up.
pub(super) enum Lookup {
    /// The repository itself, read each time. For a clone, also the branches of its remote.
    Repository(Option<Upstream>),
    /// The published references, which are durable.
    Published(Published),
}

/// The target of `HEAD`.
pub(super) enum Head {
    /// A branch, by its short name. It may be missing.
    Branch(String),
    /// A commit that was checked out without a branch.
    Commit(Oid),
}

impl Lookup {
    /// The references of a repository, and of the remote that it was cloned from.
    pub(super) fn repository(repository: &Repository) -> Result<Self, git2::Error> {
        Ok(Self::Repository(Upstream::of(repository)?))
    }

    /// The remote that the repository was cloned from.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        match self {
            Self::Repository(upstream) => upstream.as_ref(),
            Self::Published(_) => None,
        }
    }

    /// The published references. `None` for a repository whose references the server does not publish.
    pub(super) fn table(&self) -> Option<Arc<Table>> {
        match self {
            Self::Repository(_) => None,
            Self::Published(published) => Some(published.table()),
        }
    }

    /// Returns whether the repository is a copy of a remote, which the server can delete and fetch again.
    pub(super) fn is_copy(&self) -> bool {
        matches!(self, Self::Published(published) if published.custody == Custody::Copy)
    }

    /// The prefixes of branches, highest precedence first.
    pub(super) fn branch_prefixes(&self) -> Vec<String> {
        let local = "refs/heads/".to_owned();
        std::iter::once(local).chain(self.upstream().map(Upstream::branches)).collect()
    }

    /// The references whose short names are labels.
    fn label_globs(&self) -> Vec<String> {
        let prefixes = self.branch_prefixes().into_iter().chain(["refs/tags/".to_owned()]);
        prefixes.map(|prefix| format!("{prefix}*")).collect()
    }

    /// The commit of a reference. `None` if the reference is missing, or if its target is a file or a directory.
    pub(super) fn commit(
        &self,
        repository: &Repository,
        name: &str,
    ) -> Result<Option<Oid>, git2::Error> {
        match self {
            Self::Published(published) => match published.id(name) {
                Some(id) => peeled(repository.find_object(id, None)?.peel(ObjectType::Commit)),
                None => Ok(None),
            },
            Self::Repository(_) => match repository.find_reference(name) {
                Ok(reference) => commit_of(&reference),
                Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// The target of `HEAD`. `None` if `HEAD` is missing, or has neither a branch nor a commit.
    pub(super) fn head(&self, repository: &Repository) -> Result<Option<Head>, git2::Error> {
        if let Self::Published(published) = self {
            return Ok(Some(Head::Branch(published.head())));
        }
        let head = match repository.find_reference("HEAD") {
            Ok(head) => head,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match branch_of(&head) {
            Some(branch) => Ok(Some(Head::Branch(branch.to_owned()))),
            None => Ok(commit_of(&head)?.map(Head::Commit)),
        }
    }

    /// The full names of all branches and tags with names in UTF-8.
    pub(super) fn names(&self, repository: &Repository) -> Result<Vec<String>, git2::Error> {
        if let Self::Published(published) = self {
            return Ok(published.all().into_keys().collect());
        }
        let mut names = Vec::new();
        for glob in self.label_globs() {
            for reference in repository.references_glob(&glob)? {
                names.extend(reference?.name().ok().map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// The commits that branches and tags point to, sorted.
    pub(super) fn tips(&self, repository: &Repository) -> Result<Vec<Oid>, git2::Error> {
        let mut tips = Vec::new();
        match self {
            Self::Published(published) => {
                for id in published.ids() {
                    let found = repository.find_object(id, None)?.peel(ObjectType::Commit);
                    tips.extend(peeled(found)?);
                }
            }
            Self::Repository(_) => {
                for glob in self.label_globs() {
                    for reference in repository.references_glob(&glob)? {
                        // A tag may point to a file, and a broken branch to a missing object.
                        if let Ok(commit) = reference?.peel_to_commit() {
                            tips.push(commit.id());
                        }
                    }
                }
            }
        }
        tips.sort_unstable();
        tips.dedup();
        Ok(tips)
    }
}

/// The commit of a reference. `None` for a file or a directory, or if the target of a symbolic reference is missing.
fn commit_of(reference: &Reference<'_>) -> Result<Option<Oid>, git2::Error> {
    match reference.resolve() {
        Ok(reference) => peeled(reference.peel(ObjectType::Commit)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn peeled(found: Result<git2::Object<'_>, git2::Error>) -> Result<Option<Oid>, git2::Error> {
    match found {
        Ok(object) => Ok(Some(object.id())),
        Err(error) if matches!(error.code(), ErrorCode::Peel | ErrorCode::InvalidSpec) => Ok(None),
        Err(error) => Err(error),
    }
}
