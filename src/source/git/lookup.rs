//! What the references of a repository stand for: as it says itself or, where this server hosts it, as was published.

use git2::{ErrorCode, ObjectType, Oid, Reference, Repository};

use super::published::Published;

/// Where references are looked up.
pub(super) enum Lookup {
    /// In the repository, each time.
    Repository,
    /// Among those that are durable.
    Published(Published),
}

/// What `HEAD` leads to.
pub(super) enum Head {
    /// A branch, by its short name; it may not be there.
    Branch(String),
    /// A commit that was checked out without a branch.
    Commit(Oid),
}

impl Lookup {
    /// The commit behind a reference; none if it is not there, or leads to a file or a directory.
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
            Self::Repository => match repository.find_reference(name) {
                Ok(reference) => commit_of(&reference),
                Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// What `HEAD` leads to; none if there is no `HEAD`, or it leads nowhere.
    pub(super) fn head(&self, repository: &Repository) -> Result<Option<Head>, git2::Error> {
        if let Self::Published(published) = self {
            return Ok(Some(Head::Branch(published.head().to_owned())));
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
            Self::Repository => {
                for glob in ["refs/heads/*", "refs/tags/*"] {
                    for reference in repository.references_glob(glob)? {
                        // A tag may point to a file, a branch to nothing any more.
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

/// The short name of the branch that a symbolic reference leads to.
pub(super) fn branch_of<'a>(head: &'a Reference<'_>) -> Option<&'a str> {
    let target = head.symbolic_target_bytes()?;
    std::str::from_utf8(target).ok()?.strip_prefix("refs/heads/")
}

/// The commit behind a reference; none if it leads to a file or a directory, or to a reference that is not there.
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
