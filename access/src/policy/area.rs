//! Areas: to which applications a file belongs.
//!
//! A file belongs to the first of these that applies:
//!
//! 1. the applications that every matching `[[area]]` names
//! 2. the application of the policy after which its innermost directory is named
//! 3. the longest application of the policy with which its name begins, followed by `-` and a profile
//! 4. the application of the policy with which the name of its innermost directory begins
//! 5. all applications, if its name is `application` or begins with `application-`
//! 6. every application whose environment could load it by its name or its directories
//!
//! A directory comes before the name of a file, so that a team that may push to its own directory cannot place a file
//! for another application there. Case 6 opens nothing that a rule with a star does not open anyway, because the policy
//! then tells none of these applications from the others.
//!
//! The profile of a file is in its name or in the names of its directories. A raw file can contain further documents
//! for other profiles. Profiles of one application that have different readers belong into separate files.
//!
//! Invariant: the answer depends on the policy and the path only, never on the name that a request uses.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::document::{Item, Reader, Section, printable};
use super::problem::Place;
use super::table_change::list;
use crate::pattern::Pattern;

/// The application whose files every application shares.
pub const SHARED_APPLICATION: &str = "application";
/// The suffix of a schema's file name, behind the name of its application.
const SCHEMA_SUFFIX: &str = ".schema.json";
/// The profile of a file whose name contains none.
const DEFAULT_PROFILE: &str = "default";
/// The longest path that can be allowed.
const PATH_BYTES_MAX: usize = 4096;
/// The most segments of a path that can be allowed.
const PATH_SEGMENT_COUNT_MAX: usize = 64;
/// Stands for the application of the file in `vault` and `file`.
const APPLICATION: &str = "{application}";

/// One `[[area]]` table.
#[derive(Debug, Clone)]
pub(super) struct Area {
    pub(super) place: Place,
    pub(super) path: Vec<Pattern>,
    /// Empty if the area only adds references to files that belong to applications by their names.
    pub(super) application: Vec<Box<str>>,
    vault: Vec<Pattern>,
    file: Vec<Pattern>,
}

/// The reason for which a file belongs to its applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnershipKind {
    /// An `[[area]]` names the applications.
    Area,
    /// A directory has the name of an application.
    Directory,
    /// The name of the file begins with the name of an application.
    Name,
    /// The file is part of every environment.
    Shared,
    /// The policy knows no application to which the file could belong.
    Unknown,
}

/// An application to which a file belongs, and the profiles of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<'p> {
    pub application: Cow<'p, str>,
    /// The profile in the name of the file, and each directory that is named after a profile of the policy. `default`
    /// if there is none.
    pub profiles: Vec<Cow<'p, str>>,
    /// False if the application is the name of a directory.
    pub is_by_name: bool,
}

/// The applications to which a file belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership<'p> {
    pub kind: OwnershipKind,
    pub claims: Vec<Claim<'p>>,
}

/// A reference to a secret outside the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretReference<'a> {
    /// A path in Vault.
    Vault(&'a str),
    /// The name of a file in the directory for secrets.
    File(&'a str),
}

/// All areas, and the names of the applications that the policy knows.
#[derive(Debug, Clone, Default)]
pub(super) struct AreaMap {
    pub(super) areas: Vec<Area>,
    known: HashSet<Arc<str>>,
    known_profiles: HashSet<Arc<str>>,
    /// The length of the longest known name, which bounds the lookups for one path.
    known_bytes_max: usize,
}

impl Area {
    pub(super) fn parse(mut section: Section<'_>, reader: &mut Reader<'_>) -> Self {
        let at = section.at;
        let path = section.texts("path", reader);
        let application = section.texts("application", reader);
        let vault = section.texts("vault", reader).unwrap_or_default();
        let file = section.texts("file", reader).unwrap_or_default();
        section.finish(reader);
        if path.is_none() {
            reader.error(at, "[[area]] has no path. Add path = [\"orders/**\"]");
        }
        for name in application.iter().flatten() {
            if name.value.contains(['*', '{', '}', ',']) || name.value.is_empty() {
                let shown = printable(&name.value);
                let message = format!("{shown}: an area names its applications without patterns");
                reader.error(name.at, message);
            }
        }
        let names = application.into_iter().flatten().map(|name| name.value.into_boxed_str());
        Self {
            place: reader.place(at),
            path: patterns(&path.unwrap_or_default(), "", reader),
            application: names.collect(),
            vault: patterns(&vault, APPLICATION, reader),
            file: patterns(&file, APPLICATION, reader),
        }
    }

    fn matches(&self, path: &str) -> bool {
        self.path.iter().any(|pattern| pattern.matches(path))
    }

    /// The paths, and what the area says about their files.
    pub(super) fn statement(&self) -> (String, String) {
        let names: BTreeSet<&str> = self.application.iter().map(|name| &**name).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let owners = if names.is_empty() {
            "the owners by name".to_owned()
        } else {
            format!("owned by {names}")
        };
        let named = |kind: &str, patterns: &[Pattern]| {
            let list = list(patterns);
            if list.is_empty() { String::new() } else { format!("; {kind} {list}") }
        };
        let secrets = named("vault", &self.vault) + &named("file", &self.file);
        (format!("the area {}", list(&self.path)), owners + &secrets)
    }

    /// Returns true if the area has at least one pattern for secrets.
    pub(super) fn has_references(&self) -> bool {
        !self.vault.is_empty() || !self.file.is_empty()
    }

    fn permits(&self, reference: SecretReference<'_>, claims: &[Claim<'_>]) -> bool {
        let (patterns, name) = match reference {
            SecretReference::Vault(path) => (&self.vault, path),
            SecretReference::File(name) => (&self.file, name),
        };
        patterns.iter().any(|pattern| {
            if !pattern.as_str().contains(APPLICATION) {
                return pattern.matches(name);
            }
            claims.iter().any(|claim| {
                // A star in the name of an application would widen the pattern.
                let text = pattern.as_str().replace(APPLICATION, &claim.application);
                !claim.application.contains('*')
                    && Pattern::parse(&text).is_ok_and(|pattern| pattern.matches(name))
            })
        })
    }
}

