//! The lookup of a text or binary file (docs/protocol.md#61-lookup).

use std::sync::Arc;

use super::{Dependencies, choose, search_paths};
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

/// Finds the first match: the directories in configured order, and in each of them the profiles in request order before the
/// plain name.
///
/// # Errors
/// When a source cannot be read.
pub fn find_file(
    snapshot: &Snapshot,
    query: &Query,
    path: &str,
) -> Result<Option<FoundFile>, TreeError> {
    for index in choose(snapshot, query).unwrap_or_default() {
        let member = &snapshot.members[index];
        let tree = &member.tree;
        for directory in
            search_paths::directories(member, tree, query, &mut Dependencies::default())?
        {
            for candidate in candidates(query, path) {
                if let Some(file) = tree.file(&join(&directory, &candidate))? {
                    return Ok(Some(FoundFile {
                        file,
                        tree: tree.clone(),
                        made_seconds: member.made_seconds,
                    }));
                }
            }
        }
    }
    Ok(None)
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
