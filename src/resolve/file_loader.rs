//! Loads the files of an environment from one tree. Each file is loaded once.

use std::collections::HashSet;
use std::sync::Arc;

use super::location::Reference;
use super::{Dependencies, ResolveError, extensions, schema_of};
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
    pub(super) dependencies: Dependencies,
    loaded: HashSet<Arc<str>>,
}

impl<'a> FileLoader<'a> {
    pub(super) fn new(layout: &'a Layout, tree: &'a Tree, dependencies: Dependencies) -> Self {
        Self { layout, tree, dependencies, loaded: HashSet::new() }
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

    /// The existing files of an import reference, highest precedence last: one file, or one file of every matching directory.
    pub(super) fn paths(&mut self, reference: &Reference) -> Result<Vec<Arc<str>>, ResolveError> {
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
        let mut found = Vec::new();
        for path in candidates {
            if self.dependencies.file(self.tree, &path)?.is_some() {
                found.push(path);
            }
        }
        Ok(found)
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
        self.dependencies.files.extend(look.behind_links.map(Arc::from));
        let Some(file) = look.found.filter(|_| schema_of(&path).is_none()) else {
            return Ok(None);
        };
        let path: Arc<str> = path.into();
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
}
