//! Search paths with placeholders and wildcards (docs/protocol.md#113-search-paths and docs/protocol.md#13-directories).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::Dependencies;
use crate::glob;
use crate::model::Query;
use crate::snapshot::{Member, Style};
use crate::tree::{EntryKind, Tree, TreeError, join};

/// The existing search directories of a query, lowest precedence first, each once.
///
/// # Errors
/// When the source cannot be read.
pub fn directories(
    member: &Member,
    tree: &Tree,
    query: &Query,
    dependencies: &mut Dependencies,
) -> Result<Vec<Arc<str>>, TreeError> {
    let mut found = SearchDirectories::default();
    let mut expanded: HashSet<String> = HashSet::new();
    let paths = std::iter::once("").chain(member.layout.search_paths.iter().map(String::as_str));
    for path in paths {
        for profile in query.profile_names() {
            for application in query.application_names() {
                let path = substitute(path, application, profile, member.label.as_deref());
                // Most search paths do not depend on the profile.
                if expanded.insert(path.clone()) {
                    expand(tree, &path, dependencies, &mut found)?;
                }
            }
        }
    }
    if member.layout.style == Style::Native {
        for overlay in &member.overlays {
            for directory in found.directories.clone() {
                expand(tree, &join(&directory, overlay), dependencies, &mut found)?;
            }
        }
    }
    Ok(found.directories)
}

/// Directories in the order of their first occurrence.
#[derive(Default)]
struct SearchDirectories {
    directories: Vec<Arc<str>>,
    known: HashSet<Arc<str>>,
}

impl SearchDirectories {
    fn add(&mut self, directory: Arc<str>) {
        if self.known.insert(Arc::clone(&directory)) {
            self.directories.push(directory);
        }
    }
}

/// Returns true if a search path with `{application}` matches a directory.
pub(super) fn has_own_directory(
    member: &Member,
    tree: &Tree,
    query: &Query,
) -> Result<bool, TreeError> {
    let (mut dependencies, mut found) = (Dependencies::default(), SearchDirectories::default());
    let paths = member.layout.search_paths.iter().filter(|path| path.contains("{application}"));
    for path in paths {
        for profile in query.profile_names() {
            for application in query.application_names() {
                let path = substitute(path, application, profile, member.label.as_deref());
                expand(tree, &path, &mut dependencies, &mut found)?;
            }
        }
    }
    Ok(!found.directories.is_empty())
}

fn substitute(path: &str, application: &str, profile: &str, label: Option<&str>) -> String {
    let path = path.replace("{application}", application).replace("{profile}", profile);
    match label {
        Some(label) => path.replace("{label}", label),
        None => path,
    }
}

/// Adds the directories that match a pattern. A pattern with `..` matches none.
fn expand(
    tree: &Tree,
    pattern: &str,
    dependencies: &mut Dependencies,
    found: &mut SearchDirectories,
) -> Result<(), TreeError> {
    let components = components(pattern);
    if components.contains(&"..") {
        return Ok(());
    }
    let literal = literal_count(&components);
    let path = components[..literal].join("/");
    if !path.is_empty() && !dependencies.directory(tree, &path)? {
        return Ok(());
    }
    if literal == components.len() {
        found.add(path.into());
        return Ok(());
    }
    let mut wild =
        WildcardExpansion { tree, dependencies, seen: HashSet::new(), matching: BTreeSet::new() };
    wild.descend(&path, &components[literal..])?;
    // Only directories below the literal prefix are searched, not the prefix itself.
    let matching = wild.matching.into_iter().filter(|matching| *matching != path);
    matching.for_each(|directory| found.add(directory.into()));
    Ok(())
}

/// The components of a path without empty ones and `.`.
fn components(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

/// The number of components before the first one with a wildcard.
fn literal_count(components: &[&str]) -> usize {
    components.iter().position(|part| is_pattern(part)).unwrap_or(components.len())
}

/// The expansion of a pattern with wildcards.
struct WildcardExpansion<'a> {
    tree: &'a Tree,
    dependencies: &'a mut Dependencies,
    /// Visited directories with the number of remaining components. Several `**` reach a directory on many ways.
    seen: HashSet<(String, usize)>,
    /// Sorted by the bytes of the whole path, as in the original.
    matching: BTreeSet<String>,
}

