//! Rollouts: their state, the commands of people and the events of `/-/events`. They contain no value of a configuration.

use serde::{Deserialize, Serialize};

/// The answer to `GET /-/rollouts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutList {
    /// The rollouts that run or are withheld, in the order in which they were opened, then the last ones that have ended.
    pub rollouts: Vec<RolloutStatus>,
}

/// The answer to `GET /-/rollouts/{id}`: one rollout.
///
/// A caller that may not read every application of the rollout receives those that it may read. The counts then contain no
/// instance of a hidden application, and texts name no instance and no user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The id: `r-` and ten hexadecimal digits.
    pub id: String,
    /// The name of the hosted repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The commit of the branch before the push.
    pub from: String,
    /// The commit that is rolled out.
    pub to: String,
    /// The state.
    pub state: RolloutState,
    /// The reason for which the rollout waits, is paused or is withheld, as a sentence. Otherwise `None`.
    pub why: Option<String>,
    /// The part that is lacking for the next stage, as a phrase. `None` when nothing is, or when the rollout does not run.
    pub missing: Option<String>,
    /// The stage that the rollout is in, from 1. `None` before the first stage.
    pub stage: Option<u32>,
    /// The number of stages.
    pub stages: u32,
    /// The extent of the stage, such as `1`, `5%`, `zone=eu-1` or `all`. `None` before the first stage.
    pub reach: Option<String>,
    /// The name of the plan.
    pub plan: String,
    /// The applications, ordered by name.
    pub applications: Vec<RolloutApplication>,
    /// The number of instances of the applications. `None` when it is not known.
    pub instances: Option<u64>,
    /// The number of instances that have accepted the commit. `None` when it is not known.
    pub ok: Option<u64>,
    /// The user of the push, or of the command that began the rollout again. Empty when applications are hidden.
    pub by: String,
    /// The reason that the user gave. `None` when applications are hidden.
    pub because: Option<String>,
    /// The time at which the rollout was opened, as an RFC 3339 timestamp.
    pub opened: String,
    /// The time of the rollback or of the end, as an RFC 3339 timestamp. `None` while the rollout runs.
    pub since: Option<String>,
    /// The ids of running rollouts that this rollout depends on.
    pub depends_on: Vec<String>,
    /// The latest events, the oldest first. Empty in [`RolloutList`].
    #[serde(default)]
    pub events: Vec<RolloutRecord>,
}

/// The state of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RolloutState {
    /// A freeze is in force.
    Waiting,
    /// Instances are asked whether they would accept the commit, and none has it.
    Trying,
    /// A stage is in progress.
    Stage,
    /// The rollout does not advance until a user resumes it.
    Paused,
    /// The commit was rolled back, and the applications do not receive it.
    Withheld,
    /// All instances have the commit.
    Done,
    /// A later push has taken all applications over.
    Superseded,
    /// A push or a user ended a rollout before its last stage, and the applications receive the newest commit.
    Released,
    /// The branch was deleted.
    Gone,
}

impl RolloutState {
    /// Every state.
    pub const ALL: [RolloutState; 9] = [
        RolloutState::Waiting,
        RolloutState::Trying,
        RolloutState::Stage,
        RolloutState::Paused,
        RolloutState::Withheld,
        RolloutState::Done,
        RolloutState::Superseded,
        RolloutState::Released,
        RolloutState::Gone,
    ];

    /// Returns the name of the state in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RolloutState::Waiting => "waiting",
            RolloutState::Trying => "trying",
            RolloutState::Stage => "stage",
            RolloutState::Paused => "paused",
            RolloutState::Withheld => "withheld",
            RolloutState::Done => "done",
            RolloutState::Superseded => "superseded",
            RolloutState::Released => "released",
            RolloutState::Gone => "gone",
        }
    }

    /// Returns true while the rollout can advance by itself or after `resume`.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(
            self,
            RolloutState::Waiting
                | RolloutState::Trying
                | RolloutState::Stage
                | RolloutState::Paused
        )
    }
}

/// One application of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutApplication {
    /// The application. `*` stands for every application without an entry of its own, after a change of a shared file.
    pub application: String,
    /// The commit from which clients that are no canaries are answered.
    pub stable: String,
    /// The number of canaries that the stage needs. `None` in the last stage and after the end.
    pub canaries: Option<u64>,
    /// The number of instances. `None` when it is not known.
    pub instances: Option<u64>,
    /// The number of instances that have accepted the commit. `None` when it is not known.
    pub ok: Option<u64>,
}

/// One event of a rollout, in [`RolloutStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The time as an RFC 3339 timestamp.
    pub at: String,
    /// The kind, as in [`RolloutEvent::event`].
    pub event: String,
    /// The event as a sentence.
    pub text: String,
}

/// The event `rollout` of `GET /-/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEvent {
    /// The time as an RFC 3339 timestamp.
    pub at: String,
    /// The name of the hosted repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The id of the rollout.
    pub rollout: String,
    /// The kind: `opened`, `waiting`, `stage`, `suspect`, `replaced`, `paused`, `resumed`, `promoted`, `done`, `withheld`,
    /// `superseded`, `released`, `check` or `gone`.
    pub event: String,
    /// The applications of the rollout that the event is about and that the subscriber may read, ordered by name.
    pub applications: Vec<String>,
    /// The instances that caused the event. Empty when the subscriber may not read every application of the rollout.
    pub instances: Vec<String>,
    /// The event as a sentence. It contains reasons of instances, which are a word and a key.
    pub text: String,
}

/// The body of `POST /-/rollouts/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutCommand {
    /// The action.
    #[serde(rename = "do")]
    pub action: RolloutAction,
    /// The reason, which other users see.
    pub because: String,
}

/// The action of a [`RolloutCommand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RolloutAction {
    /// Stops before the next stage.
    Pause,
    /// Ends a pause.
    Resume,
    /// Skips to the last stage, and from there to the end. Withheld content is served at once.
    Promote,
    /// Rolls back.
    Abort,
    /// Begins a withheld rollout again, from the first stage.
    Retry,
}

impl RolloutAction {
    /// Every action.
    pub const ALL: [RolloutAction; 5] = [
        RolloutAction::Pause,
        RolloutAction::Resume,
        RolloutAction::Promote,
        RolloutAction::Abort,
        RolloutAction::Retry,
    ];

    /// Returns the name of the action in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RolloutAction::Pause => "pause",
            RolloutAction::Resume => "resume",
            RolloutAction::Promote => "promote",
            RolloutAction::Abort => "abort",
            RolloutAction::Retry => "retry",
        }
    }
}

/// The answer to `POST /-/rollouts/{id}`: the command has taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutCommandAnswer {
    /// The rollout after the command.
    pub rollout: RolloutStatus,
    /// The effects of the command, in their order.
    pub effects: Vec<RolloutRecord>,
}