impl PartialEq for AreaMap {
    /// Returns true if every file belongs to the same applications and may name the same secrets.
    fn eq(&self, other: &Self) -> bool {
        let content = |map: &Self| -> Vec<_> {
            let areas = map.areas.iter().cloned();
            areas.map(|area| (area.path, area.application, area.vault, area.file)).collect()
        };
        self.known == other.known
            && self.known_profiles == other.known_profiles
            && content(self) == content(other)
    }
}

impl AreaMap {
    /// `known` are the applications that rules name without a star, and `profiles` the profiles.
    pub(super) fn new(
        areas: Vec<Area>,
        known: impl IntoIterator<Item = Arc<str>>,
        profiles: impl IntoIterator<Item = Arc<str>>,
    ) -> Self {
        let of_areas = areas.iter().flat_map(|area| &area.application).map(|name| (**name).into());
        let mut known: HashSet<Arc<str>> = known.into_iter().chain(of_areas).collect();
        known.remove(SHARED_APPLICATION);
        let known_bytes_max = known.iter().map(|name| name.len()).max().unwrap_or(0);
        let known_profiles = profiles.into_iter().collect();
        Self { areas, known, known_profiles, known_bytes_max }
    }

    /// The applications that the policy knows, in order.
    pub(super) fn known(&self) -> Vec<&str> {
        let mut known: Vec<&str> = self.known.iter().map(|name| &**name).collect();
        known.sort_unstable();
        known
    }

