//! What documents say about profiles and imports, and what they may not say (specification, 7.3 and section 8).

use std::collections::HashMap;
use std::sync::Arc;

use super::{Loaded, activation};
use crate::format::Format;
use crate::model::{Document, Origin, Position, Problem, items};
use crate::tree::join;

const INCLUDE: &str = "spring.profiles.include";
const GROUP: &str = "spring.profiles.group.";
const IMPORT: &str = "spring.config.import";
/// What a profile-specific file may not hold.
const REFUSED_IN_SPECIFIC: [&str; 3] =
    ["spring.profiles.include", "spring.profiles.active", "spring.profiles.default"];
/// Locations that Spring would read outside the repository; they are delivered as data and never followed.
const FOREIGN: [&str; 7] =
    ["file", "classpath", "http", "https", "configtree", "configserver", "env"];
/// The most profiles that includes and groups may add up to.
const ACCEPTED_COUNT_MAX: usize = 256;

/// A list as Spring binds it: one comma separated text, or indexed keys.
pub(super) struct List {
    pub(super) values: Vec<String>,
    pub(super) position: Position,
}

/// The list that a document has under a key, if it has the key.
pub(super) fn list(document: &Document, key: &str) -> Option<List> {
    let mut found: Option<List> = None;
    for property in &document.properties {
        let Some(rest) = strip_relaxed(&property.key, key) else {
            continue;
        };
        let values: Vec<String> = if rest.is_empty() {
            items(property.value.text()).map(str::to_owned).collect()
        } else if rest.starts_with('[') && rest.ends_with(']') {
            vec![property.value.text().trim().to_owned()]
        } else {
            continue;
        };
        found
            .get_or_insert_with(|| List { values: Vec::new(), position: property.position })
            .values
            .extend(values);
    }
    found
}

/// What follows `prefix` in a key; dashes and case do not count, as in Spring's relaxed names.
fn strip_relaxed<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    if let Some(rest) = key.strip_prefix(prefix) {
        return Some(rest);
    }
    if !key.get(..6)?.eq_ignore_ascii_case("spring") {
        return None;
    }
    let mut rest = key.char_indices();
    for expected in prefix.chars().filter(|c| *c != '-') {
        let (_, actual) = rest.by_ref().find(|(_, c)| *c != '-')?;
        if !actual.eq_ignore_ascii_case(&expected) {
            return None;
        }
    }
    Some(&key[rest.offset()..])
}

/// The profiles an environment is made for: the requested ones, what the files include, and the members of groups;
/// later ones rank higher.
pub(super) fn accept(requested: &[&str], files: &[Loaded]) -> Result<Vec<String>, Problem> {
    let mut wanted: Vec<String> = requested.iter().map(|profile| (*profile).to_owned()).collect();
    let mut groups: HashMap<String, Vec<String>> = HashMap::new();
    for file in files {
        for document in file.documents.iter().rev() {
            let active = activation::is_active(file, document, None)?;
            if let Some(include) = list(document, INCLUDE) {
                if !active {
                    return Err(refusal(
                        file,
                        include.position,
                        INCLUDE,
                        "not allowed in a document with an activation condition",
                    ));
                }
                wanted.extend(include.values);
            }
            if active {
                collect_groups(document, &mut groups);
            }
        }
    }
    Ok(expand(wanted, &groups))
}

fn collect_groups(document: &Document, groups: &mut HashMap<String, Vec<String>>) {
    let mut here: HashMap<String, Vec<String>> = HashMap::new();
    for property in &document.properties {
        let Some(rest) = strip_relaxed(&property.key, GROUP) else {
            continue;
        };
        let name = rest.split('[').next().unwrap_or(rest);
        here.entry(name.to_owned())
            .or_default()
            .extend(items(property.value.text()).map(str::to_owned));
    }
    for (name, members) in here {
        groups.entry(name).or_insert(members);
    }
}

fn expand(wanted: Vec<String>, groups: &HashMap<String, Vec<String>>) -> Vec<String> {
    let mut accepted: Vec<String> = Vec::new();
    let mut stack: Vec<String> = wanted.into_iter().rev().collect();
    while let Some(profile) = stack.pop() {
        if accepted.contains(&profile) || accepted.len() >= ACCEPTED_COUNT_MAX {
            continue;
        }
        if let Some(members) = groups.get(&profile) {
            stack.extend(members.iter().rev().cloned());
        }
        accepted.push(profile);
    }
    accepted
}

/// The selector of Spring Boot before 2.4 fails every request that loads the file.
pub(super) fn refuse_legacy_selector(file: &Loaded) -> Result<(), Problem> {
    refuse(file, "spring.profiles", "replaced by spring.config.activate.on-profile")
}

/// Profile-specific files may not say which profiles there are.
pub(super) fn refuse_in_specific(file: &Loaded) -> Result<(), Problem> {
    REFUSED_IN_SPECIFIC
        .iter()
        .try_for_each(|key| refuse(file, key, "not allowed in a profile-specific file"))
}

fn refuse(file: &Loaded, key: &str, message: &str) -> Result<(), Problem> {
    for document in file.documents.iter() {
        if let Some(found) = list(document, key) {
            return Err(refusal(file, found.position, key, message));
        }
    }
    Ok(())
}

fn refusal(file: &Loaded, position: Position, key: &str, message: &str) -> Problem {
    Problem {
        origin: Origin { file: Arc::clone(&file.path), position: Some(position) },
        key: Some(key.into()),
        message: message.to_owned(),
    }
}

/// One file named by `spring.config.import`, inside the same tree.
pub(super) struct Import {
    /// The path in the tree.
    pub(super) path: String,
    /// As it was written.
    pub(super) text: Arc<str>,
}

impl Import {
    /// The path of the variant for a profile.
    pub(super) fn for_profile(&self, profile: &str) -> String {
        match self.path.rsplit_once('.') {
            Some((stem, extension)) => format!("{stem}-{profile}.{extension}"),
            None => format!("{}-{profile}", self.path),
        }
    }
}

/// The imports of a document that stay in the tree, in the order written. Others are data and are not followed.
pub(super) fn imports(file: &Loaded, document: &Document) -> Result<Vec<Import>, Problem> {
    let Some(list) = list(document, IMPORT) else {
        return Ok(Vec::new());
    };
    let mut imports = Vec::new();
    for text in &list.values {
        let location = text.strip_prefix("optional:").unwrap_or(text);
        if let Some((prefix, _)) = location.split_once(':') {
            if FOREIGN.contains(&prefix) {
                continue;
            }
            let message = "unknown kind of location in an import";
            return Err(refusal(file, list.position, IMPORT, message));
        }
        if location.starts_with('/') {
            continue;
        }
        if location.ends_with('/') || Format::of(location).is_none() {
            let message = "unknown file extension in an import";
            return Err(refusal(file, list.position, IMPORT, message));
        }
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        if let Some(path) = relative(directory, location) {
            imports.push(Import { path, text: location.into() });
        }
    }
    Ok(imports)
}

/// `location` seen from `directory`, or `None` if that leaves the tree.
fn relative(directory: &str, location: &str) -> Option<String> {
    let mut path: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in location.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                path.pop()?;
            }
            name => path.push(name),
        }
    }
    Some(path.iter().fold(String::new(), |path, part| join(&path, part)))
}
