//! A move of a label as an event for clients: the originator, the commit and the changed keys.

use std::fmt;
use std::sync::Arc;

use super::answer::Answer;
use super::publication::{CompletedPublication, ReplacedAnswer};
use crate::change::{self, Change};
use crate::model::{Environment, Label, Query, Revision};
use crate::resolve::Differences;
use crate::reveal::Variant;
use crate::snapshot::{CommitSummary, Snapshot};

/// The limit on environments that an event lists. Further ones are counted.
const ENVIRONMENT_COUNT_MAX: usize = 100;
/// The limit on keys that an event lists for each environment. Further ones are counted.
const KEY_COUNT_MAX: usize = 100;

/// The originator of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A change of the source, noticed by the task that follows it.
    Source,
    /// A step of a rollout, with the id of the rollout.
    Rollout(Arc<str>),
    /// A push to this server, with the name that belongs to the push token, if there is one.
    Push(Option<Arc<str>>),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Rollout(id) => write!(f, "rollout {id}"),
            Self::Push(None) => f.write_str("push"),
            Self::Push(Some(name)) => write!(f, "push by {name}"),
        }
    }
}

/// A move of a label, with its changes.
#[derive(Debug)]
pub struct MoveEvent {
    pub label: Label,
    /// The revision before the move. None if the label is new.
    pub from: Option<Revision>,
    /// The revision after the move. None if the label was deleted.
    pub to: Option<Revision>,
    /// The text form of the [`Actor`].
    pub actor: String,
    /// The commit after the move, if the source has commits. With several sources, the commit of the first source that
    /// moved.
    pub commit: Option<CommitDetails>,
    /// The environments in use whose content differs, sorted by name. At most `ENVIRONMENT_COUNT_MAX`.
    pub environments: Vec<ChangedEnvironment>,
    /// The number of differing environments that are not listed.
    pub more_environment_count: usize,
    /// The number of differing files that no environment in use depends on. None if the label is not live.
    pub other_file_count: Option<usize>,
}

/// The commit that a label has moved to.
#[derive(Debug)]
pub struct CommitDetails {
    pub id: Revision,
    /// The time of the commit, in seconds since 1970, if known.
    pub seconds: Option<i64>,
    /// The author and the message.
    pub commit: Arc<CommitSummary>,
}

/// The changes of one environment.
#[derive(Debug)]
pub struct ChangedEnvironment {
    pub query: Query,
    /// The changed keys, at most `KEY_COUNT_MAX`.
    pub change: Change,
    /// The number of changed keys that are not listed.
    pub more_key_count: usize,
}

impl MoveEvent {
    /// The number of listed keys.
    pub(super) fn key_count(&self) -> usize {
        let counts = self.environments.iter().map(|changed| key_count(&changed.change));
        counts.sum()
    }
}

/// A move whose changes are not computed yet.
pub(super) struct PendingMove {
    pub(super) label: Label,
    pub(super) from: Option<Revision>,
    pub(super) to: Option<Revision>,
    pub(super) actor: Actor,
    /// The publication with its effect on answers. None if no live label shows the move.
    pub(super) publication: Option<CompletedPublication>,
}

impl PendingMove {
    /// Computes the changes. Blocking.
    pub(super) fn to_event(&self) -> MoveEvent {
        let mut event = MoveEvent {
            label: self.label.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            actor: self.actor.to_string(),
            commit: None,
            environments: Vec::new(),
            more_environment_count: 0,
            other_file_count: None,
        };
        if let Some(completed) = &self.publication {
            let CompletedPublication { previous, replaced, publication } = completed;
            event.commit = find_commit(previous, &publication.target.snapshot);
            let mut environments = compare_environments(replaced);
            event.more_environment_count = environments.len().saturating_sub(ENVIRONMENT_COUNT_MAX);
            environments.truncate(ENVIRONMENT_COUNT_MAX);
            environments.iter_mut().for_each(ChangedEnvironment::truncate_keys);
            event.environments = environments;
            let answers = replaced.iter().map(|it| &*it.after);
            let other_file_count = count_other_files(&publication.differences, answers);
            event.other_file_count = Some(other_file_count);
        }
        event
    }
}

/// Returns the commit of the first member that differs.
fn find_commit(previous: &Snapshot, next: &Snapshot) -> Option<CommitDetails> {
    let moved = next.members.iter().enumerate().find(|(index, member)| {
        previous.members.get(*index).is_none_or(|before| before.revision != member.revision)
    });
    let (_, member) = moved?;
    let commit = Arc::clone(member.commit.as_ref()?);
    Some(CommitDetails { id: member.revision.clone(), seconds: member.made_seconds, commit })
}

/// Returns the differing environments, sorted by name.
fn compare_environments(replaced: &[ReplacedAnswer]) -> Vec<ChangedEnvironment> {
    let differing = replaced.iter().filter(|it| it.before.differs(&it.after));
    let changed = differing.map(|ReplacedAnswer { before, after }| {
        let change = change::change(&environment_of(before), &environment_of(after));
        ChangedEnvironment { query: after.query.clone(), change, more_key_count: 0 }
    });
    let mut changed: Vec<ChangedEnvironment> = changed.collect();
    changed.sort_by(|a, b| {
        (&a.query.application, &a.query.profiles).cmp(&(&b.query.application, &b.query.profiles))
    });
    changed
}

/// Returns the environment of an answer, or one without sources. The sealed variant is the same for all readers of the
/// event, and does not reveal whether two sealed values have the same text.
fn environment_of(answer: &Answer) -> Environment {
    let empty = || Environment {
        application: Arc::clone(&answer.query.application),
        profiles: Arc::clone(&answer.query.profiles),
        label: answer.query.label.clone(),
        sources: Vec::new(),
    };
    answer.served(Variant::Sealed).map_or_else(empty, |served| served.environment.clone())
}

/// Counts the differing files that none of the answers depends on.
fn count_other_files<'a>(
    differences: &Differences,
    answers: impl Iterator<Item = &'a Answer> + Clone,
) -> usize {
    let Differences::Members(changes) = differences else {
        return 0;
    };
    let files = changes
        .iter()
        .enumerate()
        .flat_map(|(index, changes)| changes.files.iter().map(move |path| (index, path.as_str())));
    let is_dependency = |index: usize, path: &str| {
        answers
            .clone()
            .flat_map(|answer| answer.members.iter())
            .any(|member| member.index == index && member.dependencies.holds_file(path))
    };
    files.filter(|(index, path)| !is_dependency(*index, path)).count()
}

impl ChangedEnvironment {
    /// Truncates the keys to [`KEY_COUNT_MAX`] and counts the rest.
    fn truncate_keys(&mut self) {
        let all = key_count(&self.change);
        let mut room = KEY_COUNT_MAX;
        let Change { added, removed, changed } = &mut self.change;
        for keys in [changed, added, removed] {
            keys.truncate(room);
            room -= keys.len();
        }
        self.more_key_count = all - key_count(&self.change);
    }
}

fn key_count(change: &Change) -> usize {
    change.added.len() + change.removed.len() + change.changed.len()
}
