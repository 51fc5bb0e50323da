//! Where files are looked for: search paths with placeholders and wildcards (specification, 11.6 and section 13).

use std::sync::Arc;

use super::Asked;
use crate::model::Query;
use crate::snapshot::{Member, Style};
use crate::tree::{EntryKind, Tree, TreeError, join};

/// The most directories that search paths may expand to.
const DIRECTORY_COUNT_MAX: usize = 1_000;
/// How deep `**` looks.
const WILDCARD_DEPTH_MAX: usize = 16;

/// The existing directories that are searched for a query, lowest precedence first, each once.
///
/// # Errors
/// When the source cannot be read.
pub fn directories(
    member: &Member,
    tree: &Tree,
    query: &Query,
    asked: &mut Asked,
) -> Result<Vec<Arc<str>>, TreeError> {
    let mut found: Vec<Arc<str>> = Vec::new();
    let mut expanded: Vec<String> = Vec::new();
    let paths = std::iter::once("").chain(member.layout.search_paths.iter().map(String::as_str));
    for path in paths {
        for profile in query.profile_names() {
            for application in query.application_names() {
                let path = substitute(path, application, profile, member.label.as_deref());
                // Most paths are the same for every profile.
                if !expanded.contains(&path) {
                    expand(tree, &path, asked, &mut found)?;
                    expanded.push(path);
                }
            }
        }
    }
    if member.layout.style == Style::Native {
        for overlay in &member.overlays {
            for directory in found.clone() {
                expand(tree, &join(&directory, overlay), asked, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn substitute(path: &str, application: &str, profile: &str, label: Option<&str>) -> String {
    let path = path.replace("{application}", application).replace("{profile}", profile);
    match label {
        Some(label) => path.replace("{label}", label),
        None => path,
    }
}

/// Adds the directories that a pattern names. One that climbs or leaves the tree names none.
fn expand(
    tree: &Tree,
    pattern: &str,
    asked: &mut Asked,
    found: &mut Vec<Arc<str>>,
) -> Result<(), TreeError> {
    let components: Vec<&str> =
        pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if components.contains(&"..") {
        return Ok(());
    }
    if components.iter().any(|part| is_pattern(part)) {
        return descend(tree, "", &components, 0, asked, found);
    }
    let path = components.iter().fold(String::new(), |path, part| join(&path, part));
    if path.is_empty() || asked.directory(tree, &path)? {
        add(found, path.into());
    }
    Ok(())
}

fn descend(
    tree: &Tree,
    directory: &str,
    components: &[&str],
    depth: usize,
    asked: &mut Asked,
    found: &mut Vec<Arc<str>>,
) -> Result<(), TreeError> {
    let Some((first, rest)) = components.split_first() else {
        add(found, directory.into());
        return Ok(());
    };
    if *first == "**" {
        descend(tree, directory, rest, depth, asked, found)?;
    }
    if depth >= WILDCARD_DEPTH_MAX {
        return Ok(());
    }
    if !is_pattern(first) {
        // Looked for by name: a directory of a thousand services is not gone through for one of them.
        let path = join(directory, first);
        return match asked.directory(tree, &path)? {
            true => descend(tree, &path, rest, depth + 1, asked, found),
            false => Ok(()),
        };
    }
    asked.directory(tree, directory)?;
    for (name, kind) in tree.list(directory)?.unwrap_or_default() {
        if kind != EntryKind::Directory || !glob(first, &name) {
            continue;
        }
        let rest = if *first == "**" { components } else { rest };
        descend(tree, &join(directory, &name), rest, depth + 1, asked, found)?;
    }
    Ok(())
}

/// Who looks for files in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Searched {
    /// Nobody: its files count only where another one imports them.
    ByNobody,
    /// Every application.
    ByEveryone,
    /// The applications that parts of its name stand for.
    By(Vec<String>),
}

/// Who looks for files in a directory, told from its path alone: nothing is read.
pub fn searched(member: &Member, directory: &str) -> Searched {
    let overlays = member.overlays.iter().map(|overlay| &**overlay);
    let whole = std::iter::once("").chain(overlays).filter_map(|overlay| {
        let rest = directory.strip_suffix(overlay)?;
        match overlay.is_empty() || rest.is_empty() {
            true => Some(rest),
            false => rest.strip_suffix('/'),
        }
    });
    let mut applications = Vec::new();
    for directory in whole {
        let components: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
        let paths =
            std::iter::once("").chain(member.layout.search_paths.iter().map(String::as_str));
        for path in paths {
            let path = match member.label.as_deref() {
                Some(label) => path.replace("{label}", label),
                None => path.to_owned(),
            };
            let pattern: Vec<&str> =
                path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            let mut application = None;
            if !leads(&pattern, &components, &mut application) {
                continue;
            }
            match application {
                Some(application) => applications.push(application),
                None => return Searched::ByEveryone,
            }
        }
    }
    match applications.is_empty() {
        true => Searched::ByNobody,
        false => Searched::By(applications),
    }
}

/// Whether a pattern can lead to a directory. Gives the component that stands for the application as a whole; a pattern
/// that has the application as a part of a name may lead anyone anywhere.
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
    if !glob(&glob_of, name) || !leads(rest, below, application) {
        return false;
    }
    if *first == "{application}" {
        *application = Some((*name).to_owned());
    }
    true
}

fn add(found: &mut Vec<Arc<str>>, directory: Arc<str>) {
    if found.len() < DIRECTORY_COUNT_MAX && !found.contains(&directory) {
        found.push(directory);
    }
}

fn is_pattern(component: &str) -> bool {
    component.contains(['*', '?'])
}

/// Whether a name matches a pattern of `*` and `?`, in time linear in both for every step back.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut star = None;
    loop {
        let (mut pattern_after, mut name_after) = (pattern.clone(), name.clone());
        match (pattern_after.next(), name_after.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                pattern = pattern_after;
                star = Some((pattern.clone(), name.clone()));
            }
            (Some(p), Some(n)) if p == '?' || p == n => {
                (pattern, name) = (pattern_after, name_after);
            }
            _ => {
                let Some((after, rest)) = &mut star else {
                    return false;
                };
                if rest.next().is_none() {
                    return false;
                }
                (pattern, name) = (after.clone(), rest.clone());
            }
        }
    }
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
    fn who_searches_a_directory_is_told_by_its_name() {
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

    #[test]
    fn globs_match_whole_names() {
        assert!(glob("*", "anything"));
        assert!(glob("foo*", "foo-dev"));
        assert!(glob("f?o", "foo"));
        assert!(glob("a*b*c", "axxbyyc"));
        assert!(!glob("foo", "foobar"));
        assert!(!glob("?", ""));
        assert!(glob("**", "x"));
    }
}
