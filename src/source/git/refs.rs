//! The files of a repository that hold its references, for the file-system watcher.

use std::path::{Path, PathBuf};

use notify::RecursiveMode;

use crate::source::hints::{WatchTarget, WatchedPath};

/// The two directories of a repository. A linked worktree has its own `HEAD` and shares everything else.
pub(super) struct References {
    pub(super) git_directory: PathBuf,
    pub(super) common_directory: PathBuf,
}

impl WatchTarget for References {
    fn places(&self) -> Vec<WatchedPath> {
        let mut places = vec![
            WatchedPath {
                path: self.common_directory.join("refs"),
                mode: RecursiveMode::Recursive,
            },
            WatchedPath { path: self.common_directory.clone(), mode: RecursiveMode::NonRecursive },
        ];
        if self.git_directory != self.common_directory {
            places.push(WatchedPath {
                path: self.git_directory.clone(),
                mode: RecursiveMode::NonRecursive,
            });
        }
        places
    }

    /// Git renames a lock file onto the file that it guards. The rename counts as a change, and the lock file does not.
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
