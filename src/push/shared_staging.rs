//! The decision about the rollouts of a push to a shared repository. The transaction that commits the push in etcd has the
//! decision, and is its only condition: after a change by another replica, the decision is made again.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use headwater_rollout::state::State;

use super::decision::{COMMITTED_ONLY, PushContext};
use super::options::PushOptions;
use super::rejection::Rejection;
use super::replication::{CommittedPush, PendingPush, RolloutDecision};
use super::rollouts::{DecidedRollouts, PendingRollouts, RepositoryRollouts, StagedBranch};
use super::staging::{Decision, INTERRUPTED};
use super::updates::{Question, Update};
use crate::source::git::MovedReference;

/// Everything that decides about the rollouts of a push to a shared repository.
pub(super) struct SharedStaging<'p> {
    context: &'p PushContext,
    rollouts: &'p RepositoryRollouts,
    question: &'p Question,
    options: &'p PushOptions,
    staged: Vec<StagedBranch>,
}

impl<'p> SharedStaging<'p> {
    /// Returns `None` for a repository that is not shared, or that has no rollouts.
    pub(super) fn new(
        context: &'p PushContext,
        question: &'p Question,
        options: &'p PushOptions,
        staged: &[StagedBranch],
    ) -> Option<Self> {
        let rollouts = context.repository.rollouts.as_ref()?;
        rollouts.group.as_ref()?;
        Some(Self { context, rollouts, question, options, staged: staged.to_vec() })
    }

    /// Rejects a push that a rollout does not permit, before anything is recorded. The transaction makes the decision
    /// again, and only that one counts.
    pub(super) async fn rehearse(
        &self,
        pending: &PendingPush,
    ) -> Result<Option<PendingRollouts>, Rejection> {
        if let Some(state) = pending.rollout_state() {
            self.decide(state).await?;
        }
        Ok(None)
    }

    /// Makes the decisions of a committed push durable here, before git moves a reference.
    ///
    /// # Errors
    /// When the disk does not accept them. The push is in etcd, and the follower makes it here once that is possible.
    pub(super) async fn hold(
        &self,
        committed: &mut CommittedPush,
    ) -> Result<Option<PendingRollouts>, Rejection> {
        let Some(DecidedRollouts { branches, next }) = committed.take_rollouts() else {
            return Ok(None);
        };
        let ledger = &self.rollouts.ledger;
        let turn = ledger.take_turn().await;
        let next = next.map_or_else(|| ledger.state(), Arc::new);
        let updates = self.question.updates.iter();
        let moves: Vec<MovedReference> = updates.map(Update::to_move).collect();
        match PendingRollouts::following(ledger, turn, &next, &moves).await {
            Ok(pending) => Ok(Some(PendingRollouts { branches, ..pending })),
            Err(_) => {
                committed.leave_to_follower();
                Err(Rejection::unknown(COMMITTED_ONLY.to_owned()))
            }
        }
    }
}

impl RolloutDecision for SharedStaging<'_> {
    fn decide(&self, state: Arc<State>) -> BoxFuture<'_, Result<DecidedRollouts, Rejection>> {
        Box::pin(async move {
            let Self { context, rollouts, question, options, staged } = self;
            let decision = Decision::new(context, rollouts, question, options, staged.clone())?;
            let before = Arc::clone(&state);
            let deciding = tokio::task::spawn_blocking(move || decision.decide(&state));
            let decided = deciding.await.map_err(|_| Rejection::from(INTERRUPTED))?;
            let (branches, _) = decided?;
            let opened = branches.iter().rev().find_map(|own| own.opened.next.clone());
            let next = without_deleted(opened, &before, &question.updates);
            Ok(DecidedRollouts { branches, next })
        })
    }
}

/// The state after the push, without the branches that it deletes.
fn without_deleted(opened: Option<State>, before: &State, updates: &[Update]) -> Option<State> {
    let deleted = updates.iter().filter(|update| update.new.is_none()).filter_map(Update::branch);
    deleted.fold(opened, |next, branch| {
        let present = next.as_ref().unwrap_or(before);
        match present.branch(branch) {
            Some(_) => Some(present.forget(branch).0),
            None => next,
        }
    })
}
