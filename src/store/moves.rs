//! The last moves of all labels, for those who watch the server as a whole.
//!
//! What a move changed is found out after it was published and beside whoever publishes, and only while somebody listens
//! or has done so just now. What nobody heard of is not kept: who asks for it is told that something was missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::answer::Answer;
use super::publish::Actor;
use crate::change::{self, Change};
use crate::model::{Environment, Label, Query, Revision};
use crate::resolve::Differences;
use crate::snapshot::{Commit, Snapshot};
use crate::sync::lock;

/// The most moves that are kept.
const KEPT_COUNT_MAX: usize = 256;
/// The most names of keys that are kept with them, all together.
const KEPT_KEY_COUNT_MAX: usize = 100_000;
/// The most moves that wait to be looked at; what comes beyond is missed.
const WAITING_COUNT_MAX: usize = 64;
/// How long moves are kept after the last listener went: it may be on its way back.
const LINGER: Duration = Duration::from_secs(60);
/// The most environments that a move tells of; the others are counted.
const ENVIRONMENT_COUNT_MAX: usize = 100;
/// The most keys that it names for each; the others are counted.
const KEY_COUNT_MAX: usize = 100;

/// A label that was moved, and what that changed.
#[derive(Debug)]
pub struct Moved {
    /// One more than that of the move before. Begins anywhere, so that another server's is not taken for one of these.
    pub id: u64,
    /// Which label.
    pub label: Label,
    /// What it stood for; nothing where it is new.
    pub from: Option<Revision>,
    /// What it stands for now; nothing where it was deleted.
    pub to: Option<Revision>,
    /// Who moved it.
    pub actor: String,
    /// The commit that it stands for now, where the source has such; of several sources the first that moved.
    pub commit: Option<Made>,
    /// The environments in use whose content differs, in order of their names.
    pub environments: Vec<Changed>,
    /// How many more of those there are.
    pub more_environment_count: usize,
    /// How many files differ that no environment in use has looked for. Unknown where nobody reads the label.
    pub other_file_count: Option<usize>,
    event: OnceLock<Bytes>,
}

/// A commit.
#[derive(Debug)]
pub struct Made {
    /// Its id.
    pub id: Revision,
    /// When it was made, in seconds since 1970.
    pub seconds: Option<i64>,
    /// By whom, and what for.
    pub commit: Arc<Commit>,
}

/// What differs in one environment.
#[derive(Debug)]
pub struct Changed {
    /// Which one.
    pub query: Query,
    /// The keys, as many as are named.
    pub change: Change,
    /// How many more there are.
    pub more_key_count: usize,
}

impl Moved {
    /// What watchers are sent, encoded at most once.
    pub fn event(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.event.get_or_init(|| encode(self)).clone()
    }

    fn key_count(&self) -> usize {
        let counts = self.environments.iter().map(|changed| key_count(&changed.change));
        counts.sum()
    }
}

/// A move as it happened, not looked at yet.
pub(super) struct Noted {
    pub(super) label: Label,
    pub(super) from: Option<Revision>,
    pub(super) to: Option<Revision>,
    pub(super) actor: Actor,
    /// What it did to those who read the label, if anybody does.
    pub(super) effect: Option<Effect>,
}

/// What a move did.
pub(super) struct Effect {
    pub(super) from: Arc<Snapshot>,
    pub(super) to: Arc<Snapshot>,
    /// The answers that were made anew, each with what it took the place of.
    pub(super) made: Vec<(Arc<Answer>, Arc<Answer>)>,
    pub(super) differences: Differences,
}

/// The last moves.
pub struct Moves {
    kept: Mutex<Kept>,
    /// The id of the newest.
    newest: watch::Sender<u64>,
    noted: mpsc::Sender<Noted>,
    listened_at: Mutex<Option<Instant>>,
}

/// Moves with ids that follow each other; the last one is the newest.
#[derive(Default)]
struct Kept {
    moves: VecDeque<Arc<Moved>>,
    key_count: usize,
}

/// What comes after a move.
pub enum After {
    /// Nothing yet.
    Nothing,
    /// This one.
    Moved(Arc<Moved>),
    /// It is not known: not any more, or not here.
    Missed {
        /// The id to go on from.
        newest: u64,
    },
}

impl Moves {
    /// None yet. The task that looks at them ends with the result.
    pub(super) fn new(runtime: &tokio::runtime::Handle) -> Arc<Self> {
        let (noted, notes) = mpsc::channel(WAITING_COUNT_MAX);
        let moves = Arc::new(Self {
            kept: Mutex::default(),
            newest: watch::Sender::new(fastrand::u64(..u64::MAX / 2)),
            noted,
            listened_at: Mutex::default(),
        });
        runtime.spawn(record(Arc::downgrade(&moves), notes));
        moves
    }

    /// The id of the newest move.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// What comes after the move with an id.
    pub fn after(&self, id: u64) -> After {
        let kept = lock(&self.kept);
        let newest = self.newest();
        let behind = usize::try_from(newest.wrapping_sub(id)).unwrap_or(usize::MAX);
        match behind {
            0 => After::Nothing,
            _ if behind > kept.moves.len() => After::Missed { newest },
            _ => After::Moved(Arc::clone(&kept.moves[kept.moves.len() - behind])),
        }
    }

