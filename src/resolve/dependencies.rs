//! The dependencies of a resolution: every path that it looked up, present or absent.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::own_files::OwnFiles;
use crate::tree::{Changes, EntryKind, Tree, TreeError, TreeFile, join};

/// The paths that a resolution looked up. A change of any of them invalidates its result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Files, present or absent.
    pub files: BTreeSet<Arc<str>>,
    /// Directories that were listed or looked up.
    pub listings: BTreeSet<Arc<str>>,
    /// Files that were looked up by the same stems in many directories.
    searches: Vec<Search>,
}

/// All files with one of the stems in one of the directories.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Search {
    /// Sorted.
    directories: Arc<[Arc<str>]>,
    stems: BTreeSet<String>,
}

impl Dependencies {
    /// All paths and stems in memory, for the accounting of their size.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let paths = self.files.iter().chain(&self.listings);
        let searched = self.searches.iter().flat_map(|search| {
            let stems = search.stems.iter().map(String::as_str);
            search.directories.iter().map(|directory| &**directory).chain(stems)
        });
        paths.map(|path| &**path).chain(searched)
    }

    /// Returns true if a difference between two trees can change the result.
    pub fn is_affected_by(&self, changes: &Changes) -> bool {
        changes.links
            || changes.files.iter().any(|path| self.holds_file(path))
            || changes.listings.iter().any(|path| self.listings.contains(path.as_str()))
    }

    /// Returns true if the resolution looked up this file, present or absent.
    pub fn holds_file(&self, path: &str) -> bool {
        self.files.contains(path) || self.searches.iter().any(|search| search.holds(path))
    }

    /// Looks up a file of an environment and records its path, and also the path behind symbolic links.
    pub(super) fn file(
        &mut self,
        tree: &Tree,
        path: &Arc<str>,
        own: &OwnFiles<'_>,
    ) -> Result<Option<Arc<TreeFile>>, TreeError> {
        let look = tree.lookup_file(path)?;
        let is_own = own.contain(path, look.behind_links.as_deref());
        self.record(path, look.behind_links);
        Ok(look.found.filter(|_| is_own))
    }

    /// Records the path of a file, and the path behind symbolic links.
    pub(super) fn record(&mut self, path: &Arc<str>, behind_links: Option<String>) {
        self.files.extend(behind_links.map(Arc::from));
        self.files.insert(Arc::clone(path));
    }

    /// Looks up a file of an environment that a recorded search covers. Records only the path behind symbolic links.
    pub(super) fn find(
        &mut self,
        tree: &Tree,
        path: &str,
        own: &OwnFiles<'_>,
    ) -> Result<bool, TreeError> {
        let look = tree.lookup_file(path)?;
        let is_own = own.contain(path, look.behind_links.as_deref());
        self.files.extend(look.behind_links.map(Arc::from));
        Ok(look.found.is_some() && is_own)
    }

    /// Looks up a directory and records its path as [`Dependencies::file`] does. Returns true if it exists.
    pub(super) fn directory(&mut self, tree: &Tree, path: &str) -> Result<bool, TreeError> {
        let look = tree.lookup_kind(path)?;
        self.listings.extend(look.behind_links.map(Arc::from));
        self.listings.insert(path.into());
        Ok(look.found == Some(EntryKind::Directory))
    }

    /// Records a lookup of a stem with any extension in each of the directories. The stem may contain a directory.
    pub(super) fn search(&mut self, directories: &Arc<[Arc<str>]>, stem: &str) {
        if let Some((below, stem)) = stem.rsplit_once('/') {
            let mut directories: Vec<Arc<str>> =
                directories.iter().map(|directory| join(directory, below).into()).collect();
            directories.sort_unstable();
            return self.search(&directories.into(), stem);
        }
        let stem = stem.to_owned();
        match self.searches.iter_mut().find(|search| search.directories == *directories) {
            Some(search) => {
                search.stems.insert(stem);
            }
            None => {
                let stems = BTreeSet::from([stem]);
                self.searches.push(Search { directories: Arc::clone(directories), stems });
            }
        }
    }
}

impl Search {
    fn holds(&self, path: &str) -> bool {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        self.stems.contains(stem)
            && self.directories.binary_search_by(|known| (**known).cmp(directory)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_covers_every_file_with_its_stems() {
        let mut dependencies = Dependencies::default();
        let directories: Arc<[Arc<str>]> = ["", "a", "a/b"].map(Arc::from).into();
        dependencies.search(&directories, "foo");
        dependencies.search(&directories, "foo-dev");
        dependencies.search(&directories, "sub/foo");
        let touched = |path: &str| {
            let changes = Changes { files: vec![path.to_owned()], ..Changes::default() };
            dependencies.is_affected_by(&changes)
        };
        for path in ["foo.yml", "a/foo.json", "a/b/foo-dev.properties", "foo", "a/sub/foo.yml"] {
            assert!(touched(path), "{path}");
        }
        for path in [
            "c/foo.yml",
            "foo-qa.yml",
            "a/foo.bar.yml",
            "foo.yml/foo",
            "ab/foo.yml",
            "sub/foo-dev.yml",
        ] {
            assert!(!touched(path), "{path}");
        }
        assert_eq!(dependencies.texts().count(), 9);
    }
}
