//! The lookup of an application in a tree: does it have a file or a directory of its own?
//!
//! Clients can invent any number of names. Only a name with files of its own has its own environment, and all others share
//! the environment of `application`.

use std::collections::BTreeSet;

use super::control::{Control, ControlList, Controls};
use super::location::{Reference, locations};
use super::{Dependencies, search_paths};
use crate::model::{Query, SHARED_APPLICATION};
use crate::snapshot::Member;
use crate::tree::{EntryKind, Tree, TreeError, join};

/// The kinds of a tree's entries that belong to an application by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mention {
    /// A directory matches a search path with `{application}`.
    pub directory: bool,
    /// A file in a search directory has a name that begins with the application's name. Its content is not read.
    pub file: bool,
}

/// Looks up an application of a query in a tree. An application without a mention has no file and no directory of its own
/// for any profile. The reverse does not hold.
///
/// # Errors
/// When the source cannot be read.
pub fn mention(
    member: &Member,
    tree: &Tree,
    query: &Query,
    application: &str,
) -> Result<Mention, TreeError> {
    let alone = Query { application: application.into(), ..query.clone() };
    let directory = search_paths::has_own_directory(member, tree, &alone)?;
    if directory || application == SHARED_APPLICATION {
        return Ok(Mention { directory, file: true });
    }
    let has_file = |directory: &str| -> Result<bool, TreeError> {
        Ok(tree.has_name_with_prefix(directory, &format!("{application}."))?
            || tree.has_name_with_prefix(directory, &format!("{application}-"))?)
    };
    for searched in search_paths::directories(member, tree, &alone, &mut Dependencies::default())? {
        if has_file(&searched)? {
            return Ok(Mention { directory, file: true });
        }
    }
    for folder in imported_folders(member, tree, query)? {
        if has_file(&folder)? {
            return Ok(Mention { directory, file: true });
        }
    }
    Ok(Mention::default())
}

/// The folders that the shared files of a query import. The server loads files of the requested applications from them.
/// Folders with placeholders are omitted, because their names depend on the environment.
fn imported_folders(
    member: &Member,
    tree: &Tree,
    query: &Query,
) -> Result<BTreeSet<Box<str>>, TreeError> {
    let mut folders = BTreeSet::new();
    let shared = Query { application: SHARED_APPLICATION.into(), ..query.clone() };
    for path in super::files_of(member, tree, &shared, &mut Dependencies::default())? {
        let Some(file) = tree.file(&path)? else { continue };
        let base = path.rsplit_once('/').map_or(String::new(), |(base, _)| format!("{base}/"));
        for document in tree.documents(&file)?.unwrap_or_else(|_| [].into()).iter() {
            let imports = Controls::of(document).list(document, Control::Import);
            for value in imports.iter().flat_map(ControlList::raw) {
                for reference in folder_references(&base, value) {
                    add_folders(tree, &reference, &mut folders)?;
                }
            }
        }
    }
    Ok(folders)
}

/// The references of a value of `spring.config.import` to folders.
fn folder_references(base: &str, value: &str) -> Vec<Reference> {
    let locations = locations(value).unwrap_or_default();
    let folders = locations.iter().filter(|it| it.is_folder() && !it.has_placeholder());
    let names = [SHARED_APPLICATION];
    folders.flat_map(|it| it.references(base, &names, None, &["yml"]).unwrap_or_default()).collect()
}

fn add_folders(
    tree: &Tree,
    reference: &Reference,
    folders: &mut BTreeSet<Box<str>>,
) -> Result<(), TreeError> {
    if !reference.is_pattern {
        folders.insert(reference.directory.as_str().into());
        return Ok(());
    }
    for (name, kind) in tree.list(&reference.directory)?.unwrap_or_default() {
        if kind == EntryKind::Directory {
            folders.insert(join(&reference.directory, &name).into());
        }
    }
    Ok(())
}
