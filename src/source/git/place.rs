//! Location of a repository: the directory with its `HEAD`, found from the configured path.

use std::path::{Path, PathBuf};

use git2::ErrorClass;

use crate::regular_file;
use crate::source::OpenError;

/// The largest `.git` file of a linked work tree, in bytes.
const LINK_BYTES_MAX: u64 = 64 * 1024;

/// Returns whether a directory is a repository, bare or with a `.git`.
pub fn is_repository(path: &Path) -> bool {
    path.join(".git").exists()
        || (path.join("HEAD").is_file()
            && path.join("objects").is_dir()
            && path.join("refs").is_dir())
}

/// The directory with the `HEAD` of the repository at a path.
pub fn git_directory_of(path: &Path) -> Option<PathBuf> {
    find(path).ok()
}

/// The directory with the `HEAD` of the repository at a path.
///
/// # Errors
/// When the repository is missing or cannot be read.
pub(super) fn find(path: &Path) -> Result<PathBuf, OpenError> {
    let unreadable = |error: std::io::Error| OpenError::unreadable(path, &error);
    let path_absolute = std::path::absolute(path).map_err(unreadable)?;
    let dot_git = path_absolute.join(".git");
    match std::fs::metadata(&dot_git) {
        Ok(found) if found.is_dir() => Ok(dot_git),
        Ok(_) => {
            let text = regular_file::read_text(&dot_git, LINK_BYTES_MAX).map_err(unreadable)?;
            match text.trim_end().strip_prefix("gitdir: ") {
                Some(linked) => Ok(path_absolute.join(linked)),
                None => Err(OpenError::NotARepository(path.to_owned())),
            }
        }
        Err(_) if is_repository(&path_absolute) => Ok(path_absolute),
        Err(_) => match std::fs::metadata(&path_absolute) {
            Ok(_) => Err(OpenError::NotARepository(path.to_owned())),
            Err(error) => Err(unreadable(error)),
        },
    }
}

/// Describes, for the operator, the reason for which libgit2 does not open a repository.
pub(super) fn refusal(path: &Path, error: &git2::Error) -> OpenError {
    let message = error.message();
    let reason = if message.contains("refstorage") {
        "its references are stored as reftable, which libgit2 cannot read: \
         `git refs migrate --ref-format=files` converts it"
            .to_owned()
    } else if message.contains("object format") || message.contains("objectformat") {
        "its object format is SHA-256, which libgit2 cannot read: use a SHA-1 repository".to_owned()
    } else if error.class() == ErrorClass::Repository {
        format!("it is no complete git repository: {message}")
    } else {
        message.to_owned()
    };
    OpenError::Refused { path: path.to_owned(), reason }
}
