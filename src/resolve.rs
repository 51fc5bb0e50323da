//! Which files make an environment, and in which order: all of precedence (specification, sections 7 and 8).
//!
//! A pure function of a member of a snapshot and a query. It records every path that it asks for, present or absent:
//! that record is what a change must touch to invalidate the answer.

mod activation;
mod differences;
mod file;
mod profiles;
mod search;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::format::Format;
use crate::model::{Document, Origin, Problem, PropertySource, Query};
use crate::snapshot::{Layout, Member, Snapshot, Style};
use crate::tree::{EntryKind, File, Tree, TreeError, join};

pub use activation::named_profiles;
pub use differences::{Differences, touches};
pub use file::{FoundFile, find_file};
pub use search::{Searched, directories, searched};

/// The extensions of configuration files, highest precedence first; `.toml` and `.json` stand below Spring's own.
const EXTENSIONS: [&str; 6] = ["properties", "xml", "yml", "yaml", "toml", "json"];
/// What the name of a schema ends with, behind the name of its application.
const SCHEMA_SUFFIX: &str = ".schema.json";
/// How deep imports may lead from file to file.
const IMPORT_DEPTH_MAX: usize = 16;
/// Stands where Spring names its clone's directory in the names of multi-document files.
const SYNTHETIC_DIRECTORY: &str = "/repository";

/// The paths that a resolution asked for: the candidates whose change invalidates its result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Files, found or not.
    pub files: BTreeSet<Arc<str>>,
    /// Directories whose names were looked at, or that were looked for.
    pub listings: BTreeSet<Arc<str>>,
}

impl Asked {
    /// Looks for a file and remembers that it was looked for, under its real path too where links lead to it.
    fn file(&mut self, tree: &Tree, path: &Arc<str>) -> Result<Option<Arc<File>>, TreeError> {
        let look = tree.look_for_file(path)?;
        self.files.extend(look.behind_links.map(Arc::from));
        self.files.insert(Arc::clone(path));
        Ok(look.found)
    }

    /// The same of a directory: whether there is one.
    fn directory(&mut self, tree: &Tree, path: &str) -> Result<bool, TreeError> {
        let look = tree.look_for_kind(path)?;
        self.listings.extend(look.behind_links.map(Arc::from));
        self.listings.insert(path.into());
        Ok(look.found == Some(EntryKind::Directory))
    }
}

/// What became of a member: its property sources, highest precedence first, or why there are none.
pub struct Resolved {
    /// The sources, or the first problem met.
    pub outcome: Result<Vec<PropertySource>, Problem>,
    /// What was asked for on the way.
    pub asked: Asked,
}

/// The indices of the members that answer a query, highest precedence first: of each group the first whose patterns
/// match. `None` if some group has none, which means that the label is unknown.
pub fn choose(snapshot: &Snapshot, query: &Query) -> Option<Vec<usize>> {
    let group_count = snapshot.members.last()?.group + 1;
    (0..group_count)
        .map(|group| {
            snapshot.members.iter().position(|member| {
                member.group == group && member.layout.answers(&query.application, &query.profiles)
            })
        })
        .collect()
}

/// Resolves one member of a snapshot, at its own tree or at an earlier one of its history.
///
/// # Errors
/// When the source cannot be read; content that cannot be used is in [`Resolved::outcome`].
pub fn resolve(member: &Member, tree: &Tree, query: &Query) -> Result<Resolved, TreeError> {
    let mut loader =
        Loader { layout: &member.layout, tree, asked: Asked::default(), loaded: HashSet::new() };
    let outcome = match loader.environment(member, query) {
        Ok(sources) => Ok(sources),
        Err(Stop::Problem(problem)) => Err(problem),
        Err(Stop::Tree(error)) => return Err(error),
    };
    Ok(Resolved { outcome, asked: loader.asked })
}

/// Why a resolution ends early.
enum Stop {
    Problem(Problem),
    Tree(TreeError),
}

impl From<TreeError> for Stop {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// A configuration file that was found, with its documents.
#[derive(Clone)]
struct Loaded {
    path: Arc<str>,
    /// The search directory, or the import, that led to it; part of the names of multi-document files.
    via: Arc<str>,
    documents: Arc<[Document]>,
}

struct Loader<'a> {
    layout: &'a Layout,
    tree: &'a Tree,
    asked: Asked,
    loaded: HashSet<Arc<str>>,
}

