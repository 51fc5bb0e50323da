//! Resolution of an environment: the files that it consists of, and their precedence
//! (docs/protocol.md#7-which-files-in-which-order and docs/protocol.md#8-documents-and-imports).
//!
//! Resolution is a pure function of a member of a snapshot and a query. It records every path that it looks up, present or
//! absent. A change invalidates the result only if it affects a recorded path.

mod activation;
mod contributions;
mod control;
mod dependencies;
mod differences;
mod environment;
mod file;
mod file_loader;
mod location;
mod mention;
mod own_files;
mod profiles;
mod property_name;
mod search_paths;
mod visible_properties;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::format::Format;
use crate::model::{Problem, PropertySource, Query, SHARED_APPLICATION};
use crate::snapshot::{Layout, Member, Snapshot, Style};
use crate::tree::{Tree, TreeError, TreeFile, join};

use contributions::LoadedDocument;
use environment::Assembly;
use file_loader::FileLoader;
use own_files::OwnFiles;

pub use activation::named_profiles;
pub use dependencies::Dependencies;
pub use differences::Differences;
pub use file::{FileSearch, FoundFile, find_file};
pub use mention::{Mention, mention};
pub use search_paths::{Searchers, directories, is_on_search_path, searchers};

/// The extensions of configuration files, highest precedence first. `.toml` and `.json` rank below Spring's own.
const EXTENSIONS: [(&str, Format); 6] = [
    ("properties", Format::Properties),
    ("xml", Format::Xml),
    ("yml", Format::Yaml),
    ("yaml", Format::Yaml),
    ("toml", Format::Toml),
    ("json", Format::Json),
];
/// The suffix of a schema's file name, behind the name of its application.
const SCHEMA_SUFFIX: &str = ".schema.json";
/// The longest chain of imports from file to file.
const IMPORT_DEPTH_MAX: usize = 100;
/// The directory in the names of multi-document files, where Spring has the directory of its clone.
const SYNTHETIC_DIRECTORY: &str = "/repository";

/// The result of resolving one member.
pub struct ResolvedMember {
    /// The property sources, highest precedence first, or the first problem.
    pub outcome: Result<Vec<PropertySource>, Problem>,
    pub dependencies: Dependencies,
    /// The search directories, lowest precedence first.
    pub directories: Vec<Arc<str>>,
    /// Imports that were ignored because they name no file.
    pub notices: Vec<Problem>,
    /// Imports and links that lead to files of other areas. The policy decides whether they were ignored.
    pub foreign: Vec<Problem>,
}

/// The indices of the members that answer a query, highest precedence first: the first member of each group whose patterns
/// match. `None` if a group has no such member, which means that the label is unknown.
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
/// When the source cannot be read. Problems in its content are returned in [`ResolvedMember::outcome`].
pub fn resolve(member: &Member, tree: &Tree, query: &Query) -> Result<ResolvedMember, TreeError> {
    resolve_in(member, tree, query, SearchDirectories::of(member, tree, query)?)
}

/// As [`resolve`], with the known search directories of the query.
///
/// # Errors
/// As for [`resolve`].
pub fn resolve_in(
    member: &Member,
    tree: &Tree,
    query: &Query,
    searched: SearchDirectories,
) -> Result<ResolvedMember, TreeError> {
    let SearchDirectories { directories, dependencies } = searched;
    let own = OwnFiles::of(member, query);
    let mut files = FileLoader::new(&member.layout, tree, own, dependencies);
    let is_empty = directories.is_empty() || query.profile_names().next().is_none();
    let mut assembly = Assembly::new(&mut files, query, directories.clone(), config_names(query));
    let outcome = if is_empty {
        Ok(Vec::new())
    } else {
        assembly.run(&|content| name(&member.layout, content))
    };
    let (notices, mut foreign) = (assembly.notices(), assembly.foreign());
    foreign.append(&mut files.foreign_links());
    let outcome = match outcome {
        Ok(sources) => Ok(sources),
        Err(ResolveError::Problem(problem)) => Err(problem),
        Err(ResolveError::Tree(error)) => return Err(error),
    };
    Ok(ResolvedMember { outcome, dependencies: files.dependencies, directories, notices, foreign })
}

/// The search directories of a query in one tree, with the paths on which they depend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDirectories {
    /// Lowest precedence first.
    directories: Vec<Arc<str>>,
    dependencies: Dependencies,
}

impl SearchDirectories {
    /// Finds the search directories of a query.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn of(member: &Member, tree: &Tree, query: &Query) -> Result<Self, TreeError> {
        let mut dependencies = Dependencies::default();
        let directories = search_paths::directories(member, tree, query, &mut dependencies)?;
        Ok(Self { directories, dependencies })
    }

    /// Returns true if two queries of a member have the same search directories in every tree, because they differ in
    /// profiles that no search path names.
    pub fn are_shared(member: &Member, query: &Query, other: &Query) -> bool {
        let has_profiles = |query: &Query| query.profile_names().next().is_some();
        query.application == other.application
            && has_profiles(query) == has_profiles(other)
            && !member.layout.search_paths.iter().any(|path| path.contains("{profile}"))
    }
}

/// The reason why a resolution ends early.
enum ResolveError {
    Problem(Problem),
    Tree(TreeError),
}

impl From<TreeError> for ResolveError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl From<Problem> for ResolveError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The name of the property source that a document becomes.
fn name(layout: &Layout, content: &LoadedDocument) -> Arc<str> {
    let Layout { base, style, .. } = layout;
    let (path, via, index) = (&content.file.path, &content.file.via, content.index);
    if content.file.documents.len() < 2 {
        return format!("{base}/{path}").into();
    }
    match style {
        Style::Git => format!(
            "{base}/Config resource 'file [{SYNTHETIC_DIRECTORY}/{path}' via location '{via}' (document #{index})"
        ),
        Style::Native => {
            let directory = base.strip_prefix("file:").unwrap_or(base);
            let via = if content.file.is_imported {
                via.to_string()
            } else {
                format!("{base}/{via}")
            };
            format!("Config resource 'file [{directory}/{path}]' via location '{via}' (document #{index})")
        }
    }
    .into()
}

