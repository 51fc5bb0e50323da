//! Which known environments a change concerns, told from the paths that differ: nobody goes through twenty thousand files
//! because one of them changed.

use std::collections::BTreeSet;

use crate::catalog::{self, EVERYONE};
use crate::model::{Label, Query};
use crate::resolve::{self, Asked, Differences, Searched};
use crate::snapshot::{Member, Snapshot};
use crate::tree::{Changes, Tree, TreeError};

/// The applications and profiles that a change concerns.
#[derive(Default)]
struct Reach {
    /// All profiles of these applications.
    applications: BTreeSet<String>,
    /// These profiles of all applications.
    profiles: BTreeSet<String>,
    /// All profiles of all applications.
    everything: bool,
}

/// The known environments that a change may concern, each once. All of them where something changed that all may share.
///
/// # Errors
/// When a source cannot be read.
pub(super) fn concerned(
    new: &Snapshot,
    old: &Snapshot,
    differences: &Differences,
) -> Result<Vec<Query>, TreeError> {
    let mut reach = Reach::default();
    match differences {
        Differences::Everything => reach.everything = true,
        Differences::Members(changes) => {
            for ((new, old), changes) in new.members.iter().zip(&old.members).zip(changes) {
                reach.add(new, old, changes)?;
            }
        }
    }
    reach.queries(new, old)
}

impl Reach {
    fn add(&mut self, new: &Member, old: &Member, changes: &Changes) -> Result<(), TreeError> {
        self.everything |= changes.links;
        for path in &changes.files {
            if self.everything {
                return Ok(());
            }
            self.add_file(new, old, path)?;
        }
        Ok(())
    }

    fn add_file(&mut self, new: &Member, old: &Member, path: &str) -> Result<(), TreeError> {
        let schema = resolve::schema_of(path);
        if schema.is_none() && !resolve::is_configuration(&new.layout, path) {
            return Ok(());
        }
        let directory = catalog::directory_of(path);
        let by = resolve::searched(new, directory);
        let stem = schema.unwrap_or_else(|| catalog::stem_of(path));
        match by {
            Searched::ByNobody => self.everything |= may_break(new, path)?,
            Searched::By(applications) => self.applications.extend(applications),
            Searched::ByEveryone if stem == EVERYONE => self.everything = true,
            Searched::ByEveryone if schema.is_some() => {
                self.applications.insert(stem.to_owned());
            }
            Searched::ByEveryone => match stem.strip_prefix("application-") {
                Some(profile) => {
                    self.profiles.insert(profile.to_owned());
                }
                None => {
                    self.applications.insert(owner(new, old, directory, stem)?.to_owned());
                }
            },
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

/// Whether a file that no search finds could do harm where it is imported. Who imports it is known only by resolving.
fn may_break(member: &Member, path: &str) -> Result<bool, TreeError> {
    let Some(file) = member.tree.file(path)? else {
        return Ok(false);
    };
    Ok(member.tree.documents(&file)?.is_err())
}

/// The application that a file belongs to: what stands before a dash, where there are files of just that name, or else all.
fn owner<'a>(
    new: &Member,
    old: &Member,
    directory: &str,
    stem: &'a str,
) -> Result<&'a str, TreeError> {
    for (head, _) in catalog::cuts(stem) {
        for member in [new, old] {
            if has_own_file(member, directory, head)? {
                return Ok(head);
            }
        }
    }
    Ok(stem)
}

/// Whether an application has a file without a profile, in this directory or where its own files are.
fn has_own_file(member: &Member, directory: &str, application: &str) -> Result<bool, TreeError> {
    let begins = format!("{application}.");
    let has = |name: &&str| {
        resolve::is_configuration(&member.layout, name) && catalog::stem_of(name) == application
    };
    if member.tree.names_beginning(directory, &begins)?.iter().any(has) {
        return Ok(true);
    }
    let query = query(application, "default");
    Ok(!resolve::own_files(member, &member.tree, &query, &mut Asked::default())?.is_empty())
}

/// `default`, and every profile that the files of one application, or those of all, speak of.
fn profiles_of(
    application: &str,
    new: &Snapshot,
    old: &Snapshot,
) -> Result<BTreeSet<String>, TreeError> {
    let mut profiles = BTreeSet::from(["default".to_owned()]);
    for member in new.members.iter().chain(&old.members) {
        let any = query(application, "*");
        for directory in resolve::directories(member, &member.tree, &any, &mut Asked::default())? {
            for name in BTreeSet::from([application, EVERYONE]) {
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
    for name in tree.names_beginning(directory, &format!("{stem}-"))? {
        if resolve::is_configuration(&member.layout, name) {
            profiles.insert(catalog::stem_of(name)[stem.len() + 1..].to_owned());
        }
    }
    for name in tree.names_beginning(directory, &format!("{stem}."))? {
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
