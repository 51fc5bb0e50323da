//! What happened to rollouts, for logs, event streams, pushers and the history.

use crate::Name;
use crate::state::Pause;
use crate::verdict::{Fault, Lack};

/// One change of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    pub rollout: Name,
    pub kind: EventKind,
}

/// The canaries of one application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Canaries {
    pub application: Name,
    pub count: u64,
    /// 0 if the number is not known, because another replica has reported the stage.
    pub instances: u64,
}

/// The kinds of changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventKind {
    Opened {
        applications: Vec<Name>,
        plan: Name,
    },
    /// A freeze is in force.
    Waiting {
        freeze: String,
    },
    /// The first stage, or a later one before the last.
    Stage {
        index: usize,
        count: usize,
        canaries: Vec<Canaries>,
    },
    /// The last stage.
    All,
    /// An incident of a canary. The bake begins again.
    Suspect {
        incidents: Vec<crate::verdict::Incident>,
    },
    /// Further canaries take the place of those that have vanished.
    Replaced {
        application: Name,
    },
    Paused {
        pause: Pause,
    },
    Resumed {
        by: Name,
        because: Name,
    },
    Promoted {
        by: Name,
        because: Name,
    },
    Done,
    Withheld {
        fault: Fault,
        applications: Vec<Name>,
        stable: Name,
        tip: Name,
    },
    /// A push has taken applications over.
    Superseded {
        applications: Vec<Name>,
        next: Name,
    },
    /// Applications have left the entry and receive the tip.
    Released {
        applications: Vec<Name>,
    },
    /// A check could not be made several times in sequence.
    CheckFails {
        check: Name,
        count: u32,
    },
    /// The branch was deleted.
    Gone,
}

/// How a rollout stands now, for people who wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Progress {
    pub rollout: Name,
    /// `None` before the first one.
    pub stage: Option<usize>,
    pub stages: usize,
    /// The instances that have accepted the candidate.
    pub ok: u64,
    pub instances: u64,
    pub lack: Option<Lack>,
}
