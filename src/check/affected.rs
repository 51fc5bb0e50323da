//! The known environments that a change can affect, derived from the changed paths. The cost grows with the change, not with
//! the number of files.

use std::collections::BTreeSet;

use super::composition::Composition;
use crate::catalog;
use crate::model::{Label, Query, SHARED_APPLICATION};
use crate::resolve::{self, Dependencies, Differences, Searchers};
use crate::snapshot::{Member, Snapshot};
use crate::tree::{Changes, Tree, TreeError};

/// The applications and profiles that a change can affect.
#[derive(Default)]
struct AffectedEnvironments {
    /// Applications affected in all profiles.
    applications: BTreeSet<String>,
    /// Profiles affected in all applications.
    profiles: BTreeSet<String>,
    /// True if all profiles of all applications are affected.
    everything: bool,
    /// True if files add profiles to the requested ones, so that a file for one profile can affect environments without it.
    has_added_profiles: bool,
}

/// The known environments that a change can affect, each once.
///
/// # Errors
/// When a source cannot be read.
pub fn affected(
    new: &Snapshot,
    old: &Snapshot,
    differences: &Differences,
) -> Result<Vec<Query>, TreeError> {
    let mut affected = AffectedEnvironments::default();
    match differences {
        Differences::Everything => affected.everything = true,
        Differences::Members(changes) => {
            for ((new, old), changes) in new.members.iter().zip(&old.members).zip(changes) {
                affected.add(new, old, changes)?;
            }
        }
    }
    affected.queries(new, old)
}

impl AffectedEnvironments {
    fn add(&mut self, new: &Member, old: &Member, changes: &Changes) -> Result<(), TreeError> {
        self.everything |= changes.links;
        if self.everything || changes.files.is_empty() {
            return Ok(());
        }
        let mut links = new.tree.links(&old.tree)?;
        links.extend(old.tree.links(&old.tree)?);
        let composition = Composition::of(new, old, &changes.files, &links)?;
        self.has_added_profiles |= composition.has_added_profiles;
        for path in &composition.reached {
            if self.everything {
                return Ok(());
            }
            self.add_file(new, old, path)?;
        }
        self.everything |= composition.is_unbounded;
        Ok(())
    }

    fn add_file(&mut self, new: &Member, old: &Member, path: &str) -> Result<(), TreeError> {
        let schema = resolve::schema_of(path);
        if schema.is_none() && !resolve::is_configuration(&new.layout, path) {
            return Ok(());
        }
        let directory = catalog::directory_of(path);
        let searchers = resolve::searchers(new, directory);
        let stem = schema.unwrap_or_else(|| catalog::stem_of(path));
        match searchers {
            // The file is used only by its importers, which are added too.
            Searchers::None => {}
            Searchers::By(applications) => self.applications.extend(applications),
            Searchers::All if stem == SHARED_APPLICATION => self.everything = true,
            Searchers::All if schema.is_some() => {
                self.applications.insert(stem.to_owned());
            }
            Searchers::All => match stem.strip_prefix("application-") {
                Some(_) if self.has_added_profiles => self.everything = true,
                Some(profile) => {
                    self.profiles.insert(profile.to_owned());
                }
                None => {
                    // The owner of a deleted file is found in the revision that has the file.
                    let member = if new.tree.file(path)?.is_some() { new } else { old };
                    let makes_one = is_configuration(new, old, path)?;
                    self.add_owners(member, directory, stem, makes_one)?;
                }
            },
        }
        Ok(())
    }

    /// Adds the application that owns a file: the part of the stem before a dash if a file has exactly that stem, or else the
    /// whole stem. An application with a directory of its own owns the file too. A file of another kind, such as a `pom.xml`,
    /// makes no application (`makes_one` is false), but it can break an application with configuration beside it.
    fn add_owners(
        &mut self,
        member: &Member,
        directory: &str,
        stem: &str,
        makes_one: bool,
    ) -> Result<(), TreeError> {
        let mut has_owner = false;
        for head in catalog::splits_at_dash(stem).map(|(head, _)| head).chain([stem]) {
            let is_owner = (makes_one && head == stem) || has_own_file(member, directory, head)?;
            let query = query(head, "default");
            let has_directory = resolve::mention(member, &member.tree, &query, head)?.directory;
            if has_directory || (is_owner && !has_owner) {
                self.applications.insert(head.to_owned());
            }
            has_owner |= is_owner;
        }
        Ok(())
    }

