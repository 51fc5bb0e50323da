//! Loads the files of an environment from one tree. Each file is loaded once.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::location::Reference;
use super::own_files::OwnFiles;
use super::{Dependencies, ResolveError, extensions, schema_of};
use crate::areas::Permission;
use crate::model::{Document, Origin, Problem};
use crate::snapshot::Layout;
use crate::tree::{EntryKind, PathLookup, Tree, TreeFile, join};

/// A configuration file with its documents.
#[derive(Debug, Clone)]
pub(super) struct LoadedFile {
    pub(super) path: Arc<str>,
    /// The search directory or the import that led to the file. It is part of the names of multi-document files.
    pub(super) via: Arc<str>,
    /// True if an import led to the file.
    pub(super) is_imported: bool,
    /// The directory for the file's relative imports.
    pub(super) base: Arc<str>,
    pub(super) documents: Arc<[Document]>,
}

/// Finds and loads files, and records the paths that it looks up.
pub(super) struct FileLoader<'a> {
    pub(super) layout: &'a Layout,
    tree: &'a Tree,
    own: OwnFiles<'a>,
    pub(super) dependencies: Dependencies,
    loaded: HashSet<Arc<str>>,
    /// The links of the environment that lead to files of other areas, with the decision of the policy.
    foreign_links: BTreeSet<(Arc<str>, &'static str)>,
}

/// The files of an import.
pub(super) struct ImportedPaths {
    /// The existing files, highest precedence last.
    pub(super) found: Vec<Arc<str>>,
    /// The decision about the files, [`Permission::Allowed`] for a pattern.
    pub(super) loading: Permission,
}

/// The problem of a link that leads to a file of another area.
const FOREIGN_LINK: &str = "is a symbolic link to a file of another area, and is treated as absent: commit a file of its own";
/// The same problem while the policy is not enforced.
const RECORDED_LINK: &str = "is a symbolic link to a file of another area, and will be treated as absent when the policy is enforced: \
                             commit a file of its own";

impl<'a> FileLoader<'a> {
    pub(super) fn new(
        layout: &'a Layout,
        tree: &'a Tree,
        own: OwnFiles<'a>,
        dependencies: Dependencies,
    ) -> Self {
        let (loaded, foreign_links) = (HashSet::new(), BTreeSet::new());
        Self { layout, tree, own, dependencies, loaded, foreign_links }
    }

    /// The problems of links that lead to files of other areas.
    pub(super) fn foreign_links(&self) -> Vec<Problem> {
        let problem = |(link, message): &(Arc<str>, &'static str)| Problem {
            origin: Origin { file: Arc::clone(link), position: None },
            key: None,
            message: (*message).to_owned(),
        };
        self.foreign_links.iter().map(problem).collect()
    }

    /// Loads the files of every directory and name for one profile, or without a profile. Highest precedence first.
    pub(super) fn search(
        &mut self,
        directories: &[Arc<str>],
        sorted: &Arc<[Arc<str>]>,
        names: &[&str],
        profile: Option<&str>,
    ) -> Result<Vec<LoadedFile>, ResolveError> {
        let suffix = profile.map(|profile| format!("-{profile}")).unwrap_or_default();
        let stems: Vec<String> = names.iter().map(|name| format!("{name}{suffix}.")).collect();
        for stem in &stems {
            self.dependencies.search(sorted, &stem[..stem.len() - 1]);
        }
        let mut files = Vec::new();
        for directory in directories.iter().rev() {
            let base = match &**directory {
                "" => Arc::from(""),
                directory => Arc::from(format!("{directory}/")),
            };
            for stem in stems.iter().rev() {
                // A cheap test first: most directories of a wildcard have no file for most applications.
                if !self.tree.may_have_name_with_prefix(directory, stem)? {
                    continue;
                }
                for extension in extensions(self.layout) {
                    let path = format!("{base}{stem}{extension}");
                    let look = self.tree.lookup_file(&path)?;
                    files.extend(self.take(path, look, &base, &base, false)?);
                }
            }
        }
        Ok(files)
    }

    /// The existing files of an import reference: one file, or one file of every matching directory.
    pub(super) fn paths(&mut self, reference: &Reference) -> Result<ImportedPaths, ResolveError> {
        let mut candidates: Vec<Arc<str>> = Vec::new();
        if reference.is_pattern {
            self.dependencies.directory(self.tree, &reference.directory)?;
            for (name, kind) in self.tree.list(&reference.directory)?.unwrap_or_default() {
                if kind == EntryKind::Directory && !name.starts_with("..") {
                    let directory = join(&reference.directory, &name);
                    candidates.push(join(&directory, &reference.name).into());
                }
            }
        } else {
            candidates.push(join(&reference.directory, &reference.name).into());
        }
        let mut imported = ImportedPaths { found: Vec::new(), loading: Permission::Allowed };
        for path in candidates {
            let look = self.tree.lookup_file(&path)?;
            let loading = self.own.loading(look.behind_links.as_deref().unwrap_or(&path));
            if !reference.is_pattern {
                imported.loading = loading;
            }
            // A change of a foreign file never changes the result, unless a link takes its place.
            if loading != Permission::Denied || look.behind_links.is_some() {
                self.dependencies.record(&path, look.behind_links);
            }
            if look.found.is_some() && loading != Permission::Denied {
                imported.found.push(path);
            }
        }
        Ok(imported)
    }

    /// Loads an imported file, unless it was loaded before.
    pub(super) fn import(
        &mut self,
        path: &Arc<str>,
        reference: &Reference,
    ) -> Result<Option<LoadedFile>, ResolveError> {
        let look = self.tree.lookup_file_as(path, Some(reference.format))?;
        let base = reference.base().into();
        self.take(path.to_string(), look, &reference.via, &base, true)
    }

    fn take(
        &mut self,
        path: String,
        look: PathLookup<Arc<TreeFile>>,
        via: &Arc<str>,
        base: &Arc<str>,
        is_imported: bool,
    ) -> Result<Option<LoadedFile>, ResolveError> {
        let Some(file) = look.found.filter(|_| schema_of(&path).is_none()) else {
            self.dependencies.files.extend(look.behind_links.map(Arc::from));
            return Ok(None);
        };
        let path: Arc<str> = path.into();
        let is_own = self.is_own(&path, look.behind_links.as_deref());
        self.dependencies.files.extend(look.behind_links.map(Arc::from));
        if !is_own {
            return Ok(None);
        }
        if !self.loaded.insert(Arc::clone(&path)) {
            return Ok(None);
        }
        match self.tree.documents(&file)? {
            Ok(documents) => {
                let (via, base) = (Arc::clone(via), Arc::clone(base));
                Ok(Some(LoadedFile { path, via, is_imported, base, documents }))
            }
            Err(error) => {
                let origin = Origin { file: path, position: error.position };
                Err(Problem { origin, key: None, message: error.message }.into())
            }
        }
    }

    /// Returns true if the environment loads an existing file. Remembers a link of its own to a file of another area.
    fn is_own(&mut self, path: &Arc<str>, behind_links: Option<&str>) -> bool {
        let loading = self.own.loading(behind_links.unwrap_or(path));
        let problem = match loading {
            Permission::Allowed => return true,
            Permission::WouldDeny => RECORDED_LINK,
            Permission::Denied => FOREIGN_LINK,
        };
        if behind_links.is_some() && self.own.loading(path) == Permission::Allowed {
            self.foreign_links.insert((Arc::clone(path), problem));
        }
        loading == Permission::WouldDeny
    }
}
