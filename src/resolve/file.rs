//! The lookup of a text or binary file (docs/protocol.md#61-lookup).

use std::sync::Arc;

use super::{Dependencies, choose, search_paths};
use crate::areas::Permission;
use crate::model::Query;
use crate::snapshot::Snapshot;
use crate::tree::{Tree, TreeError, TreeFile, join};

/// A file with the tree that contains it.
pub struct FoundFile {
    pub file: Arc<TreeFile>,
    pub tree: Tree,
    /// The time of its revision in seconds since 1970, if known.
    pub made_seconds: Option<i64>,
}

/// The result of looking for a file on behalf of a caller.
#[derive(Default)]
pub struct FileSearch {
    pub found: Option<FoundFile>,
    /// The path of the found file if the policy only records that the caller may not read it. Without a found file, the
    /// first path that the caller may not read, whether it exists or not.
    pub denied: Option<String>,
}

/// Finds the first match: the directories in configured order, and in each of them the profiles in request order before the
/// plain name. `permission` decides about a path.
///
/// Invariant: a path that its name denies is not looked up. A link leads only to a file that is permitted itself.
///
/// # Errors
/// When a source cannot be read.
pub fn find_file(
    snapshot: &Snapshot,
    query: &Query,
    path: &str,
    permission: &dyn Fn(&str) -> Permission,
) -> Result<FileSearch, TreeError> {
    let mut denied = None;
    for index in choose(snapshot, query).unwrap_or_default() {
        let member = &snapshot.members[index];
        let tree = &member.tree;
        for directory in
            search_paths::directories(member, tree, query, &mut Dependencies::default())?
        {
            for candidate in candidates(query, path) {
                let candidate = join(&directory, &candidate);
                let by_name = permission(&candidate);
                if by_name == Permission::Denied {
                    denied.get_or_insert(candidate);
                    continue;
                }
                let look = tree.lookup_file(&candidate)?;
                let Some(file) = look.found else { continue };
                let by_target = look.behind_links.map_or(by_name, |target| permission(&target));
                if by_target == Permission::Denied {
                    denied.get_or_insert(candidate);
                    continue;
                }
                let is_allowed = [by_name, by_target] == [Permission::Allowed; 2];
                let (tree, made_seconds) = (tree.clone(), member.made_seconds);
                return Ok(FileSearch {
                    found: Some(FoundFile { file, tree, made_seconds }),
                    denied: Some(candidate).filter(|_| !is_allowed),
                });
            }
        }
    }
    Ok(FileSearch { found: None, denied })
}

fn candidates(query: &Query, path: &str) -> Vec<String> {
    let name_at = path.rfind('/').map_or(0, |at| at + 1);
    let dot = path[name_at..].rfind('.').map_or(path.len(), |at| name_at + at);
    let (stem, extension) = path.split_at(dot);
    let mut candidates: Vec<String> = query
        .profile_names()
        .map(|profile| match profile {
            "default" => path.to_owned(),
            profile => format!("{stem}-{profile}{extension}"),
        })
        .collect();
    candidates.push(path.to_owned());
    candidates
}