/// The stems to look for, lowest precedence first: `application`, then the names of the request.
fn config_names(query: &Query) -> Vec<&str> {
    let mut names = vec![SHARED_APPLICATION];
    for name in query.application_names() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The application whose schema a file is: `orders` for `orders.schema.json`. A schema is never configuration.
pub fn schema_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(SCHEMA_SUFFIX).filter(|application| !application.is_empty())
}

/// Returns true if a file with this name can be configuration in this layout.
pub fn is_configuration(layout: &Layout, path: &str) -> bool {
    if schema_of(path).is_some() {
        return false;
    }
    Format::of(path).is_some_and(|format| is_read(layout, format))
}

/// Returns true if a file of this name is not configuration only because the layout does not read TOML.
pub fn is_ignored_toml(layout: &Layout, path: &str) -> bool {
    !layout.toml && Format::of(path) == Some(Format::Toml)
}

/// Returns true if files of a format are configuration in this layout.
fn is_read(layout: &Layout, format: Format) -> bool {
    match format {
        Format::Toml => layout.toml,
        Format::Json => layout.json,
        Format::Properties | Format::Xml | Format::Yaml => true,
    }
}

/// The extensions of configuration files in this layout, highest precedence first.
fn extensions(layout: &Layout) -> impl Iterator<Item = &'static str> {
    EXTENSIONS
        .iter()
        .filter(|(_, format)| is_read(layout, *format))
        .map(|(extension, _)| *extension)
}

/// Returns true if the file at a path is configuration by its content too. A `pom.xml` has the extension of a property file
/// and is none. A file that does not parse is configuration unless it is of another kind.
///
/// # Errors
/// When the source cannot be read.
pub fn holds_configuration(member: &Member, path: &str) -> Result<bool, TreeError> {
    if !is_configuration(&member.layout, path) {
        return Ok(false);
    }
    // The extensions of these formats are used for configuration only.
    if matches!(Format::of(path), Some(Format::Properties | Format::Yaml)) {
        return Ok(true);
    }
    let Some(file) = member.tree.file(path)? else { return Ok(false) };
    Ok(!member.tree.documents(&file)?.is_err_and(|error| error.is_foreign))
}

/// A schema in a tree.
pub struct FoundSchema {
    pub path: Arc<str>,
    pub file: Arc<TreeFile>,
}

/// The schemas for a query from each search directory of its resolution: first of `application`, then of the requested
/// applications. Adds the paths that it looks up to the dependencies of the resolution.
///
/// # Errors
/// When the source cannot be read.
pub fn schema_files(
    member: &Member,
    tree: &Tree,
    query: &Query,
    resolved: &mut ResolvedMember,
) -> Result<Vec<FoundSchema>, TreeError> {
    let own = OwnFiles::of(member, query);
    let ResolvedMember { directories, dependencies, .. } = resolved;
    let mut found = Vec::new();
    for directory in directories {
        for name in config_names(query) {
            let path: Arc<str> = join(directory, &format!("{name}{SCHEMA_SUFFIX}")).into();
            if let Some(file) = dependencies.file(tree, &path, &own)? {
                found.push(FoundSchema { path, file });
            }
        }
    }
    Ok(found)
}

/// The files of the requested applications in a tree, without the shared `application` files. Records the paths that it looks
/// up.
///
/// # Errors
/// When the source cannot be read.
pub fn own_files(
    member: &Member,
    tree: &Tree,
    query: &Query,
    dependencies: &mut Dependencies,
) -> Result<BTreeSet<Arc<str>>, TreeError> {
    let names: Vec<&str> =
        query.application_names().filter(|name| *name != SHARED_APPLICATION).collect();
    named_files(member, tree, query, &names, dependencies)
}

/// The files that a query finds in a tree by name, including shared ones. Records the paths that it looks up. The set of
/// files decides how far back a last good revision may be.
///
/// # Errors
/// When the source cannot be read.
pub fn files_of(
    member: &Member,
    tree: &Tree,
    query: &Query,
    dependencies: &mut Dependencies,
) -> Result<BTreeSet<Arc<str>>, TreeError> {
    named_files(member, tree, query, &config_names(query), dependencies)
}

fn named_files(
    member: &Member,
    tree: &Tree,
    query: &Query,
    names: &[&str],
    dependencies: &mut Dependencies,
) -> Result<BTreeSet<Arc<str>>, TreeError> {
    let own = OwnFiles::of(member, query);
    let directories = search_paths::directories(member, tree, query, dependencies)?;
    let mut sorted = directories.clone();
    sorted.sort_unstable();
    let sorted: Arc<[Arc<str>]> = sorted.into();
    let mut found = BTreeSet::new();
    for name in names {
        let plain = std::iter::once((*name).to_owned());
        let specific = query.profile_names().map(|profile| format!("{name}-{profile}"));
        for stem in plain.chain(specific) {
            dependencies.search(&sorted, &stem);
            for directory in &directories {
                if !tree.may_have_name_with_prefix(directory, &format!("{stem}."))? {
                    continue;
                }
                for extension in extensions(&member.layout) {
                    let path = join(directory, &format!("{stem}.{extension}"));
                    if schema_of(&path).is_none() && dependencies.find(tree, &path, &own)? {
                        found.insert(path.into());
                    }
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
