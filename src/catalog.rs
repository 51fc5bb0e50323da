//! The catalogue: the applications and profiles that the files of a snapshot mention.
//!
//! An application is the stem of a configuration file, unless another stem is a prefix of it that ends before a dash:
//! `orders.yml` and `orders-prod.yml` make the application `orders`. A directory that matches `{application}` in a search
//! path is an application too: `cart/cart-prod.yml` alone makes the application `cart` with the profile `prod`. A profile is
//! the rest of a stem behind a known application, or a name in an activation expression. Files that only have the extension
//! of configuration, such as a `pom.xml`, are ignored.

use std::collections::{BTreeSet, HashSet};

use crate::model::{Label, Query, SHARED_APPLICATION};
use crate::resolve::{self, Dependencies, Searchers};
use crate::snapshot::{Member, Snapshot};
use crate::tree::{EntryKind, TreeError, join};

/// The applications and profiles that a snapshot mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Without `application`, which every application has.
    pub applications: BTreeSet<String>,
    /// Without `default`.
    pub profiles: BTreeSet<String>,
}

impl Catalog {
    /// The known environments: each application with `default` and with each profile.
    pub fn queries(&self, label: &Label) -> Vec<Query> {
        let profiles: Vec<&str> =
            std::iter::once("default").chain(self.profiles.iter().map(String::as_str)).collect();
        let application = SHARED_APPLICATION.to_owned();
        std::iter::once(&application)
            .chain(&self.applications)
            .flat_map(|application| {
                profiles.iter().map(|profile| Query {
                    application: application.as_str().into(),
                    profiles: (*profile).into(),
                    label: label.clone(),
                })
            })
            .collect()
    }
}

/// Reads the names of all files, and the activation expressions of configuration files. A file that does not parse has no
/// expressions.
///
/// # Errors
/// When a source cannot be read.
pub fn catalog(snapshot: &Snapshot) -> Result<Catalog, TreeError> {
    visible_catalog(snapshot, &|_| true)
}

/// As [`catalog`], of the files whose paths are visible only.
///
/// # Errors
/// When a source cannot be read.
pub fn visible_catalog(
    snapshot: &Snapshot,
    is_visible: &dyn Fn(&str) -> bool,
) -> Result<Catalog, TreeError> {
    let mut catalog = Catalog::default();
    for member in &snapshot.members {
        collect(member, is_visible, &mut catalog)?;
    }
    Ok(catalog)
}

fn collect(
    member: &Member,
    is_visible: &dyn Fn(&str) -> bool,
    catalog: &mut Catalog,
) -> Result<(), TreeError> {
    let mut paths = Vec::new();
    member.tree.walk(&mut |path| {
        if resolve::is_configuration(&member.layout, path) && is_visible(path) {
            paths.push(path.to_owned());
        }
    })?;
    let directories = search_directories(member)?;
    paths.retain(|path| directories.contains(directory_of(path)));
    let paths = configuration_among(member, paths)?;
    let stems: BTreeSet<&str> = paths.iter().map(|path| stem_of(path)).collect();
    for path in &paths {
        let stem = stem_of(path);
        if let Some((application, profile)) = owned_stem(member, path, stem) {
            catalog.applications.insert(application.to_owned());
            catalog.profiles.extend(profile.map(str::to_owned));
            continue;
        }
        let in_directory_of = match resolve::searchers(member, directory_of(path)) {
            Searchers::By(applications) => applications,
            Searchers::None | Searchers::All => Vec::new(),
        };
        let owner = splits_at_dash(stem).find(|(head, _)| {
            *head == SHARED_APPLICATION
                || stems.contains(head)
                || in_directory_of.iter().any(|application| application == head)
        });
        match owner {
            Some((_, profile)) => {
                catalog.profiles.insert(profile.to_owned());
            }
            None if stem != SHARED_APPLICATION => {
                catalog.applications.insert(stem.to_owned());
            }
            None => {}
        }
    }
    catalog.applications.extend(applications_of_directories(member, &directories)?);
    let composing = member.tree.composing_files(&member.tree)?;
    let composing: HashSet<&str> = composing.iter().map(|path| &**path).collect();
    for path in paths.iter().filter(|path| composing.contains(path.as_str())) {
        let Some(file) = member.tree.file(path)? else {
            continue;
        };
        for document in member.tree.documents(&file)?.unwrap_or_else(|_| [].into()).iter() {
            catalog.profiles.extend(resolve::named_profiles(document));
        }
    }
    catalog.profiles.remove("default");
    Ok(())
}

/// The application of the policy to which a file belongs by its name, and the profile in its name.
fn owned_stem<'p>(
    member: &'p Member,
    path: &'p str,
    stem: &'p str,
) -> Option<(&'p str, Option<&'p str>)> {
    let application = member.areas.owner(path)?;
    let rest = stem.strip_prefix(application)?;
    match rest.strip_prefix('-') {
        Some(profile) => Some((application, Some(profile))),
        None => rest.is_empty().then_some((application, None)),
    }
}

/// The paths whose content is configuration as well. A file whose extension is ambiguous is parsed once for this.
fn configuration_among(member: &Member, paths: Vec<String>) -> Result<Vec<String>, TreeError> {
    let mut kept = Vec::with_capacity(paths.len());
    for path in paths {
        if resolve::holds_configuration(member, &path)? {
            kept.push(path);
        }
    }
    Ok(kept)
}

/// The directories that any query could search: the search paths with wildcards in place of placeholders.
fn search_directories(member: &Member) -> Result<BTreeSet<String>, TreeError> {
    let anyone = Query { application: "*".into(), profiles: "*".into(), label: Label::Default };
    let directories =
        resolve::directories(member, &member.tree, &anyone, &mut Dependencies::default())?;
    Ok(directories.iter().map(|directory| directory.to_string()).collect())
}

/// The applications that have a directory of their own because a search path has `{application}` as a whole component.
fn applications_of_directories(
    member: &Member,
    directories: &BTreeSet<String>,
) -> Result<BTreeSet<String>, TreeError> {
    let mut applications = BTreeSet::new();
    for path in &member.layout.search_paths {
        let Some((before, after)) = path.split_once("{application}") else {
            continue;
        };
        let whole = (before.is_empty() || before.ends_with('/'))
            && (after.is_empty() || after == "/")
            && !before.contains(['{', '*', '?']);
        if whole {
            let parent = before.trim_matches('/');
            for (name, kind) in member.tree.list(parent)?.unwrap_or_default() {
                let searched = directories.contains(&join(parent, &name));
                if kind == EntryKind::Directory && searched && !name.starts_with('.') {
                    applications.insert(name.into());
                }
            }
        }
    }
    Ok(applications)
}

/// The path of a file's directory.
pub(crate) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The name of a file without its extension.
pub(crate) fn stem_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// All splits of a stem at a dash, the longest head first.
pub(crate) fn splits_at_dash(stem: &str) -> impl Iterator<Item = (&str, &str)> {
    stem.rmatch_indices('-').map(|(at, _)| (&stem[..at], &stem[at + 1..]))
}