    fn queries(self, new: &Snapshot, old: &Snapshot) -> Result<Vec<Query>, TreeError> {
        let mut queries = Vec::new();
        for application in &self.applications {
            for profile in profiles_of(application, new, old)? {
                queries.push(query(application, &profile));
            }
        }
        if self.everything || !self.profiles.is_empty() {
            let mut known = catalog::catalog(new)?.queries(&Label::Default);
            known.retain(|query| {
                let wanted = self.everything || self.profiles.contains(&*query.profiles);
                wanted && !self.applications.contains(&*query.application)
            });
            queries.append(&mut known);
        }
        Ok(queries)
    }
}

fn query(application: &str, profile: &str) -> Query {
    Query { application: application.into(), profiles: profile.into(), label: Label::Default }
}

/// Returns true if a file is configuration in one of the two revisions.
fn is_configuration(new: &Member, old: &Member, path: &str) -> Result<bool, TreeError> {
    Ok(resolve::holds_configuration(new, path)? || resolve::holds_configuration(old, path)?)
}

/// Returns true if an application has a file without a profile, in this directory or in its search directories.
pub(super) fn has_own_file(
    member: &Member,
    directory: &str,
    application: &str,
) -> Result<bool, TreeError> {
    let begins = format!("{application}.");
    for name in member.tree.names_with_prefix(directory, &begins)? {
        let path = crate::tree::join(directory, name);
        if catalog::stem_of(name) == application && resolve::holds_configuration(member, &path)? {
            return Ok(true);
        }
    }
    let query = query(application, "default");
    for path in resolve::own_files(member, &member.tree, &query, &mut Dependencies::default())? {
        if resolve::holds_configuration(member, &path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The profiles of an application at one revision: `default`, and those that its files or the shared files mention.
///
/// # Errors
/// When a source cannot be read.
pub fn known_profiles(
    application: &str,
    snapshot: &Snapshot,
) -> Result<BTreeSet<String>, TreeError> {
    profiles_of(application, snapshot, snapshot)
}

/// The profile `default`, and every profile that the files of the application or the shared files mention.
fn profiles_of(
    application: &str,
    new: &Snapshot,
    old: &Snapshot,
) -> Result<BTreeSet<String>, TreeError> {
    let mut profiles = BTreeSet::from(["default".to_owned()]);
    for member in new.members.iter().chain(&old.members) {
        let any = query(application, "*");
        for directory in
            resolve::directories(member, &member.tree, &any, &mut Dependencies::default())?
        {
            for name in BTreeSet::from([application, SHARED_APPLICATION]) {
                add_profiles(member, &directory, name, &mut profiles)?;
            }
        }
    }
    Ok(profiles)
}

fn add_profiles(
    member: &Member,
    directory: &str,
    stem: &str,
    profiles: &mut BTreeSet<String>,
) -> Result<(), TreeError> {
    let tree: &Tree = &member.tree;
    for name in tree.names_with_prefix(directory, &format!("{stem}-"))? {
        if resolve::holds_configuration(member, &crate::tree::join(directory, name))? {
            profiles.insert(catalog::stem_of(name)[stem.len() + 1..].to_owned());
        }
    }
    for name in tree.names_with_prefix(directory, &format!("{stem}."))? {
        let path = crate::tree::join(directory, name);
        if !resolve::is_configuration(&member.layout, name) {
            continue;
        }
        let Some(file) = tree.file(&path)? else { continue };
        for document in tree.documents(&file)?.unwrap_or_else(|_| [].into()).iter() {
            profiles.extend(resolve::named_profiles(document));
        }
    }
    Ok(())
}
