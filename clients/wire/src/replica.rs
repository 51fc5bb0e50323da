//! The replicas of a fleet.

use serde::{Deserialize, Serialize};

/// The answer to `GET /-/replicas`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaList {
    /// The connection of this server to etcd. `None` for a server without other replicas.
    pub share: Option<ShareStatus>,
    /// The replicas, ordered by name.
    pub replicas: Vec<ReplicaStatus>,
    /// The number of replicas that are not listed.
    #[serde(default)]
    pub left_out: u64,
}

/// The connection of a server to the etcd cluster through which replicas share their state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// The seconds since the last contact. `None` before the first one.
    #[serde(default)]
    pub heard_seconds: Option<u64>,
    /// The seconds since the beginning of the present outage. `None` while etcd is reachable.
    pub away_seconds: Option<u64>,
    /// The reason for the present outage.
    pub failure: Option<String>,
}

/// One replica, as the answering server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// The name of the replica.
    pub name: String,
    /// The id of this run of the replica.
    #[serde(default)]
    pub id: String,
    /// Set for the answering server itself.
    pub this: bool,
    /// The state of the replica.
    pub state: ReplicaState,
    /// The URL of the replica.
    #[serde(default)]
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// The seconds since its start.
    pub age_seconds: u64,
    /// The seconds since its last report.
    pub heard_seconds: Option<u64>,
    /// The longest lag of its labels.
    pub lag_seconds: Option<u64>,
    /// The labels that it serves, the default label first.
    pub labels: Vec<LabelStatus>,
    /// The number of further labels, which are not listed.
    #[serde(default)]
    pub labels_left_out: u64,
    /// The number of environments that it holds back.
    pub held_back: u64,
    /// Its present faults, one line each.
    #[serde(default)]
    pub faults: Vec<String>,
    /// Its remote sources.
    pub sources: Vec<SourceStatus>,
    /// The policy in force. `None` for a replica without one.
    #[serde(default)]
    pub policy: Option<PolicyStatus>,
}

/// The policy of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The first 8 hexadecimal digits of the SHA-256 of the policy file.
    pub digest: String,
    /// The seconds since the policy took effect.
    pub age_seconds: u64,
}

/// The state of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReplicaState {
    /// The replica renews its lease.
    Live,
    /// The lease of the replica has expired.
    Gone,
    /// The answering server cannot reach etcd and does not know the present state.
    #[serde(other)]
    Unknown,
}

impl ReplicaState {
    /// Returns the name of the state in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReplicaState::Live => "live",
            ReplicaState::Gone => "gone",
            ReplicaState::Unknown => "unknown",
        }
    }
}

/// A label of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelStatus {
    /// The label. `None` for the default label.
    pub label: Option<String>,
    /// The revision that the replica serves.
    pub revision: String,
    /// The seconds for which the label has been behind the newest known revision. `None` unless the replica is live.
    pub lag_seconds: Option<u64>,
}

/// A remote source of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The name of the source.
    pub source: String,
    /// The reason for which the source is unreachable. `None` while it is reachable.
    pub failure: Option<String>,
    /// The seconds since the last contact with an unreachable source. `None` for a reachable source, and for one that was
    /// never reached.
    pub heard_seconds: Option<u64>,
}