    pub(super) fn ownership<'p>(&'p self, path: &'p str) -> Ownership<'p> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = stem(name);
        let one = |kind, application: &'p str| {
            let claims = vec![self.claim(directory, stem, application, true)];
            Ownership { kind, claims }
        };
        if let Some(owners) = self.area_owners(path) {
            let claims = owners.into_iter().map(|owner| self.claim(directory, stem, owner, true));
            return Ownership { kind: OwnershipKind::Area, claims: claims.collect() };
        }
        let whole = &path[..path.len() - name.len() + stem.len()];
        if let Some(application) = self.known_directory(directory) {
            one(OwnershipKind::Directory, application)
        } else if let Some(application) = self.known_prefix(whole) {
            one(OwnershipKind::Name, application)
        } else if let Some(application) = self.known_directory_prefix(directory) {
            one(OwnershipKind::Directory, application)
        } else if stem == SHARED_APPLICATION || profile_after(stem, SHARED_APPLICATION).is_some() {
            one(OwnershipKind::Shared, SHARED_APPLICATION)
        } else {
            Ownership { kind: OwnershipKind::Unknown, claims: self.unknown_claims(directory, stem) }
        }
    }

    /// Returns `None` if no area matches. A file that several areas match belongs to the applications that all of them
    /// name, so that an area never opens what another one closes.
    fn area_owners(&self, path: &str) -> Option<Vec<&str>> {
        let mut matching =
            self.areas.iter().filter(|area| !area.application.is_empty() && area.matches(path));
        let mut owners: Vec<&str> =
            matching.next()?.application.iter().map(|name| &**name).collect();
        for area in matching {
            owners.retain(|owner| area.application.iter().any(|name| **name == **owner));
        }
        Some(owners)
    }

    fn unknown_claims<'p>(&'p self, directory: &'p str, stem: &'p str) -> Vec<Claim<'p>> {
        let names = dash_prefixes(stem).map(|name| (name, true));
        let segments = directory.split('/').filter(|segment| !segment.is_empty());
        let names = names.chain(segments.map(|segment| (segment, false)));
        names.map(|(name, is_by_name)| self.claim(directory, stem, name, is_by_name)).collect()
    }

    fn claim<'p>(
        &self,
        directory: &'p str,
        stem: &'p str,
        application: &'p str,
        is_by_name: bool,
    ) -> Claim<'p> {
        let last = application.rsplit('/').next().unwrap_or(application);
        let of_name = profile_after(stem, last).or_else(|| profile_after(stem, SHARED_APPLICATION));
        let segments = directory.split('/').filter(|segment| *segment != application);
        let of_directories = segments.filter(|segment| self.known_profiles.contains(*segment));
        let profiles = of_name.into_iter().chain(of_directories).map(Cow::Borrowed);
        let mut profiles: Vec<Cow<'p, str>> = profiles.collect();
        if profiles.is_empty() {
            profiles.push(DEFAULT_PROFILE.into());
        }
        Claim { application: application.into(), profiles, is_by_name }
    }

    /// Returns true if the environment of an application may load a file.
    pub(super) fn may_load(&self, applications: &[&str], path: &str) -> bool {
        let ownership = self.ownership(path);
        ownership.claims.iter().any(|claim| {
            claim.application == SHARED_APPLICATION
                || applications.iter().any(|application| claim.application == *application)
        })
    }

    pub(super) fn permits(&self, path: &str, reference: SecretReference<'_>) -> bool {
        let ownership = self.ownership(path);
        let mut areas = self.areas.iter().filter(|area| area.has_references());
        areas.any(|area| area.matches(path) && area.permits(reference, &ownership.claims))
    }

    pub(super) fn lookup<'p>(&'p self, name: &str) -> Option<&'p str> {
        let is_possible = name.len() <= self.known_bytes_max;
        is_possible.then(|| self.known.get(name)).flatten().map(|name| &**name)
    }

    /// The known application that is the innermost directory, or its end. A name may itself contain `/`.
    fn known_directory<'p>(&'p self, directory: &str) -> Option<&'p str> {
        let ends = segment_starts(directory).map(|at| at.saturating_sub(1)).filter(|end| *end > 0);
        let mut ends: Vec<usize> = ends.chain([directory.len()]).collect();
        ends.reverse();
        ends.into_iter().find_map(|end| {
            segment_starts(&directory[..end]).find_map(|start| self.lookup(&directory[start..end]))
        })
    }

    /// The longest known application with which the end of a path begins, where a `-` separates it from the rest.
    fn known_prefix<'p>(&'p self, path: &str) -> Option<&'p str> {
        let candidates = segment_starts(path).flat_map(|start| dash_prefixes(&path[start..]));
        candidates.filter_map(|name| self.lookup(name)).max_by_key(|name| name.len())
    }

    /// The known application with which a directory begins. The innermost directory is preferred.
    fn known_directory_prefix<'p>(&'p self, directory: &str) -> Option<&'p str> {
        let mut rest = directory;
        loop {
            let found = self.known_prefix(rest);
            if found.is_some() || rest.is_empty() {
                return found;
            }
            rest = rest.rsplit_once('/').map_or("", |(before, _)| before);
        }
    }
}

/// Returns true if a path is relative and has no empty, `.` or `..` segment, so that it names one file. The bounds
/// limit the work of finding its owner.
pub(super) fn is_normal(path: &str) -> bool {
    path.len() <= PATH_BYTES_MAX
        && path.split('/').count() <= PATH_SEGMENT_COUNT_MAX
        && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
        && !path.contains(['\\', '\0'])
}

/// The name of a file without its extension. A schema belongs to the application for which it is.
fn stem(name: &str) -> &str {
    let of_schema = name.strip_suffix(SCHEMA_SUFFIX).filter(|stem| !stem.is_empty());
    let of_file = name.rsplit_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty());
    of_schema.or(of_file).unwrap_or(name)
}

/// The positions at which the segments of a path begin.
fn segment_starts(path: &str) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1))
}

/// A name and everything before each `-` of its last segment, the longest first.
fn dash_prefixes(name: &str) -> impl Iterator<Item = &str> {
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let shorter = name.rmatch_indices('-').map(|(at, _)| at).filter(move |at| *at > last);
    std::iter::once(name).chain(shorter.map(|at| &name[..at]))
}

fn profile_after<'p>(stem: &'p str, application: &str) -> Option<&'p str> {
    stem.strip_prefix(application)?.strip_prefix('-').filter(|profile| !profile.is_empty())
}

/// Parses patterns in which one placeholder is permitted.
fn patterns(texts: &[Item<String>], placeholder: &str, reader: &mut Reader<'_>) -> Vec<Pattern> {
    let mut parsed = Vec::new();
    for text in texts {
        let plain = match placeholder {
            "" => text.value.clone(),
            placeholder => text.value.replace(placeholder, ""),
        };
        if plain.contains(['{', '}']) {
            let shown = printable(&text.value);
            let help = match placeholder {
                "" => "braces mean nothing here".to_owned(),
                placeholder => format!("only {placeholder} can stand in braces"),
            };
            reader.error(text.at, format!("{shown}: {help}"));
            continue;
        }
        match Pattern::parse(&text.value) {
            Ok(pattern) => parsed.push(pattern),
            Err(error) => reader.error(text.at, format!("{}: {error}", printable(&text.value))),
        }
    }
    parsed
}
