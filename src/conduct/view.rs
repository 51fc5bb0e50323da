//! Rollouts as people and programs see them, and the commands of people.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::command::{Command, CommandError};
use headwater_rollout::event::{Event, Progress};
use headwater_rollout::evidence::Counts;
use headwater_rollout::plan::WallTime;
use headwater_rollout::state::Rollout;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::keeper::Keeper;
use super::ledger::LedgerError;

/// The rollouts of all hosted repositories of this server.
pub struct Conduct {
    /// The keeper of each repository with rollouts.
    keepers: Vec<Arc<Keeper>>,
    changed: watch::Sender<u64>,
    /// Forwards the changes of each repository.
    _forwarding: Vec<AbortOnDropHandle<()>>,
}

/// One event of a rollout, with its time and its place.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    pub at: Timestamp,
    pub repository: Arc<str>,
    pub branch: Name,
    /// True if clients without a label receive the branch.
    pub is_head: bool,
    /// The applications of the rollout, before the event or, for a new rollout, after it.
    pub members: Arc<[Name]>,
    /// True if the rollout has no entry any more, and no further event follows.
    pub is_last: bool,
    pub event: Event,
}

/// A receiver of all events of rollouts. It is called in their order, after the state that they belong to is durable, and
/// must not block.
pub trait EventSink: Send + Sync {
    fn record(&self, event: &RecordedEvent);
}

/// One rollout as people and programs see it.
#[derive(Debug, Clone)]
pub struct RolloutView {
    pub repository: Arc<str>,
    pub branch: Name,
    /// True if clients without a label receive the branch.
    pub is_head: bool,
    pub rollout: Rollout,
    pub standing: RolloutStanding,
    /// The canaries and what is missing for the next stage. `None` unless the rollout runs.
    pub progress: Option<Progress>,
    /// The instances of each application, for one that runs.
    pub counts: BTreeMap<Name, Counts>,
    /// Its latest events, the oldest first. Events before the last start of the server are not known.
    pub events: Vec<RecordedEvent>,
}

/// Whether a rollout runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutStanding {
    Running,
    /// It was rolled back. `because` is a sentence.
    Withheld {
        because: Name,
        since: WallTime,
    },
    /// It is over: done, superseded, released or gone. Its last event tells which.
    Ended {
        since: WallTime,
    },
}

/// The reason why a command has no effect.
#[derive(Debug, thiserror::Error)]
pub enum ConductError {
    /// The command does not fit the rollout.
    #[error("{0}")]
    Command(CommandError),
    /// The state cannot be made durable.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Conduct {
    /// The rollouts of these keepers.
    pub fn new(keepers: Vec<Arc<Keeper>>, runtime: &Handle) -> Self {
        let changed = watch::Sender::<u64>::new(0);
        let forwarding = keepers.iter().map(|keeper| {
            let (mut from, to) = (keeper.ledger().changed(), changed.clone());
            AbortOnDropHandle::new(runtime.spawn(async move {
                while from.changed().await.is_ok() {
                    to.send_modify(|count| *count = count.wrapping_add(1));
                }
            }))
        });
        let _forwarding = forwarding.collect();
        Self { keepers, changed, _forwarding }
    }

    /// The rollouts that run or are withheld, in the order in which they were opened, and the last ones that have ended.
    pub fn rollouts(&self) -> Vec<RolloutView> {
        self.keepers.iter().flat_map(|keeper| keeper.ledger().views()).collect()
    }

    /// One of [`Conduct::rollouts`] by its id.
    pub fn rollout(&self, id: &str) -> Option<RolloutView> {
        self.rollouts().into_iter().find(|view| *view.rollout.id == *id)
    }

    /// Carries out a command of a person. It has taken effect when this returns.
    ///
    /// # Errors
    /// When the command does not fit the rollout, or its effect cannot be made durable.
    pub async fn command(
        &self,
        id: &str,
        command: Command,
        by: &str,
        because: &str,
    ) -> Result<Vec<Event>, ConductError> {
        let found = self.keepers.iter().find_map(|keeper| {
            let views = keeper.ledger().views();
            let view = views.into_iter().find(|view| *view.rollout.id == *id)?;
            Some((keeper, view.branch))
        });
        let Some((keeper, branch)) = found else {
            return Err(ConductError::Command(CommandError::Unknown { rollout: id.into() }));
        };
        keeper.command(id, &branch, command, by, because).await
    }

    /// Notified after each event and each change of the progress of a rollout.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
