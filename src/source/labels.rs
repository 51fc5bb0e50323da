//! What a label may be, for the sources that have branches: a name, or a comma list of names, never an expression.

use std::sync::Arc;

use crate::model::{Label, Revision};
use crate::snapshot::{Member, Snapshot};
use crate::source::SourceError;

/// How many labels one list may name.
const LIST_COUNT_MAX: usize = 16;
/// The longest name of a label, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// The names that a label asks for, in the order of the request; `None` in it stands for the default.
///
/// # Errors
/// A list that names nothing, or too much, is an unknown label.
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

/// Whether this can be the name of a branch or a tag. Full names of references cannot: they would be a second name for
/// the same thing.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && !name.starts_with(['-', ' '])
        && !name.ends_with(' ')
        && !name.starts_with("refs/")
        && name != "@"
}

/// What Spring tries when a branch of this name is missing.
pub(super) fn sibling(name: &str) -> Option<&'static str> {
    match name {
        "main" => Some("master"),
        "master" => Some("main"),
        _ => None,
    }
}

/// One snapshot of the members of a list, which come in the order of the request: the last one wins, the revisions
/// keep the order of the request (specification, 11.5).
pub(super) fn combine(mut members: Vec<Member>) -> Snapshot {
    let revisions: Vec<&str> = members.iter().map(|member| member.revision.as_str()).collect();
    let revision = Revision::new(revisions.join(","));
    members.reverse();
    for (group, member) in members.iter_mut().enumerate() {
        member.group = group;
    }
    Snapshot { revision, members }
}

/// Whether a snapshot was made of these revisions and labels, so that it can be handed out again.
pub(super) fn is_same(snapshot: &Snapshot, wanted: &[(Revision, Option<Arc<str>>)]) -> bool {
    snapshot.members.len() == wanted.len()
        && snapshot.members.iter().rev().zip(wanted).all(|(member, (revision, label))| {
            member.revision == *revision && member.label == *label
        })
}
