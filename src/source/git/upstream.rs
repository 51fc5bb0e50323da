//! The remote that a repository was cloned from, as its configuration names it.

use std::path::Path;

use git2::Repository;

use super::{find, library, refusal};
use crate::source::OpenError;
use crate::source::remote::Remote;

/// The remote that is used where a repository has several, as by Spring Cloud Config Server.
const ORIGIN: &str = "origin";

/// The address of the remote that the repository at a path was cloned from. It may contain a password.
///
/// # Errors
/// When the repository is missing, cannot be read, or has no remote.
pub fn upstream_address(path: &Path) -> Result<String, OpenError> {
    library::prepare();
    let refused = |error: git2::Error| refusal(path, &error);
    let repository = Repository::open_bare(find(path)?).map_err(refused)?;
    let found = Upstream::of(&repository).map_err(refused)?;
    let found = found.filter(Upstream::is_fetchable);
    found.map(|upstream| upstream.absolute(&repository)).ok_or_else(|| OpenError::Refused {
        path: path.to_owned(),
        reason: "follow_origin requires a remote: the repository has neither origin nor exactly one other remote"
            .to_owned(),
    })
}

/// The remote of a clone. Its branches are below `refs/remotes/<name>/`, unless the clone is a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) name: String,
    /// The configured address, which may contain a password and may be empty.
    address: String,
}

impl Upstream {
    /// Reads `origin` or, where there is none, the only remote.
    pub(super) fn of(repository: &Repository) -> Result<Option<Self>, git2::Error> {
        let names = repository.remotes()?;
        let names: Vec<&str> = names.iter().flatten().flatten().collect();
        let name = match names.as_slice() {
            names if names.contains(&ORIGIN) => ORIGIN,
            [only] => only,
            _ => return Ok(None),
        };
        // A remote without an address does not make the repository unusable.
        let address = repository
            .find_remote(name)
            .map(|remote| String::from_utf8_lossy(remote.url_bytes()).into_owned());
        Ok(Some(Self { name: name.to_owned(), address: address.unwrap_or_default() }))
    }

    /// Returns whether it has an address.
    pub(super) fn is_fetchable(&self) -> bool {
        !self.address.is_empty()
    }

    /// The address in brackets, unless it contains credentials or is a path of this machine.
    pub(super) fn shown(&self) -> String {
        match Remote::parse(&self.address) {
            Ok(remote) if remote.host.is_some() => format!(" ({})", self.address),
            _ => String::new(),
        }
    }

    /// The prefix of its branches.
    pub(super) fn branches(&self) -> String {
        format!("refs/remotes/{}/", self.name)
    }

    /// The address. As in git, a relative path begins at the work tree, or at a bare repository itself.
    fn absolute(&self, repository: &Repository) -> String {
        let is_path = !Remote::is_meant(&self.address) && !self.address.starts_with("file:");
        let git_directory = repository.commondir();
        let is_in_work_tree = git_directory.file_name().is_some_and(|name| name == ".git");
        let work_tree = git_directory.parent().filter(|_| is_in_work_tree);
        let base = work_tree.unwrap_or(git_directory);
        match base.join(&self.address).to_str() {
            Some(path) if is_path => path.to_owned(),
            _ => self.address.clone(),
        }
    }
}
