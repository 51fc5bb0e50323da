//! What happened to a fleet, as those saw it who pushed, asked and watched.

use std::collections::BTreeMap;
use std::time::Duration;

/// Why a push was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody else was faster.
    FetchFirst,
    /// The replica says that etcd does not take it.
    Etcd,
    /// There was nobody.
    Unreachable,
    /// Anything else: what was said.
    Unclear(String),
}

/// How a push ended, as far as who pushed can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    Refused(Reason),
    /// The answer was lost.
    Unknown,
}

/// What a push changes: the value of a pusher's key in an application's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) application: usize,
    pub(crate) pusher: usize,
    pub(crate) value: u64,
}

/// One push of one commit. The same change may have been pushed before in another commit that was refused.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    pub(crate) change: Change,
    pub(crate) commit: String,
    pub(crate) replica: usize,
    /// Whether nothing was done to that replica then that lets nobody reach it.
    pub(crate) was_reachable: bool,
    /// When it ended, since the fleet was started.
    pub(crate) at: Duration,
    pub(crate) outcome: Outcome,
}

/// What was read at one replica.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    pub(crate) replica: usize,
    pub(crate) count: usize,
    /// Those that failed although nothing was done to that replica, the first of them.
    pub(crate) failures: Vec<String>,
    /// The revisions that were served, and since when.
    pub(crate) revisions: Vec<(Duration, String)>,
    /// A hash of what was answered, by application and revision.
    pub(crate) bodies: BTreeMap<(usize, String), u64>,
}

/// What one who watched was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    pub(crate) application: usize,
    pub(crate) seen: Vec<Seen>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) revision: String,
    pub(crate) digest: String,
}

/// What an application is answered in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) etag: String,
    pub(crate) body: String,
}

/// A replica when all is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    pub(crate) name: String,
    /// Its references, as git lists them.
    pub(crate) references: String,
    /// The commits of its branch, the oldest first.
    pub(crate) history: Vec<String>,
    /// The ids of all that its references lead to.
    pub(crate) objects: String,
    /// What git complains of.
    pub(crate) complaints: String,
    /// By application.
    pub(crate) answers: Vec<Answer>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// The commit that was there before the first push.
    pub(crate) first: String,
    pub(crate) pushes: Vec<Push>,
    pub(crate) reads: Vec<Reads>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) ends: Vec<End>,
}
