//! The known environments of a snapshot: which applications and profiles its files speak of.
//!
//! Applications are the stems of configuration files that no other stem cuts short at a dash (`orders`, where there are
//! `orders.yml` and `orders-prod.yml`), and the directories that stand for `{application}` in a search path. Profiles
//! are what follows a known application, or `application`, and what activation expressions name.

use std::collections::BTreeSet;

use crate::model::{Label, Query};
use crate::resolve::{self, Asked};
use crate::snapshot::{Member, Snapshot};
use crate::tree::{EntryKind, TreeError, join};

/// The most files whose activation expressions are looked into; beyond it only names count.
const EXPRESSION_FILE_COUNT_MAX: usize = 50_000;

/// The name whose files every application has.
pub const EVERYONE: &str = "application";

/// The applications and profiles that a snapshot speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Without `application`, which every application has.
    pub applications: BTreeSet<String>,
    /// Without `default`.
    pub profiles: BTreeSet<String>,
}

impl Catalog {
    /// Every known environment: each application for `default` and for each profile.
    pub fn queries(&self, label: &Label) -> Vec<Query> {
        let profiles: Vec<&str> =
            std::iter::once("default").chain(self.profiles.iter().map(String::as_str)).collect();
        let application = EVERYONE.to_owned();
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

/// Reads the names of all files, and the activation expressions of the configuration among them.
///
/// # Errors
/// When a source cannot be read; files that do not parse have no expressions.
pub fn catalog(snapshot: &Snapshot) -> Result<Catalog, TreeError> {
    let mut catalog = Catalog::default();
    for member in &snapshot.members {
        collect(member, &mut catalog)?;
    }
    Ok(catalog)
}

fn collect(member: &Member, catalog: &mut Catalog) -> Result<(), TreeError> {
    let mut paths = Vec::new();
    member.tree.walk(&mut |path| {
        if resolve::is_configuration(&member.layout, path) {
            paths.push(path.to_owned());
        }
    })?;
    let directories = search_directories(member, catalog)?;
    paths.retain(|path| directories.contains(directory_of(path)));
    let stems: BTreeSet<&str> = paths.iter().map(|path| stem_of(path)).collect();
    for stem in &stems {
        let owner = cuts(stem).find(|(head, _)| *head == EVERYONE || stems.contains(head));
        match owner {
            Some((_, profile)) => {
                catalog.profiles.insert(profile.to_owned());
            }
            None if *stem != EVERYONE => {
                catalog.applications.insert((*stem).to_owned());
            }
            None => {}
        }
    }
    catalog.profiles.remove("default");
    for path in paths.iter().take(EXPRESSION_FILE_COUNT_MAX) {
        let Some(file) = member.tree.file(path)? else {
            continue;
        };
        if !mentions_activation(&member.tree.bytes(&file)?) {
            continue;
        }
        for document in member.tree.documents(&file)?.unwrap_or_else(|_| [].into()).iter() {
            catalog.profiles.extend(resolve::named_profiles(document));
        }
    }
    catalog.profiles.remove("default");
    Ok(())
}

/// The directories that any query could search: search paths with their placeholders read as wildcards.
fn search_directories(
    member: &Member,
    catalog: &mut Catalog,
) -> Result<BTreeSet<String>, TreeError> {
    let anyone = Query { application: "*".into(), profiles: "*".into(), label: Label::Default };
    let directories = resolve::directories(member, &member.tree, &anyone, &mut Asked::default())?;
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
                let searched = directories.contains(&join(parent, &name).into());
                if kind == EntryKind::Directory && searched && !name.starts_with('.') {
                    catalog.applications.insert(name.into());
                }
            }
        }
    }
    Ok(directories.iter().map(|directory| directory.to_string()).collect())
}

/// The path of the directory that a path is in.
pub(crate) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The name of a file without its extension.
pub(crate) fn stem_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Every way to cut a stem at a dash, the longest head first.
pub(crate) fn cuts(stem: &str) -> impl Iterator<Item = (&str, &str)> {
    stem.rmatch_indices('-').map(|(at, _)| (&stem[..at], &stem[at + 1..]))
}

/// A cheap look before parsing: most files have no activation expression.
fn mentions_activation(bytes: &[u8]) -> bool {
    let words: [&[u8]; 2] = [b"on-profile", b"onProfile"];
    words.iter().any(|word| bytes.windows(word.len()).any(|window| window == *word))
}
