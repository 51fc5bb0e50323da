//! The decision whether a server may answer a client that has seen a label before. The functions are pure.
//!
//! Ancestry orders the publications of one epoch. The numbers of epochs order the publications of one lineage, because
//! a rewind publishes an earlier commit later. Ancestry decides where the numbers give no order.

use crate::model::Epoch;

/// The relation of this server's position to the position that a client has seen, according to their epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EpochRelation {
    /// The client has seen a rewind that this server has not.
    Behind,
    /// This server has a rewind that the client has not seen. Everything here is newer.
    Ahead,
    /// Both are between the same rewinds. Ancestry is exact.
    Same,
    /// The client has seen no rewind, and this server has. Ancestry decides. Revisions that the rewinds have left count
    /// as known.
    Rewound,
    /// The epochs are of different records. Ancestry decides.
    Unordered,
}

/// Compares the epoch that a client has seen with the epoch that is served here. `are_recorded` means that a label
/// without an epoch was never rewound here.
pub(super) fn compare_epochs(
    seen: Option<Epoch>,
    here: Option<Epoch>,
    are_recorded: bool,
) -> EpochRelation {
    match (seen, here) {
        (Some(seen), Some(here)) if seen.lineage != here.lineage => EpochRelation::Unordered,
        (Some(seen), Some(here)) if seen.number > here.number => EpochRelation::Behind,
        (Some(seen), Some(here)) if seen.number < here.number => EpochRelation::Ahead,
        (Some(_), Some(_)) => EpochRelation::Same,
        (Some(_), None) if are_recorded => EpochRelation::Behind,
        (Some(_), None) => EpochRelation::Unordered,
        (None, Some(_)) => EpochRelation::Rewound,
        (None, None) => EpochRelation::Same,
    }
}

/// The relation of this server's holds to the number that a client has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldRelation {
    /// The client has seen a change of the holds that this server has not.
    Behind,
    /// The hold here was opened, superseded, promoted or withheld later. Everything here is newer.
    Ahead,
    /// Ancestry decides.
    Ancestry,
}

/// Compares the number that a client has seen with the record of rollouts here, and with the number of the hold that the
/// client receives. `are_recorded` means that a branch without a record never had a rollout here.
pub(super) fn compare_holds(
    seen: Option<Epoch>,
    record: Option<Epoch>,
    hold: Option<u64>,
    are_recorded: bool,
) -> HoldRelation {
    match (seen, record) {
        (Some(seen), Some(record)) if seen.lineage == record.lineage => {
            if seen.number > record.number {
                HoldRelation::Behind
            } else if hold.is_some_and(|number| seen.number < number) {
                HoldRelation::Ahead
            } else {
                HoldRelation::Ancestry
            }
        }
        (Some(_), None) if are_recorded => HoldRelation::Behind,
        _ => HoldRelation::Ancestry,
    }
}

