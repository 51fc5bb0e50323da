//! Searches of a label's history: whether the label is at a position or past it.
//!
//! Every search is blocking, and ends after [`LAST_GOOD_DEPTH_MAX`] ancestors.

use super::answer::Answer;
use super::answer_handle::AnswerSides;
use super::build::LAST_GOOD_DEPTH_MAX;
use super::cell_answers::HeldAnswers;
use super::holds::{Reader, Side};
use super::resume::{self, EpochRelation, HoldRelation};
use crate::model::{Epoch, Epochs, LabelPosition, Revision};
use crate::snapshot::{History, HoldReason, Member, MemberHolds, Rewinds, RolloutHold, Snapshot};
use crate::tree::TreeError;

/// The relation of a reader's answer to a position that the reader has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The answer can be older.
    Behind,
    /// The answer is at the position or past it.
    Reached,
    /// The reader has the candidate of the hold with this number, and receives it from now on.
    ShowsCandidate { number: u64 },
}

/// Finds the standing of the present answers for a reader.
///
/// The number of a hold orders its publications, because a rollback publishes the stable revision again, later than the
/// candidate. Ancestry orders the publications between two numbers.
pub(super) fn find_standing(
    sides: &AnswerSides,
    reader: &Reader,
    seen: &LabelPosition,
) -> Result<Standing, TreeError> {
    let tip = sides.tip();
    let (epochs, numbers) = split_epochs(seen, tip.members.len());
    let held = sides.answers.held.as_ref();
    let relation_of = |index: usize| {
        let MemberHolds { branch, are_recorded, .. } = &tip.members[index].holds;
        let record = branch.as_ref().map(|branch| branch.record);
        let number = held.and_then(|held| held.hold.choice.number_of(index));
        resume::compare_holds(numbers[index], record, number, *are_recorded)
    };
    let relations: Vec<HoldRelation> = (0..tip.members.len()).map(relation_of).collect();
    if relations.contains(&HoldRelation::Behind) {
        return Ok(Standing::Behind);
    }
    let seen = SeenPosition { revision: &seen.revision, epochs, relations: &relations };
    let side = sides.answers.choose(reader);
    let answer = sides.answers.of_side(side);
    let Some(HeldAnswers { hold, .. }) = held.map(|held| &**held) else {
        return standing(has_reached(tip, &seen, answer)?);
    };
    if side == Side::Candidate {
        return standing(has_reached(tip, &seen, answer)?);
    }
    if has_reached(&hold.stable, &seen, answer)? {
        return Ok(Standing::Reached);
    }
    // A reader without a name has to show the number, because a script can ask for a revision that it never received.
    let mut held_members = hold.choice.holds().map(|(index, _)| index);
    let shows_number = held_members
        .all(|index| numbers[index].map(|epoch| epoch.number) == hold.choice.number_of(index));
    let may_have_it =
        (reader.instance.is_some() || shows_number) && hold.choice.reason() == HoldReason::Rollout;
    let is_shown = || -> Result<bool, TreeError> {
        for (index, hold) in hold.choice.holds() {
            if !shows(&tip.members[index], tip, &seen, hold)? {
                return Ok(false);
            }
        }
        has_reached(tip, &seen, sides.answers.newest())
    };
    if may_have_it && is_shown()? {
        return Ok(Standing::ShowsCandidate { number: hold.choice.number() });
    }
    Ok(Standing::Behind)
}

fn standing(is_reached: bool) -> Result<Standing, TreeError> {
    Ok(if is_reached { Standing::Reached } else { Standing::Behind })
}

/// A position that a client has seen, compared with the holds of this server.
struct SeenPosition<'a> {
    revision: &'a Revision,
    /// The epoch of each member.
    epochs: Option<Vec<Option<Epoch>>>,
    /// The relation of each member's holds.
    relations: &'a [HoldRelation],
}

impl SeenPosition<'_> {
    /// The revision of one member. None if the revision is not one of this label's members.
    fn revision_of(&self, index: usize, count: usize) -> Option<&str> {
        let parts = || self.revision.as_str().split(',');
        (parts().count() == count).then(|| parts().nth(index))?
    }
}

/// Splits the epochs of a position into those of rewinds and those of holds. Epochs with another number of parts come from
/// a server with other members under this label. They are ignored.
fn split_epochs(
    seen: &LabelPosition,
    count: usize,
) -> (Option<Vec<Option<Epoch>>>, Vec<Option<Epoch>>) {
    let parts = seen.epochs.as_ref().map_or(&[][..], Epochs::parts);
    match parts.len() {
        length if length == count && count > 0 => (Some(parts.to_vec()), vec![None; count]),
        length if length == 2 * count => (Some(parts[..count].to_vec()), parts[count..].to_vec()),
        _ => (None, vec![None; count]),
    }
}

/// Returns true if the revision that a client has seen is the first one with a candidate or a later one.
fn shows(
    member: &Member,
    tip: &Snapshot,
    seen: &SeenPosition<'_>,
    hold: &RolloutHold,
) -> Result<bool, TreeError> {
    let index = tip.members.iter().position(|it| std::ptr::eq(it, member));
    let Some(seen) = index.and_then(|index| seen.revision_of(index, tip.members.len())) else {
        return Ok(false);
    };
    if member.revision.as_str() == seen {
        return Ok(true);
    }
    let Some(history) = &member.history else { return Ok(false) };
    if member.revision == hold.candidate {
        return Ok(false);
    }
    for ancestor in history.ancestors().take(LAST_GOOD_DEPTH_MAX) {
        let revision = ancestor?.revision;
        if revision.as_str() == seen {
            return Ok(true);
        }
        if revision == hold.candidate {
            return Ok(false);
        }
    }
    Ok(false)
}

/// Returns true if a snapshot is at a position or past it. The revision of the position is one of the label, or of an
/// answer to which only some members contribute.
fn has_reached(
    snapshot: &Snapshot,
    seen: &SeenPosition<'_>,
    answer: &Answer,
) -> Result<bool, TreeError> {
    let SeenPosition { revision, epochs, relations } = seen;
    let is_here = snapshot.revision == **revision;
    let all = &snapshot.members;
    let epoch_of = |index: usize| epochs.as_ref().and_then(|parts| parts[index]);
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
        let is_ahead = relations.get(index) == Some(&HoldRelation::Ahead);
        if !is_ahead && !has_passed(&all[index], wanted, relation_of(index))? {
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