impl WildcardExpansion<'_> {
    fn descend(&mut self, directory: &str, components: &[&str]) -> Result<(), TreeError> {
        let Some((first, rest)) = components.split_first() else {
            self.matching.insert(directory.to_owned());
            return Ok(());
        };
        if !self.seen.insert((directory.to_owned(), components.len())) {
            return Ok(());
        }
        if !is_pattern(first) {
            // A lookup by name avoids listing a directory of thousands of services.
            let path = join(directory, first);
            if self.dependencies.directory(self.tree, &path)? {
                self.descend(&path, rest)?;
            }
            return Ok(());
        }
        if *first == "**" {
            self.descend(directory, rest)?;
        }
        self.dependencies.directory(self.tree, directory)?;
        for (name, kind) in self.tree.list(directory)?.unwrap_or_default() {
            if kind == EntryKind::Directory && glob::matches(first, &name) {
                let rest = if *first == "**" { components } else { rest };
                self.descend(&join(directory, &name), rest)?;
            }
        }
        Ok(())
    }
}

/// The applications whose requests search a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Searchers {
    /// No application. Its files are used only where another file imports them.
    None,
    All,
    /// The applications that match components of its path.
    By(Vec<String>),
}

/// The applications whose requests search a directory, derived from its path alone. Nothing is read.
pub fn searchers(member: &Member, directory: &str) -> Searchers {
    let overlays = member.overlays.iter().map(|overlay| &**overlay);
    let whole = std::iter::once("").chain(overlays).filter_map(|overlay| {
        let rest = directory.strip_suffix(overlay)?;
        if overlay.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_suffix('/') }
    });
    let mut applications = Vec::new();
    for directory in whole {
        let directory = components(directory);
        let paths =
            std::iter::once("").chain(member.layout.search_paths.iter().map(String::as_str));
        for path in paths {
            let path = match member.label.as_deref() {
                Some(label) => path.replace("{label}", label),
                None => path.to_owned(),
            };
            let pattern = components(&path);
            let literal = literal_count(&pattern);
            let is_above = literal < pattern.len() && directory.len() == literal;
            let mut application = None;
            if is_above || !leads(&pattern, &directory, &mut application) {
                continue;
            }
            match application {
                Some(application) => applications.push(application),
                None => return Searchers::All,
            }
        }
    }
    if applications.is_empty() { Searchers::None } else { Searchers::By(applications) }
}

/// Returns true if a pattern can match a directory. Sets `application` to the component that matches `{application}`. A
/// pattern with `{application}` as a part of a component can match for every application.
fn leads(pattern: &[&str], directory: &[&str], application: &mut Option<String>) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return directory.is_empty();
    };
    if *first == "**" {
        return (0..=directory.len()).any(|skip| leads(rest, &directory[skip..], application));
    }
    let Some((name, below)) = directory.split_first() else {
        return false;
    };
    let glob_of = first.replace("{application}", "*").replace("{profile}", "*");
    if !glob::matches(&glob_of, name) || !leads(rest, below, application) {
        return false;
    }
    if *first == "{application}" {
        *application = Some((*name).to_owned());
    }
    true
}

/// Returns true if a search path matches a path or something below it, derived from the path alone.
pub fn is_on_search_path(member: &Member, path: &str) -> bool {
    let components: Vec<&str> = path.split('/').collect();
    member.layout.search_paths.iter().any(|pattern| {
        let pattern: Vec<&str> =
            pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        begins(&pattern, &components, member.label.as_deref().unwrap_or_default())
    })
}

/// Returns true if a pattern matches a directory or something below it.
fn begins(pattern: &[&str], directory: &[&str], label: &str) -> bool {
    let (Some((first, rest)), Some((name, below))) =
        (pattern.split_first(), directory.split_first())
    else {
        return directory.is_empty();
    };
    let wanted = first.replace("{application}", "*").replace("{profile}", "*");
    *first == "**"
        || glob::matches(&wanted.replace("{label}", label), name) && begins(rest, below, label)
}

fn is_pattern(component: &str) -> bool {
    component.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_leads(pattern: &str, directory: &str, expected: Option<&str>) {
        let (pattern, directory): (Vec<&str>, Vec<&str>) =
            (pattern.split('/').collect(), directory.split('/').collect());
        let mut application = None;
        let leads = leads(&pattern, &directory, &mut application);
        let found = leads.then(|| application.unwrap_or_default());
        assert_eq!(found.as_deref(), expected, "{pattern:?} {directory:?}");
    }

    #[test]
    fn the_path_of_a_directory_names_its_application() {
        check_leads("*/{application}", "team/orders", Some("orders"));
        check_leads("*/{application}", "team", None);
        check_leads("*/{application}", "team/orders/deep", None);
        check_leads("services", "services", Some(""));
        check_leads("{profile}", "prod", Some(""));
        check_leads("team-{application}", "team-orders", Some(""));
        check_leads("**/{application}", "a/b/orders", Some("orders"));
        check_leads("**/{application}", "orders", Some("orders"));
        check_leads("a/**/z", "a/z", Some(""));
        check_leads("a/**/z", "a/b/c", None);
    }
}
