//! Labels of sources that have branches: a name or a comma-separated list of names, never an expression.

use std::sync::Arc;

use crate::model::{Label, Revision};
use crate::snapshot::{Member, Snapshot};
use crate::source::SourceError;

/// The most labels of one list.
const LIST_COUNT_MAX: usize = 16;
/// The longest name of a label, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// The names in a label, in the order of the request. `None` as a name is the default label.
///
/// # Errors
/// An empty list and one with too many names are unknown labels.
pub(super) fn names(label: &Label) -> Result<Vec<Option<&str>>, SourceError> {
    let Some(list) = label.name() else {
        return Ok(vec![None]);
    };
    let names: Vec<Option<&str>> =
        list.split(',').filter(|name| !name.trim().is_empty()).map(Some).collect();
    if names.is_empty() || names.len() > LIST_COUNT_MAX {
        return Err(SourceError::UnknownLabel(label.clone()));
    }
    Ok(names)
}

/// Returns whether this can be the name of a branch or a tag. Full names of references are excluded, because they would
/// be second names of the same labels.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && !name.starts_with(['-', ' '])
        && !name.ends_with(' ')
        && !name.starts_with("refs/")
        && name != "@"
}

/// The branch that Spring tries when the branch of this name is missing.
pub(super) fn sibling(name: &str) -> Option<&'static str> {
    match name {
        "main" => Some("master"),
        "master" => Some("main"),
        _ => None,
    }
}

/// Combines the members of a list, which come in the order of the request, into one snapshot. The last member wins, and
/// the revisions keep the order of the request (docs/protocol.md#112-lists-of-labels).
pub(super) fn combine(mut members: Vec<Member>) -> Snapshot {
    let revisions: Vec<&str> = members.iter().map(|member| member.revision.as_str()).collect();
    let revision = Revision::new(revisions.join(","));
    members.reverse();
    for (group, member) in members.iter_mut().enumerate() {
        member.group = group;
    }
    Snapshot::at(revision, members)
}

/// Returns whether a snapshot was made of these revisions and labels and can be used again.
pub(super) fn is_same(snapshot: &Snapshot, wanted: &[(Revision, Option<Arc<str>>)]) -> bool {
    snapshot.members.len() == wanted.len()
        && snapshot.members.iter().rev().zip(wanted).all(|(member, (revision, label))| {
            member.revision == *revision && member.label == *label
        })
}
