//! Searches of a label's history: whether the label is at a position or past it.
//!
//! Every search is blocking, and ends after [`LAST_GOOD_DEPTH_MAX`] ancestors.

use super::answer::Answer;
use super::build::LAST_GOOD_DEPTH_MAX;
use super::resume::{self, EpochRelation};
use crate::model::{Epochs, LabelPosition};
use crate::snapshot::{History, Member, Rewinds, Snapshot};
use crate::tree::TreeError;

/// Returns true if a snapshot is at a position or past it. The revision of the position is one of the label, or of an
/// answer to which only some members contribute.
pub(super) fn has_reached(
    snapshot: &Snapshot,
    seen: &LabelPosition,
    answer: &Answer,
) -> Result<bool, TreeError> {
    let LabelPosition { revision, epochs } = seen;
    let is_here = snapshot.revision == *revision;
    if is_here && (epochs.is_none() || *epochs == snapshot.epochs) {
        return Ok(true);
    }
    let all = &snapshot.members;
    // Epochs with another number of parts come from a server with other members under this label. They are ignored.
    let epochs = epochs.as_ref().map(Epochs::parts).filter(|parts| parts.len() == all.len());
    let epoch_of = |index: usize| epochs.and_then(|parts| parts[index]);
    let relation_of = |index: usize| {
        let Rewinds { epoch, are_recorded, .. } = all[index].rewinds;
        resume::compare_epochs(epoch_of(index), epoch, are_recorded)
    };
    if (0..all.len()).any(|index| relation_of(index) == EpochRelation::Behind) {
        return Ok(false);
    }
    let parts: Vec<&str> = revision.as_str().split(',').collect();
    let members: Vec<usize> = if parts.len() == all.len() {
        (0..all.len()).collect()
    } else {
        let indices = answer.members.iter().map(|member| member.index);
        indices.filter(|index| *index < all.len()).collect()
    };
    if is_here || parts.len() != members.len() {
        return Ok(is_here);
    }
    for (index, wanted) in members.into_iter().zip(parts) {
        if !has_passed(&all[index], wanted, relation_of(index))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns true if a whole snapshot is at a revision, or has it in its history. None if a member with another revision
/// has no history.
pub(super) fn has_served(snapshot: &Snapshot, revision: &str) -> Result<Option<bool>, TreeError> {
    let members = &snapshot.members;
    let parts: Vec<&str> = revision.split(',').collect();
    if parts.len() != members.len() {
        return Ok(Some(false));
    }
    for (member, part) in members.iter().zip(parts) {
        if member.revision.as_str() == part {
            continue;
        }
        let Some(history) = &member.history else {
            return Ok(None);
        };
        if !contains(&**history, part)? {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

/// Returns true if a member is at a revision or past it.
fn has_passed(member: &Member, wanted: &str, relation: EpochRelation) -> Result<bool, TreeError> {
    let is_in_history = || {
        let is_here = member.revision.as_str() == wanted;
        match &member.history {
            Some(history) if !is_here => contains(&**history, wanted),
            _ => Ok(is_here),
        }
    };
    let was_left = || {
        member.rewinds.left.iter().any(|left| {
            // A history that cannot be read, such as one that was pruned meanwhile, contains no revision.
            left.revision.as_str() == wanted || contains(&*left.history, wanted).unwrap_or(false)
        })
    };
    resume::has_passed(relation, is_in_history, was_left)
}

/// Returns true if a revision is among the nearest [`LAST_GOOD_DEPTH_MAX`] ancestors of a history.
fn contains(history: &dyn History, revision: &str) -> Result<bool, TreeError> {
    for ancestor in history.ancestors().take(LAST_GOOD_DEPTH_MAX) {
        if ancestor?.revision.as_str() == revision {
            return Ok(true);
        }
    }
    Ok(false)
}