    /// Listens to what comes; moves are kept for as long as somebody does.
    pub fn listen(self: &Arc<Self>) -> Listening {
        Listening { receiver: self.newest.subscribe(), moves: Arc::clone(self) }
    }

    /// Takes note of a move, if anybody wants to know.
    pub(super) fn note(&self, noted: Noted) {
        if !self.is_listened_to() || self.noted.try_send(noted).is_err() {
            let mut kept = lock(&self.kept);
            *kept = Kept::default();
            self.newest.send_modify(|newest| *newest += 1);
        }
    }

    fn is_listened_to(&self) -> bool {
        self.newest.receiver_count() > 0
            || lock(&self.listened_at).is_some_and(|at| at.elapsed() < LINGER)
    }

    fn keep(&self, noted: &Noted) {
        let mut moved = look_at(noted);
        let mut kept = lock(&self.kept);
        moved.id = self.newest() + 1;
        kept.key_count += moved.key_count();
        kept.moves.push_back(Arc::new(moved));
        while kept.moves.len() > KEPT_COUNT_MAX || kept.key_count > KEPT_KEY_COUNT_MAX {
            let Some(oldest) = kept.moves.pop_front() else {
                break;
            };
            kept.key_count -= oldest.key_count();
        }
        self.newest.send_modify(|newest| *newest += 1);
    }
}

/// Somebody listens.
pub struct Listening {
    receiver: watch::Receiver<u64>,
    moves: Arc<Moves>,
}

impl Listening {
    /// Waits for another move.
    pub async fn moved(&mut self) {
        // The sender is held beside the receiver.
        let _ = self.receiver.changed().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        *lock(&self.moves.listened_at) = Some(Instant::now());
    }
}

/// Looks at one move after the other, until there is nobody left who could note any.
async fn record(moves: Weak<Moves>, mut notes: mpsc::Receiver<Noted>) {
    while let Some(noted) = notes.recv().await {
        let Some(moves) = moves.upgrade() else {
            return;
        };
        let looked_at = tokio::task::spawn_blocking(move || moves.keep(&noted)).await;
        if looked_at.is_err() {
            tracing::error!("a move could not be looked at");
        }
    }
}

fn look_at(noted: &Noted) -> Moved {
    let mut moved = Moved {
        id: 0,
        label: noted.label.clone(),
        from: noted.from.clone(),
        to: noted.to.clone(),
        actor: noted.actor.to_string(),
        commit: None,
        environments: Vec::new(),
        more_environment_count: 0,
        other_file_count: None,
        event: OnceLock::new(),
    };
    if let Some(Effect { from, to, made, differences }) = &noted.effect {
        moved.commit = commit(from, to);
        moved.environments = changed(made);
        moved.more_environment_count =
            moved.environments.len().saturating_sub(ENVIRONMENT_COUNT_MAX);
        moved.environments.truncate(ENVIRONMENT_COUNT_MAX);
        moved.environments.iter_mut().for_each(Changed::cut);
        let answers = made.iter().map(|(_, now)| &**now);
        moved.other_file_count = Some(not_looked_for(differences, answers));
    }
    moved
}

/// The environments that differ, in order of their names.
fn changed(made: &[(Arc<Answer>, Arc<Answer>)]) -> Vec<Changed> {
    let differing = made.iter().filter(|(before, now)| before.differs(now));
    let changed = differing.map(|(before, now)| {
        let change = change::change(&environment(before), &environment(now));
        Changed { query: now.query.clone(), change, more_key_count: 0 }
    });
    let mut changed: Vec<Changed> = changed.collect();
    changed.sort_by(|a, b| {
        (&a.query.application, &a.query.profiles).cmp(&(&b.query.application, &b.query.profiles))
    });
    changed
}

/// How many files differ that none of the answers has looked for.
fn not_looked_for<'a>(
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
    let asked = |index: usize, path: &str| {
        answers
            .clone()
            .flat_map(|answer| &answer.members)
            .any(|member| member.index == index && member.asked.files.contains(path))
    };
    files.filter(|(index, path)| !asked(*index, path)).count()
}

/// What there was to serve, which may be nothing.
fn environment(answer: &Answer) -> Environment {
    let nothing = || Environment {
        application: Arc::clone(&answer.query.application),
        profiles: Arc::clone(&answer.query.profiles),
        label: answer.query.label.clone(),
        sources: Vec::new(),
    };
    answer.served().map_or_else(nothing, |served| served.environment.clone())
}

impl Changed {
    /// Leaves as many keys as are named.
    fn cut(&mut self) {
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

fn commit(from: &Snapshot, to: &Snapshot) -> Option<Made> {
    let moved = to.members.iter().enumerate().find(|(index, member)| {
        from.members.get(*index).is_none_or(|before| before.revision != member.revision)
    });
    let (_, member) = moved?;
    let commit = Arc::clone(member.commit.as_ref()?);
    Some(Made { id: member.revision.clone(), seconds: member.made_seconds, commit })
}
