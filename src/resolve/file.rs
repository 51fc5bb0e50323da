//! Which file a request for text or bytes means (specification, 6.1).

use std::sync::Arc;

use super::{Asked, choose, search};
use crate::model::Query;
use crate::snapshot::Snapshot;
use crate::tree::{File, Tree, TreeError, join};

/// A file that was found.
pub struct FoundFile {
    /// The file.
    pub file: Arc<File>,
    /// The tree it is in.
    pub tree: Tree,
    /// When its revision was made, in seconds since 1970, if known.
    pub made_seconds: Option<i64>,
}

/// The first match: directories in configured order, in each the profiles as requested and then the plain name.
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
        for directory in search::directories(member, tree, query, &mut Asked::default())? {
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
