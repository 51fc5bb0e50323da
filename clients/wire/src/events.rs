//! The events of the event streams.

use serde::{Deserialize, Serialize};

/// The name of the event that carries an [`Environment`](crate::Environment).
pub const ENVIRONMENT: &str = "environment";

/// The name of the event after which the watched environment no longer exists, as after its branch was deleted.
pub const GONE: &str = "gone";

/// The name of the event that asks an instance whether it would accept an environment that is not published yet.
pub const TRY: &str = "try";

/// The name of the event that carries a [`MoveEvent`].
pub const MOVE: &str = "move";

/// The name of the event that carries a [`RolloutEvent`](crate::RolloutEvent).
pub const ROLLOUT: &str = "rollout";

/// The name of the event that tells a client of `/-/events` that it missed moves and has to read again.
pub const RESYNC: &str = "resync";

/// The event `move` of `GET /-/events`: a label was set to another revision. It contains names of keys and no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveEvent {
    /// The label. `None` for the default label.
    pub label: Option<String>,
    /// The former revision. `None` for a new label.
    pub from: Option<String>,
    /// The new revision. `None` for a deleted label.
    pub to: Option<String>,
    /// The origin of the move, such as the user of a push.
    pub actor: String,
    /// The commit at the new revision. `None` for a source without commits.
    pub commit: Option<MoveCommit>,
    /// The environments in use whose content changed, ordered by name.
    pub environments: Vec<ChangedEnvironment>,
    /// The number of changes that are not listed.
    pub others: OtherChanges,
}

/// The commit of a [`MoveEvent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveCommit {
    /// The commit id.
    pub id: String,
    /// The name of the author.
    pub author: String,
    /// The first line of the message.
    pub subject: String,
    /// The time of the commit as an RFC 3339 timestamp.
    pub time: Option<String>,
}

/// One environment of a [`MoveEvent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedEnvironment {
    /// The application.
    pub application: String,
    /// The profiles, joined by commas.
    pub profiles: String,
    /// The keys that were added.
    pub added: Vec<String>,
    /// The keys that were removed.
    pub removed: Vec<String>,
    /// The keys whose value changed.
    pub changed: Vec<String>,
    /// The number of further keys, which are not listed.
    pub more: u64,
}

/// The number of changes that a [`MoveEvent`] does not list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherChanges {
    /// The number of further environments in use.
    pub environments: u64,
    /// The number of changed files that no environment in use reads. `None` when the label has no reader.
    pub files: Option<u64>,
}
