//! The replicas that share a repository, as the keeper of its rollouts needs them.
//!
//! Every replica has a keeper. Each of them may replace the shared state, if it replaces exactly the state that it has
//! seen. The replica then receives the new state in the same way as the others, and only after that serves it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use headwater_rollout::Name;
use headwater_rollout::evidence::Report;
use headwater_rollout::state::State;

use super::changes::RemoteInstances;
use crate::model::Label;

/// The replicas that share a repository.
pub trait ReplicaGroup: Send + Sync {
    /// The replicas as this one knows them now.
    fn standing(&self) -> GroupStanding;

    /// Gives the reports of this replica to the others, and takes back those about rollouts that do not run any more.
    fn publish_reports(&self, reports: Vec<Report>);

    /// The reports of the other replicas, each with the name that [`ReplicaGroup::standing`] has for its replica.
    fn other_reports(&self) -> Vec<Report>;

    /// The instances at the other replicas that request one of these labels.
    fn other_instances(&self, labels: &[Label]) -> Vec<RemoteInstances>;

    /// Replaces the shared state, if it is `before` still. This replica adopts the next state later.
    fn replace<'a>(
        &'a self,
        before: &'a Arc<State>,
        next: &'a State,
    ) -> BoxFuture<'a, Result<Replacement, String>>;
}

/// The outcome of an attempt to replace the shared state. An error means that the outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    Done,
    /// Another replica was faster, or this one has not received the newest state yet.
    Conflict,
}

/// The replicas that serve clients, from the point of view of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStanding {
    /// The name of this replica.
    pub own: Name,
    /// The live replicas with this one.
    pub live: Vec<Name>,
    /// The place of this replica among them, from 0.
    pub rank: u32,
    /// A live replica whose version does not know rollouts.
    pub unsupported: Option<Name>,
    /// False while this replica does not know the newest state, or the live replicas.
    pub is_connected: bool,
    /// True after a time without contact. No further instance receives a candidate from this replica then.
    pub is_fenced: bool,
}

impl GroupStanding {
    /// A server that shares its repository with no other one.
    pub fn alone(own: Name) -> Self {
        let live = vec![own.clone()];
        Self { own, live, rank: 0, unsupported: None, is_connected: true, is_fenced: false }
    }
}
