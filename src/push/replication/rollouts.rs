//! The state of the rollouts of a shared repository in etcd, beside the manifest.
//!
//! A push writes it in the transaction of the manifest. A step and a command replace it alone. Every replica applies it
//! from etcd: as a part of a manifest, or by itself if no reference moves.
//!
//! Invariant: both keys are read at one revision of etcd, and the holds of a state are published in the same step as the
//! references that belong to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use headwater_etcd::{
    CasOutcome, CompareAndSwap, Connection, EtcdError, Transaction, Value, Write, compare_and_swap,
};
use headwater_rollout::state::State;

use super::error::ReplicationError;
use super::freshness::Freshness;
use super::replica::{Replication, StoredManifest};
use crate::conduct::{HoldPublisher, Ledger};
use crate::push::repository::HostedRepository;
use crate::push::rollouts::RepositoryRollouts;
use crate::store::Actor;
use crate::sync::lock;

/// The maximum time spent on finding the outcome of a replacement whose answer was lost.
const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(5);

/// The state in etcd, and the etcd revision that wrote it.
#[derive(Debug, Clone, Default)]
pub(super) struct StoredRollouts {
    /// `None` if etcd has none, because the repository never had a rollout.
    pub(super) state: Option<Arc<State>>,
    /// 0 if etcd has none.
    pub(super) written_at: i64,
}

/// What this replica knows of the rollouts in etcd.
#[derive(Default)]
pub(super) struct RolloutPosition {
    /// The last state that was read.
    last_read: Mutex<StoredRollouts>,
    pub(super) freshness: Mutex<Freshness>,
}

/// The rollouts of the next manifest.
pub(super) struct RolloutChange {
    /// The etcd revision that wrote the state on which the decision is based. The commit requires that it is unchanged.
    pub(super) written_at: i64,
    /// The next state. `None` if it stays.
    pub(super) next: Option<Bytes>,
}

impl StoredRollouts {
    /// The state that a ledger has to have.
    pub(super) fn target(&self, ledger: &Ledger) -> Arc<State> {
        match &self.state {
            Some(state) => Arc::clone(state),
            // Without the key nothing is held.
            None if ledger.state().branches.is_empty() => ledger.state(),
            None => Arc::new(State::new(fastrand::u64(1..))),
        }
    }

    /// Returns true if a ledger has this state.
    pub(super) fn is_adopted(&self, ledger: &Ledger) -> bool {
        *self.target(ledger) == *ledger.state()
    }
}

impl Replication {
    /// Reads the value of the key.
    pub(super) fn parse_rollouts(&self, value: &Value) -> Result<StoredRollouts, ReplicationError> {
        let state = value.bytes.as_deref().map(State::parse).transpose();
        let state = state.map_err(|error| {
            ReplicationError::Unfit(format!("the rollouts in etcd cannot be used: {error}"))
        })?;
        if state.as_ref().is_some_and(|state| state.unsettled().next().is_some()) {
            let reason = "the rollouts in etcd cannot be used: they contain the intent of a push";
            return Err(ReplicationError::Unfit(reason.to_owned()));
        }
        let stored = StoredRollouts { state: state.map(Arc::new), written_at: value.mod_revision };
        *lock(&self.rollouts.last_read) = stored.clone();
        Ok(stored)
    }

    /// Replaces the state in etcd, if it is `before` still.
    pub(super) async fn replace_rollouts(
        &self,
        before: &State,
        next: &State,
    ) -> Result<CasOutcome, ReplicationError> {
        let StoredRollouts { state, written_at } = lock(&self.rollouts.last_read).clone();
        if state.as_deref() != Some(before) {
            return Ok(CasOutcome::Conflict);
        }
        let value = Bytes::from(next.to_text());
        let swap = RolloutSwap { replication: self, written_at, value, next };
        let connection = self.connection().await?;
        Ok(compare_and_swap(&swap, connection, OUTCOME_WAIT_MAX).await?)
    }
}

/// The replacement of a state by the next one.
struct RolloutSwap<'a> {
    replication: &'a Replication,
    written_at: i64,
    value: Bytes,
    next: &'a State,
}

impl CompareAndSwap for RolloutSwap<'_> {
    fn transaction(&self) -> Transaction {
        let key = self.replication.keys.rollouts();
        Transaction {
            unchanged: vec![(key.clone().into_bytes(), self.written_at)],
            writes: vec![Write { key, value: self.value.clone(), lease: None }],
            ..Transaction::default()
        }
    }

    async fn reconnect(&self) -> Result<Connection, EtcdError> {
        self.replication.forget_connection();
        self.replication.connection().await
    }

    async fn read_outcome(&self) -> Option<CasOutcome> {
        let stored = self.replication.read_manifest().await.ok()?.rollouts;
        Some(outcome(stored.state.as_deref(), self.next))
    }
}

/// Returns the outcome, according to the present state, of a replacement that can no longer take effect.
fn outcome(present: Option<&State>, next: &State) -> CasOutcome {
    match present {
        Some(present) if present == next => CasOutcome::Committed,
        // A later state may or may not continue from the next one.
        Some(present) if present.lineage == next.lineage && present.number > next.number => {
            CasOutcome::Unknown
        }
        _ => CasOutcome::Conflict,
    }
}

/// Brings the rollouts of this replica to the newest state in etcd, if its references are those of the newest manifest.
/// Returns false if they are not. The rollouts then follow together with the manifest.
///
/// Locking: this takes the turn of the ledger and reads etcd while it is held, so that no newer state is replaced.
pub(super) async fn follow(
    repository: &HostedRepository,
    rollouts: &RepositoryRollouts,
    replication: &Replication,
) -> Result<bool, ReplicationError> {
    let ledger = &rollouts.ledger;
    let turn = ledger.take_turn().await;
    let StoredManifest { manifest, rollouts: stored, .. } = replication.read_manifest().await?;
    let is_here =
        |own: &super::manifest::Manifest| own.references == repository.source.references();
    if !replication.is_loaded() || !manifest.as_ref().is_some_and(is_here) {
        return Ok(false);
    }
    let (before, next) = (ledger.state(), stored.target(ledger));
    if next == before {
        return Ok(true);
    }
    let unwritable = |_| ReplicationError::Unwritable;
    ledger.write(&turn, Arc::clone(&next)).await.map_err(unwritable)?;
    let events = ledger.events_since(&before, &next, |_| false);
    let rollout = events.iter().flat_map(|(_, events)| events).next();
    let rollout = rollout.map_or("rollouts", |event| &*event.rollout);
    let (holds, actor) = (ledger.holds_of(&next), Actor::Rollout(rollout.into()));
    let published = repository.publish_holds(&turn, holds, actor).await;
    published.map_err(|_| ReplicationError::Unwritable)?;
    ledger.adopt(&turn, State::clone(&next), events);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_state_shows_the_outcome_of_a_replacement() {
        let state = |lineage, number| {
            let mut state = State::new(lineage);
            state.number = number;
            state
        };
        let next = state(1, 5);
        assert_eq!(outcome(Some(&state(1, 5)), &next), CasOutcome::Committed);
        assert_eq!(outcome(Some(&state(1, 4)), &next), CasOutcome::Conflict);
        assert_eq!(outcome(Some(&state(1, 6)), &next), CasOutcome::Unknown);
        assert_eq!(outcome(Some(&state(2, 6)), &next), CasOutcome::Conflict);
        assert_eq!(outcome(None, &next), CasOutcome::Conflict);
    }
}
