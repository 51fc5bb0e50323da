//! The keeper of a repository that replicas share. A step and a command replace the state in etcd, and this replica adopts
//! the next state from there like every other one.

use std::sync::Arc;
use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::command::{self, Command, Order};
use headwater_rollout::event::Event;
use headwater_rollout::evidence::Report;
use headwater_rollout::state::State;
use tokio::time::timeout;

use super::Keeper;
use crate::conduct::group::{GroupStanding, Replacement, ReplicaGroup};
use crate::conduct::ledger::{self, LedgerError};
use crate::conduct::view::ConductError;

/// The time in which this replica adopts a state that it has written. After that it makes the next step anyway.
const ADOPTION_MAX: Duration = Duration::from_secs(1);
/// The time in which a command takes effect at this replica. It has taken effect in etcd before.
const COMMAND_ADOPTION_MAX: Duration = Duration::from_secs(10);
/// The number of attempts at a command, if other replicas are faster.
const ATTEMPT_COUNT_MAX: usize = 10;

impl Keeper {
    /// The replicas as this one knows them now.
    pub(super) fn standing(&self) -> GroupStanding {
        match &self.parts.group {
            Some(group) => group.standing(),
            None => GroupStanding::alone(self.parts.replica.clone()),
        }
    }

    /// Gives the reports of this replica to the others. Returns them with those of the others.
    pub(super) fn exchange(&self, own: Vec<Report>) -> Vec<Report> {
        let Some(group) = &self.parts.group else { return own };
        let others = group.other_reports();
        group.publish_reports(own.clone());
        own.into_iter().chain(others).collect()
    }

    /// Begins or ends to keep candidates from further instances, and publishes that.
    pub(super) async fn fence(&self, standing: &GroupStanding) -> Result<(), String> {
        if standing.is_fenced == self.ledger.is_fenced() {
            return Ok(());
        }
        let turn = self.ledger.take_turn().await;
        self.ledger.set_fenced(&turn, standing.is_fenced);
        let published = self.publish(&turn, "fence").await;
        if published.is_err() {
            self.ledger.set_fenced(&turn, !standing.is_fenced);
        }
        published
    }

    /// Replaces the state in etcd by the result of a step, and waits until this replica has adopted it or the state of a
    /// faster one.
    pub(super) async fn replace(
        &self,
        group: &Arc<dyn ReplicaGroup>,
        state: &Arc<State>,
        next: &State,
        (branch, events): (&Name, Vec<Event>),
    ) -> Result<(), LedgerError> {
        self.ledger.expect(next.clone(), vec![(branch.clone(), events)]);
        let replaced = group.replace(state, next).await;
        self.wait_for_other(state, ADOPTION_MAX).await;
        replaced.map(drop).map_err(LedgerError::Unwritable)
    }

    /// Carries out a command of a person. It has taken effect in etcd when this returns, and here if nothing is in its way.
    pub(super) async fn command_shared(
        &self,
        group: &Arc<dyn ReplicaGroup>,
        (id, branch): (&str, &Name),
        command: Command,
        by: &str,
        because: &str,
    ) -> Result<Vec<Event>, ConductError> {
        for _ in 0..ATTEMPT_COUNT_MAX {
            let state = self.ledger.state();
            let tip = self.publisher.tip(branch).unwrap_or_default();
            let (rollout, now) = (id, ledger::now());
            let order = Order { command, branch, rollout, by, because, tip: &tip, now };
            let (next, events) = command::command(&state, &order).map_err(ConductError::Command)?;
            self.ledger.expect(next.clone(), vec![(branch.clone(), events.clone())]);
            let replaced = group.replace(&state, &next).await;
            match replaced.map_err(LedgerError::Unwritable)? {
                Replacement::Done => {
                    self.wait_for_other(&state, COMMAND_ADOPTION_MAX).await;
                    return Ok(events);
                }
                Replacement::Conflict => self.wait_for_other(&state, ADOPTION_MAX).await,
            }
        }
        let reason = "other replicas changed the rollouts first, each time. Try again".to_owned();
        Err(LedgerError::Unwritable(reason).into())
    }

    /// Waits until the ledger has adopted another state, for a bounded time.
    async fn wait_for_other(&self, state: &Arc<State>, wait_max: Duration) {
        let mut changed = self.ledger.changed();
        let waiting = async {
            while Arc::ptr_eq(state, &self.ledger.state()) && changed.changed().await.is_ok() {}
        };
        // A state that is late is adopted later.
        let _ = timeout(wait_max, waiting).await;
    }
}
