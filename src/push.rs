//! Hosted repositories: clones, fetches and pushes.
//!
//! Git's own binary speaks the protocol and keeps received objects in quarantine. One hook asks this server, which
//! reviews the push and answers.
//!
//! Invariant: the server acknowledges a push only after it is durable and published.
//!
//! This module knows nothing of HTTP, and leaves the content of packs to git. Its layers, each of which uses only those
//! below it:
//!
//! - `hosts` and `host`: the repositories, and the requests of clients
//! - `listener` and `session`: the hook's socket, and one push from its first byte to its answer
//! - `waiting` and `arrival`: the wait of a published push for the instances that it concerns
//! - `recording`: pushes in the audit trail
//! - `decision`: the steps from the hook's question until git may move references
//! - `shared_staging`: when a push to a shared repository is staged
//! - `staging` and `rollout_lines`: which applications a push holds in a rollout, and what the pusher reads about it
//! - `authorization`: the decision of the policy about each branch, commit and path
//! - `policy_repository`: the hosted repository that has the policy
//! - `review` and `replication`: what a push changes, and its commit to etcd
//! - `repository`, with `health` and `maintenance`: references, publication and durability
//! - `rollouts` and `rollout_setup`: the rollouts of a repository, and their start
//! - `locks`, `updates`, `options`, `command`, `exchange`, `packet`: guards, values, git processes and the protocol

mod admission;
mod advertisement;
mod arrival;
mod authorization;
mod command;
mod decision;
mod earlier_commits;
mod error;
mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
pub mod hook;
mod host;
mod hosts;
mod listener;
mod locks;
mod maintenance;
mod options;
mod packet;
mod policy;
mod policy_repository;
mod prepare;
mod recording;
mod rejection;
mod replication;
mod repository;
mod review;
mod rollout_lines;
mod rollout_setup;
mod rollouts;
mod session;
mod shared_staging;
mod staging;
mod trial;
mod updates;
mod waiting;
mod wants;

pub use self::admission::{FETCH_COUNT_MAX, PUSH_COUNT_MAX, Requester};
pub use self::authorization::{Pusher, Reauthentication};
pub use self::command::Service;
pub use self::error::PushError;
pub use self::exchange::{Exchange, Input, PUSH_STALL_MAX, StallBudget, TruncationError};
pub use self::host::Host;
pub use self::hosts::{HostedRepositories, HostedSource, Hosts, HostsError};
pub use self::policy::{BuildSource, Permission, PushPolicy};
pub use self::policy_repository::{CommitFiles, HostedPolicy, PolicyRepository};
pub use self::prepare::{RepositoryError, is_name, path_of, prepare};
pub use self::recording::PushRecorder;
pub use self::replication::{Fleet, FleetMember, Replication, SharedSource};
pub use self::rollout_setup::RolloutSetup;
pub use self::rollouts::RolloutPolicy;
pub use self::waiting::ReplicaCounter;
