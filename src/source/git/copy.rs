//! What a copy of a remote needs of a repository: to be made, to say where its references stand, and a `HEAD` that follows.

use std::collections::BTreeMap;
use std::path::Path;

use git2::{ErrorCode, Repository, RepositoryInitOptions};

use super::library;

/// The references that clients can ask for, and the branch of `HEAD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct Standing {
    /// `refs/heads/…` and `refs/tags/…` with what they point to, in hexadecimal; a tag with the id of its own object.
    pub(in crate::source) references: BTreeMap<String, String>,
    /// `refs/heads/…`, whether it is there or not.
    pub(in crate::source) head: Option<String>,
}

/// Makes an empty bare repository.
///
/// # Errors
/// What libgit2 said, without paths.
pub(in crate::source) fn make(path: &Path) -> Result<(), String> {
    library::prepare();
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false).initial_head("main");
    Repository::init_opts(path, &options).map(drop).map_err(|error| class(&error))
}

/// Reads where the references stand.
///
/// # Errors
/// As for [`make`].
pub(in crate::source) fn standing(path: &Path) -> Result<Standing, String> {
    library::prepare();
    read(path).map_err(|error| class(&error))
}

/// Points `HEAD` to a branch.
///
/// # Errors
/// As for [`make`].
pub(in crate::source) fn point_head(path: &Path, branch: &str) -> Result<(), String> {
    library::prepare();
    let pointed = Repository::open_bare(path)
        .and_then(|repository| repository.reference_symbolic("HEAD", branch, true, "").map(drop));
    pointed.map_err(|error| class(&error))
}

/// Takes references away; one that is gone already is no failure.
///
/// # Errors
/// As for [`make`].
pub(in crate::source) fn remove(path: &Path, names: &[String]) -> Result<(), String> {
    library::prepare();
    let remove = || {
        let repository = Repository::open_bare(path)?;
        for name in names {
            match repository.find_reference(name).and_then(|mut reference| reference.delete()) {
                Err(error) if error.code() != ErrorCode::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    remove().map_err(|error: git2::Error| class(&error))
}

/// Whether a branch or a tag can have this name.
pub(in crate::source) fn may_be_reference(name: &str) -> bool {
    git2::Reference::is_valid_name(&format!("refs/heads/{name}"))
}

fn read(path: &Path) -> Result<Standing, git2::Error> {
    let repository = Repository::open_bare(path)?;
    let mut references = BTreeMap::new();
    for glob in ["refs/heads/*", "refs/tags/*"] {
        for reference in repository.references_glob(glob)? {
            let reference = reference?;
            let name = std::str::from_utf8(reference.name_bytes());
            if let (Ok(name), Some(id)) = (name, reference.target()) {
                references.insert(name.to_owned(), id.to_string());
            }
        }
    }
    let head = match repository.find_reference("HEAD") {
        Ok(head) => head
            .symbolic_target_bytes()
            .and_then(|target| std::str::from_utf8(target).ok())
            .map(str::to_owned),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Standing { references, head })
}

fn class(error: &git2::Error) -> String {
    tracing::debug!(error = %error, "libgit2 refused");
    format!("the copy cannot be read or written ({:?})", error.class())
}
