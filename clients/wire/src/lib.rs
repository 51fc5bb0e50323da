//! The JSON documents and header names of the protocol, shared by the server and its clients.
//!
//! The crate contains types for `serde`, and no behaviour except the digest and the limits of a [`Contract`].
//! [`Environment`] and [`ErrorDocument`] have the shape of Spring Cloud Config 4 (docs/protocol.md#3-the-environment). The
//! other types belong to Headwater's own resources below `/-/` and to its event streams.
//!
//! A client must ignore unknown members, and must accept `null` for every member that is an `Option` here.

#![warn(missing_docs)]

mod contract;
mod environment;
pub mod events;
mod fleet;
pub mod headers;
mod health;
mod instance;
mod problem;
mod replica;
mod rollout;

pub use contract::{
    CONTRACT_BYTES_MAX, CONTRACT_KEYS_MAX, Contract, ContractError, ContractKey, ContractList,
    ContractStatus, KeyList, KeyReader, KeyReaders, ValueType, is_version,
};
pub use environment::{Environment, EnvironmentList, PropertySource};
pub use events::{ChangedEnvironment, MoveCommit, MoveEvent, OtherChanges};
pub use fleet::{
    FleetChange, FleetEnvironment, FleetHistory, FleetInstance, FleetInstanceState, FleetRecord,
    FleetRejection, FleetReplica, FleetStatus,
};
pub use health::{
    ConfigServerComponent, ConfigServerDetails, FaultHealth, Health, HealthComponents, LabelHealth,
    RemoteHealth, SourceProblemHealth,
};
pub use instance::{InstanceHealth, InstanceList, InstanceStatus, Outcome};
pub use problem::{ErrorDocument, ProblemDocument, ProblemList, ProblemReport};
pub use replica::{
    LabelStatus, PolicyStatus, ReplicaList, ReplicaState, ReplicaStatus, ShareStatus, SourceStatus,
};
pub use rollout::{
    RolloutAction, RolloutApplication, RolloutCommand, RolloutCommandAnswer, RolloutEvent,
    RolloutList, RolloutRecord, RolloutState, RolloutStatus,
};
