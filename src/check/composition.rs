//! Files that add other files to an environment, by imports or by profiles.
//!
//! An environment loads the files with the names of its application and profiles. A loaded file names all others.

use std::collections::BTreeSet;

use super::aliases::aliases;
use crate::model::{Document, items};
use crate::snapshot::Member;
use crate::tree::TreeError;

const IMPORT: &str = "springconfigimport";
const PROFILES: [&str; 2] = ["springprofilesinclude", "springprofilesgroup"];

/// The files through which an environment reaches changed files.
#[derive(Default)]
pub(super) struct Composition {
    /// The changed files and the files that may import them, directly or through other files. Each has all its paths through
    /// symbolic links.
    pub(super) reached: BTreeSet<String>,
    /// True if a file has too many paths through symbolic links to list them.
    pub(super) is_unbounded: bool,
    /// True if a file adds profiles, so that an environment can have more than the requested ones.
    pub(super) has_added_profiles: bool,
}

impl Composition {
    /// Examines the files that may import others or add profiles. `links` are the symbolic links with their targets.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn of(
        new: &Member,
        old: &Member,
        changed: &[String],
        links: &[(String, String)],
    ) -> Result<Self, TreeError> {
        let mut composition = Self::default();
        let mut open: Vec<(&str, Vec<String>)> = Vec::new();
        for path in new.tree.composing_files(&old.tree)? {
            let Some(file) = new.tree.file(path)? else { continue };
            for document in new.tree.documents(&file)?.unwrap_or_else(|_| [].into()).iter() {
                composition.has_added_profiles |= adds_profiles(document);
                open.push((path, imports(document)));
            }
        }
        open.retain(|(_, imports)| !imports.is_empty());
        let mut reached = composition.add(changed, links);
        while !reached.is_empty() {
            let may_reach = |(_, imports): &mut (&str, Vec<String>)| {
                let mut pairs =
                    reached.iter().flat_map(|path| imports.iter().map(move |it| (it, path)));
                pairs.any(|(location, path)| may_lead(location, path))
            };
            let importers: Vec<String> =
                open.extract_if(.., may_reach).map(|(path, _)| path.to_owned()).collect();
            reached = composition.add(&importers, links);
        }
        Ok(composition)
    }

    /// Adds files with all their paths, and returns these.
    fn add(&mut self, paths: &[String], links: &[(String, String)]) -> Vec<String> {
        let mut all = Vec::with_capacity(paths.len());
        for path in paths {
            match aliases(path, links) {
                Some(aliases) => all.extend(aliases),
                None => self.is_unbounded = true,
            }
        }
        self.reached.extend(all.iter().cloned());
        all
    }
}

/// The letters and digits of a key in lower case, by which Spring compares keys.
fn canonical(key: &str) -> String {
    key.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

fn adds_profiles(document: &Document) -> bool {
    let mut keys = document.properties.iter().map(|property| canonical(&property.key));
    keys.any(|key| PROFILES.iter().any(|name| key.starts_with(name)))
}

/// The imported locations of a document that may be in its own tree.
fn imports(document: &Document) -> Vec<String> {
    let imports = document.properties.iter().filter(|it| canonical(&it.key).starts_with(IMPORT));
    let locations = imports.flat_map(|property| items(property.value.text()));
    let locations = locations.flat_map(|location| location.split(';'));
    locations.filter(|location| !is_foreign(location)).map(str::to_owned).collect()
}

/// Returns true if a location has a scheme, such as `vault://`. A location with a placeholder in place of it may be any.
fn is_foreign(location: &str) -> bool {
    let location = without_optional(location);
    let scheme = location.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.contains(['$', '/', '{']))
}

fn without_optional(location: &str) -> &str {
    let location = location.trim();
    location.strip_prefix("optional:").unwrap_or(location)
}

/// Returns true if a location may name a path or its variant for a profile: a component of the path begins with the stem of
/// the location.
fn may_lead(location: &str, path: &str) -> bool {
    let location = without_optional(location);
    if location.contains(['$', '*']) {
        return true;
    }
    let name = location.trim_end_matches('/').rsplit('/').next().unwrap_or(location);
    let stem = name.split(['.', '[']).next().unwrap_or(name);
    path.split('/').any(|part| part.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_may_lead_to_paths_with_its_stem() {
        for (location, path) in [
            ("more.yml", "more.yml"),
            ("../shared/more.yml", "shared/more-prod.yml"),
            ("optional:parts/", "parts/a.yml"),
            ("plain[.yml]", "plain"),
            ("${NAME}.yml", "any.yml"),
            ("parts/*/", "parts/a/b.yml"),
            ("./", "any.yml"),
        ] {
            assert!(may_lead(location, path), "{location} {path}");
        }
        assert!(!may_lead("more.yml", "parts/a.yml"));
    }

    #[test]
    fn a_scheme_leads_out_of_the_tree() {
        for location in ["vault://", "optional:consul:", "file:/etc/a.yml", "nacos:x.yml"] {
            assert!(is_foreign(location), "{location}");
        }
        for location in ["a.yml", "optional:a.yml", "${X:near.yml}", "a/${X:b}.yml"] {
            assert!(!is_foreign(location), "{location}");
        }
    }
}