impl Loader<'_> {
    fn environment(&mut self, member: &Member, query: &Query) -> Result<Vec<PropertySource>, Stop> {
        let directories = search::directories(member, self.tree, query, &mut self.asked)?;
        let names = config_names(query);
        let requested: Vec<&str> = query.profile_names().collect();
        if directories.is_empty() || requested.is_empty() {
            return Ok(Vec::new());
        }

        let base = self.files(&directories, &names, None)?;
        for file in &base {
            profiles::refuse_legacy_selector(file)?;
        }
        let accepted = if requested[0].eq_ignore_ascii_case("default") {
            requested.iter().map(|profile| (*profile).to_owned()).collect()
        } else {
            let mut declaring = Vec::new();
            let loaded = self.loaded.clone();
            self.with_imports(&base, 0, &mut declaring)?;
            self.loaded = loaded;
            profiles::accept(&requested, &declaring)?
        };

        let mut specific = Vec::new();
        for profile in accepted.iter().rev() {
            let files = self.files(&directories, &names, Some(profile))?;
            for file in &files {
                profiles::refuse_legacy_selector(file)?;
                profiles::refuse_in_specific(file)?;
            }
            for file in &files {
                self.emit(file, &accepted, 0, &mut specific, None)?;
            }
        }
        // What unprofiled files import for a profile ranks above all that is specific to a profile.
        let (mut sources, mut unprofiled) = (Vec::new(), Vec::new());
        for file in &base {
            self.emit(file, &accepted, 0, &mut unprofiled, Some(&mut sources))?;
        }
        sources.extend(specific);
        sources.extend(unprofiled);
        Ok(sources)
    }

    /// The files of every directory and name, for one profile or for none; highest precedence first.
    fn files(
        &mut self,
        directories: &[Arc<str>],
        names: &[&str],
        profile: Option<&str>,
    ) -> Result<Vec<Loaded>, Stop> {
        let mut files = Vec::new();
        for directory in directories.iter().rev() {
            for name in names.iter().rev() {
                for extension in self.extensions() {
                    let file_name = match profile {
                        Some(profile) => format!("{name}-{profile}.{extension}"),
                        None => format!("{name}.{extension}"),
                    };
                    let via = match &**directory {
                        "" => Arc::from(""),
                        directory => Arc::from(format!("{directory}/")),
                    };
                    files.extend(self.load(&join(directory, &file_name), via)?);
                }
            }
        }
        Ok(files)
    }

    fn extensions(&self) -> impl Iterator<Item = &'static str> + use<> {
        let json = self.layout.json;
        EXTENSIONS.into_iter().filter(move |extension| json || *extension != "json")
    }

    /// A file that exists and was not loaded before in this resolution.
    fn load(&mut self, path: &str, via: Arc<str>) -> Result<Option<Loaded>, Stop> {
        if schema_of(path).is_some() {
            return Ok(None);
        }
        let path: Arc<str> = path.into();
        let Some(file) = self.asked.file(self.tree, &path)? else {
            return Ok(None);
        };
        if !self.loaded.insert(Arc::clone(&path)) {
            return Ok(None);
        }
        match self.tree.documents(&file)? {
            Ok(documents) => Ok(Some(Loaded { path, via, documents })),
            Err(error) => Err(Problem {
                origin: Origin { file: path, position: error.position },
                key: None,
                message: error.message,
            }
            .into()),
        }
    }

    /// Appends the sources of a file: the last document first, each behind what it imports, inactive ones left out.
    fn emit(
        &mut self,
        file: &Loaded,
        accepted: &[String],
        depth: usize,
        sources: &mut Vec<PropertySource>,
        mut lifted: Option<&mut Vec<PropertySource>>,
    ) -> Result<(), Stop> {
        for (index, document) in file.documents.iter().enumerate().rev() {
            if !activation::is_active(file, document, Some(accepted))? {
                continue;
            }
            self.emit_imports(file, document, accepted, depth, sources, lifted.as_deref_mut())?;
            sources.push(PropertySource {
                name: self.name(file, index),
                file: Some(Arc::clone(&file.path)),
                documents: Arc::clone(&file.documents),
                index,
            });
        }
        Ok(())
    }

    /// Imported files rank above their importer, profile variants above plain ones, later imports above earlier ones.
    /// The variants go to `lifted`, where there is one.
    fn emit_imports(
        &mut self,
        importer: &Loaded,
        document: &Document,
        accepted: &[String],
        depth: usize,
        sources: &mut Vec<PropertySource>,
        mut lifted: Option<&mut Vec<PropertySource>>,
    ) -> Result<(), Stop> {
        let imports = profiles::imports(importer, document)?;
        if imports.is_empty() || depth >= IMPORT_DEPTH_MAX {
            return Ok(());
        }
        for import in imports.iter().rev() {
            for profile in accepted.iter().rev() {
                let path = import.for_profile(profile);
                if let Some(file) = self.load(&path, Arc::clone(&import.text))? {
                    let place = lifted.as_deref_mut().unwrap_or(&mut *sources);
                    self.emit_imported(&file, accepted, depth, place, None)?;
                }
            }
        }
        for import in imports.iter().rev() {
            if let Some(file) = self.load(&import.path, Arc::clone(&import.text))? {
                self.emit_imported(&file, accepted, depth, sources, lifted.as_deref_mut())?;
            }
        }
        Ok(())
    }

    fn emit_imported(
        &mut self,
        file: &Loaded,
        accepted: &[String],
        depth: usize,
        sources: &mut Vec<PropertySource>,
        lifted: Option<&mut Vec<PropertySource>>,
    ) -> Result<(), Stop> {
        profiles::refuse_legacy_selector(file)?;
        self.emit(file, accepted, depth + 1, sources, lifted)
    }

    /// The files that may declare includes and groups: these and what their unconditional documents import, each once.
    fn with_imports(
        &mut self,
        files: &[Loaded],
        depth: usize,
        declaring: &mut Vec<Loaded>,
    ) -> Result<(), Stop> {
        for file in files {
            declaring.push(file.clone());
            for document in file.documents.iter().rev() {
                if depth >= IMPORT_DEPTH_MAX || !activation::is_active(file, document, None)? {
                    continue;
                }
                for import in profiles::imports(file, document)?.iter().rev() {
                    if let Some(imported) = self.load(&import.path, Arc::clone(&import.text))? {
                        self.with_imports(&[imported], depth + 1, declaring)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn name(&self, file: &Loaded, index: usize) -> Arc<str> {
        let Layout { base, style, .. } = self.layout;
        let path = &file.path;
        if file.documents.len() < 2 {
            return format!("{base}/{path}").into();
        }
        let via = &file.via;
        match style {
            Style::Git => format!(
                "{base}/Config resource 'file [{SYNTHETIC_DIRECTORY}/{path}' via location '{via}' (document #{index})"
            ),
            Style::Native => {
                let directory = base.strip_prefix("file:").unwrap_or(base);
                format!(
                    "Config resource 'file [{directory}/{path}]' via location '{base}/{via}' (document #{index})"
                )
            }
        }
        .into()
    }
}

/// The stems that are looked for, lowest precedence first: `application`, then the names of the request.
fn config_names(query: &Query) -> Vec<&str> {
    let mut names = vec!["application"];
    for name in query.application_names() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The application that a file is the schema of: `orders.schema.json` is that of `orders`. A schema is never configuration.
pub fn schema_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(SCHEMA_SUFFIX).filter(|application| !application.is_empty())
}

/// Whether a file of this name can be configuration in this layout.
pub fn is_configuration(layout: &Layout, path: &str) -> bool {
    if schema_of(path).is_some() {
        return false;
    }
    match Format::of(path) {
        Some(Format::Json) => layout.json,
        Some(_) => true,
        None => false,
    }
}

/// A schema that was found.
pub struct FoundSchema {
    /// Where it is in its tree.
    pub path: Arc<str>,
    /// The file.
    pub file: Arc<File>,
}

/// The schemas that hold for a query: those of `application`, then those of its own applications, from each directory that
/// is searched. Records what it asks for.
///
/// # Errors
/// When the source cannot be read.
pub fn schema_files(
    member: &Member,
    tree: &Tree,
    query: &Query,
    asked: &mut Asked,
) -> Result<Vec<FoundSchema>, TreeError> {
    let mut found = Vec::new();
    for directory in search::directories(member, tree, query, asked)? {
        for name in config_names(query) {
            let path: Arc<str> = join(&directory, &format!("{name}{SCHEMA_SUFFIX}")).into();
            if let Some(file) = asked.file(tree, &path)? {
                found.push(FoundSchema { path, file });
            }
        }
    }
    Ok(found)
}

/// The application's own files that a query finds in a tree, shared `application` files left out. Records what it asks for:
/// which of them there are decides how far back a last good revision may lie.
///
/// # Errors
/// When the source cannot be read.
pub fn own_files(
    member: &Member,
    tree: &Tree,
    query: &Query,
    asked: &mut Asked,
) -> Result<BTreeSet<Arc<str>>, TreeError> {
    let mut own = BTreeSet::new();
    for directory in search::directories(member, tree, query, asked)? {
        for name in query.application_names().filter(|name| *name != "application") {
            let plain = std::iter::once(name.to_owned());
            let specific = query.profile_names().map(|profile| format!("{name}-{profile}"));
            for stem in plain.chain(specific) {
                for extension in EXTENSIONS {
                    let path = join(&directory, &format!("{stem}.{extension}"));
                    if !is_configuration(&member.layout, &path) {
                        continue;
                    }
                    let path: Arc<str> = path.into();
                    if asked.file(tree, &path)?.is_some() {
                        own.insert(path);
                    }
                }
            }
        }
    }
    Ok(own)
}
