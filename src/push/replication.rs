//! Replication of a hosted repository between servers, through etcd. Every replica has the whole repository.
//!
//! A push takes these steps in order:
//!
//! 1. Its objects become durable here. A large pack of them is uploaded to etcd.
//! 2. One transaction replaces the manifest in etcd, which has all references. It also writes a small pack, and the
//!    rollouts if the push changes them.
//! 3. Git moves the references here.
//! 4. The server publishes them.
//! 5. The server answers the pusher.
//!
//! A server that stops before step 2 has changed no reference. A server that stops after step 2 takes the push from
//! etcd when it starts again. Other replicas receive each push from etcd in the same way.
//!
//! `rollouts` has the state of the rollouts, which is a second key, and `evidence` what replicas report about them.
//!
//! The replication uses etcd's transactions and leases, and none of its locks. `tests/it/shared_push.rs` walks through
//! the order.

mod apply;
mod checkpoint;
mod commit;
mod compaction;
mod error;
mod evidence;
mod follow;
mod freshness;
mod group;
mod join;
mod manifest;
mod packs;
mod pending;
mod programs;
mod replica;
mod rollouts;
mod source;
mod status;

pub(super) use self::follow::ReplicationTasks;
pub(super) use self::group::RepositoryGroup;
pub use self::group::{Fleet, FleetMember};
pub(super) use self::pending::{CommitError, CommittedPush, PendingPush, RolloutDecision};
pub use self::replica::Replication;
pub use self::source::SharedSource;
