//! The conduct of rollouts: the state of each hosted repository, the evidence of instances, and the task that advances.
//!
//! The crate `headwater-rollout` decides what happens as pure functions. This module gives them the state, the evidence and
//! the time, makes their decisions durable, and publishes the holds that follow from them.
//!
//! `ledger` is the state of one repository and its file. `changes` finds what a push changes for each application. `holds`
//! turns a state into what the source hands out. `evidence` turns the instances into reports. `checks` makes the operator's
//! measurements. `keeper` advances the rollouts of one repository. `group` and `derived` are for a repository that replicas
//! share. `view` is what people and programs see.
//!
//! Locking: a [`LedgerTurn`] is taken after the push turn of a repository, before its references lock, and before the locks of
//! the store.

mod changes;
mod checks;
mod derived;
mod evidence;
mod file;
#[cfg(test)]
mod fixture;
mod group;
mod holds;
mod intended;
mod journal;
mod keeper;
mod ledger;
mod sinks;
mod view;

pub use changes::{BranchChanges, Comparison, RemoteInstances, changes, short_key};
pub use checks::{
    Canary, CheckDefinition, CheckKind, CheckRunner, CheckTarget, Question, Server, TargetGroup,
};
pub use evidence::{EvidenceTracker, Situated};
pub use group::{GroupStanding, Replacement, ReplicaGroup};
pub use intended::intended;
pub use keeper::{HoldPublisher, Keeper, KeeperParts};
pub use ledger::{BranchEvents, Ledger, LedgerError, LedgerTurn, Tips};
pub use sinks::{RolloutFigures, RolloutOutcome, sinks};
pub use view::{Conduct, ConductError, EventSink, RecordedEvent, RolloutStanding, RolloutView};