/// Returns true if this server is at the position of the client or past it. `is_in_history` returns true if the
/// revision of the client is in the history of the label, `was_left` if a rewind took the label away from it.
///
/// # Errors
/// When the history cannot be read.
pub(super) fn has_passed<E>(
    relation: EpochRelation,
    is_in_history: impl FnOnce() -> Result<bool, E>,
    was_left: impl FnOnce() -> bool,
) -> Result<bool, E> {
    Ok(match relation {
        EpochRelation::Behind => false,
        EpochRelation::Ahead => true,
        EpochRelation::Same | EpochRelation::Unordered => is_in_history()?,
        EpochRelation::Rewound => is_in_history()? || was_left(),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// The number of publications in a model, and of commits. Each commit is the child of the previous one.
    const PUBLICATION_COUNT_MAX: usize = 6;
    const COMMIT_COUNT: usize = 3;

    /// The state of a label after one publication. A deleted label has no commit.
    #[derive(Debug, Clone)]
    struct Publication {
        commit: Option<usize>,
        epoch: Option<Epoch>,
        left: Vec<usize>,
    }

    /// All publications in order, with the numbers that a record assigns to rewinds.
    fn publications(commits: &[Option<usize>]) -> Vec<Publication> {
        let (mut at, mut number, mut left) = (None, 0, Vec::new());
        let mut published = Vec::new();
        for commit in commits {
            if let Some(before) = at
                && commit.is_none_or(|commit| commit < before)
            {
                number += 1;
                left.push(before);
            }
            at = *commit;
            let epoch = (number > 0).then_some(Epoch { lineage: 7, number });
            published.push(Publication { commit: at, epoch, left: left.clone() });
        }
        published
    }

    /// Returns true if a server at one publication answers a client that has seen another one.
    fn answers(seen: &Publication, here: &Publication) -> bool {
        let (Some(wanted), Some(commit)) = (seen.commit, here.commit) else { return false };
        let is_in_history = || Ok::<_, Infallible>(wanted <= commit);
        let was_left = || here.left.iter().any(|left| wanted <= *left);
        has_passed(compare_epochs(seen.epoch, here.epoch, true), is_in_history, was_left).unwrap()
    }

    /// Every sequence of publications of the given length.
    fn sequences(length: usize) -> Vec<Vec<Option<usize>>> {
        let mut all = vec![Vec::new()];
        for _ in 0..length {
            let commits = || (0..COMMIT_COUNT).map(Some).chain([None]);
            let longer = |before: Vec<_>| commits().map(move |it| [&before[..], &[it]].concat());
            all = all.into_iter().flat_map(longer).collect();
        }
        all
    }

    /// Covers force-pushes A, B, A, B, deletions and re-creations. A client of one server resumes at another one, which
    /// is at any earlier or later publication.
    #[test]
    fn no_order_of_rewinds_serves_an_older_position_after_a_newer_one() {
        let mut answer_count = 0;
        for commits in sequences(PUBLICATION_COUNT_MAX) {
            let published = publications(&commits);
            for (seen_at, seen) in published.iter().enumerate() {
                for (here_at, here) in published.iter().enumerate() {
                    let is_same = (seen.commit, seen.epoch) == (here.commit, here.epoch);
                    let is_answered = answers(seen, here);
                    if here_at < seen_at && !is_same {
                        assert!(!is_answered, "{here_at} after {seen_at} of {commits:?}");
                    } else if seen.commit.is_some() && here.commit.is_some() {
                        assert!(is_answered, "{here_at} refuses {seen_at} of {commits:?}");
                        answer_count += 1;
                    }
                }
            }
        }
        assert!(answer_count > 10_000);
    }

    /// The model must be able to fail. Ancestry alone serves revisions that a rewind took away.
    #[test]
    fn without_epochs_a_server_that_is_behind_serves_a_rolled_back_revision() {
        let published = publications(&[Some(0), Some(1), Some(0)]);
        let [_, behind, newest] = &published[..] else { panic!("three publications") };
        assert!(!answers(newest, behind));
        let without = |it: &Publication| Publication { epoch: None, ..it.clone() };
        assert!(answers(&without(newest), &without(behind)));
    }

    fn epoch(lineage: u64, number: u64) -> Option<Epoch> {
        Some(Epoch { lineage, number })
    }

    #[test]
    fn rewinds_of_one_lineage_are_ordered_by_their_numbers() {
        for are_recorded in [true, false] {
            let relation =
                |seen, here| compare_epochs(epoch(7, seen), epoch(7, here), are_recorded);
            assert_eq!(relation(2, 1), EpochRelation::Behind);
            assert_eq!(relation(1, 2), EpochRelation::Ahead);
            assert_eq!(relation(2, 2), EpochRelation::Same);
        }
    }

    #[test]
    fn a_record_without_a_rewind_is_behind_one_that_has_it() {
        assert_eq!(compare_epochs(epoch(7, 1), None, true), EpochRelation::Behind);
        assert_eq!(compare_epochs(epoch(7, 1), None, false), EpochRelation::Unordered);
    }

    #[test]
    fn ancestry_decides_where_epochs_give_no_order() {
        for are_recorded in [true, false] {
            assert_eq!(compare_epochs(None, None, are_recorded), EpochRelation::Same);
            assert_eq!(compare_epochs(None, epoch(7, 1), are_recorded), EpochRelation::Rewound);
            assert_eq!(
                compare_epochs(epoch(8, 9), epoch(7, 1), are_recorded),
                EpochRelation::Unordered
            );
            assert_eq!(
                compare_epochs(epoch(8, 1), epoch(7, 9), are_recorded),
                EpochRelation::Unordered
            );
        }
    }

    #[test]
    fn the_number_of_a_hold_orders_its_publications() {
        let relation =
            |seen, record, hold| compare_holds(epoch(7, seen), epoch(7, record), hold, true);
        assert_eq!(relation(3, 2, Some(2)), HoldRelation::Behind);
        assert_eq!(relation(3, 2, None), HoldRelation::Behind);
        assert_eq!(relation(2, 3, Some(3)), HoldRelation::Ahead);
        assert_eq!(relation(3, 3, Some(3)), HoldRelation::Ancestry);
        // Another application has changed the record.
        assert_eq!(relation(3, 9, Some(3)), HoldRelation::Ancestry);
        assert_eq!(relation(3, 9, None), HoldRelation::Ancestry);
    }

    #[test]
    fn numbers_of_other_records_give_no_order() {
        let seen = epoch(8, 9);
        assert_eq!(compare_holds(seen, epoch(7, 1), Some(1), true), HoldRelation::Ancestry);
        assert_eq!(compare_holds(seen, None, None, true), HoldRelation::Behind);
        assert_eq!(compare_holds(seen, None, None, false), HoldRelation::Ancestry);
        assert_eq!(compare_holds(None, epoch(7, 1), Some(1), true), HoldRelation::Ancestry);
    }
}
