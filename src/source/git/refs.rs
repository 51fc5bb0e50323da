//! Which files of a repository say where its references stand.

use std::path::{Path, PathBuf};

use notify::RecursiveMode;

use crate::source::hints::{Place, Watched};

/// The two directories of a repository: a linked worktree has its own `HEAD` and shares all the rest.
pub(super) struct References {
    pub(super) git_directory: PathBuf,
    pub(super) common_directory: PathBuf,
}

impl Watched for References {
    fn places(&self) -> Vec<Place> {
        let mut places = vec![
            Place { path: self.common_directory.join("refs"), mode: RecursiveMode::Recursive },
            Place { path: self.common_directory.clone(), mode: RecursiveMode::NonRecursive },
        ];
        if self.git_directory != self.common_directory {
            places.push(Place {
                path: self.git_directory.clone(),
                mode: RecursiveMode::NonRecursive,
            });
        }
        places
    }

    /// A lock file is renamed onto what it guards: that rename is the change, the lock itself is not.
    fn concerns(&self, path: &Path) -> bool {
        if path.extension().is_some_and(|extension| extension == "lock") {
            return false;
        }
        let is_named = path
            .file_name()
            .is_some_and(|name| name == "HEAD" || name == "packed-refs" || name == "refs");
        is_named || path.starts_with(self.common_directory.join("refs"))
    }
}
