//! The instances of a fleet, merged over all replicas.

use serde::{Deserialize, Serialize};

use crate::{InstanceHealth, InstanceStatus, Outcome};

/// The answer to `GET /-/fleet`: how far each environment has reached its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The replicas whose instances are part of the answer or missing in it, ordered by name.
    pub replicas: Vec<FleetReplica>,
    /// The environments, ordered by application, profiles and label.
    pub environments: Vec<FleetEnvironment>,
    /// The number of environments that satisfy the request, on all pages.
    pub count: u64,
    /// The value of `after` for the next page. `None` on the last page.
    #[serde(default)]
    pub next: Option<String>,
    /// The instances themselves, when the request names one. Otherwise empty.
    #[serde(default)]
    pub instances: Vec<FleetInstance>,
}

/// A replica that was asked for its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetReplica {
    /// The name of the replica.
    pub name: String,
    /// The number of instances that it reported.
    pub instances: u64,
    /// The reason for which its instances are missing. `None` when it answered.
    pub failure: Option<String>,
}

/// The instances of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEnvironment {
    /// The application.
    pub application: String,
    /// The profiles, joined by commas.
    pub profiles: String,
    /// The label. `None` for the default label.
    pub label: Option<String>,
    /// The revision that the answering server serves. `None` when it serves no such environment.
    pub revision: Option<String>,
    /// The number of instances, without those that are gone.
    pub instances: u64,
    /// The number of instances that use the present content.
    pub applied: u64,
    /// The number of instances that rejected the present content.
    pub rejected: u64,
    /// The number of instances whose last report is about other content.
    pub behind: u64,
    /// The number of instances that report no outcome.
    pub unreported: u64,
    /// The number of instances that reported an outcome and have been disconnected for a minute.
    pub gone: u64,
    /// The number of instances that report that they are down.
    pub down: u64,
    /// The rejections, ordered by instance. The server lists 100 at most.
    pub rejections: Vec<FleetRejection>,
}

/// An instance that rejected the present content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRejection {
    /// The name of the instance.
    pub instance: String,
    /// The reason: a word and a key. `None` when the instance gave none.
    pub reason: Option<String>,
    /// The time of the rejection, as an RFC 3339 timestamp.
    pub since: String,
}

/// An instance with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetInstance {
    /// The name of the replica that reported it.
    pub replica: String,
    /// Its state, compared with the content that the answering server serves.
    pub state: FleetInstanceState,
    /// Everything that it reported.
    pub status: InstanceStatus,
}

/// The state of an instance, compared with the present content of its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FleetInstanceState {
    /// It uses the present content.
    Applied,
    /// It rejected the present content.
    Rejected,
    /// Its last report is about other content.
    Behind,
    /// It reports no outcome.
    Unreported,
    /// It reported an outcome and has been disconnected for a minute.
    Gone,
}

impl FleetInstanceState {
    /// Returns the name of the state in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FleetInstanceState::Applied => "applied",
            FleetInstanceState::Rejected => "rejected",
            FleetInstanceState::Behind => "behind",
            FleetInstanceState::Unreported => "unreported",
            FleetInstanceState::Gone => "gone",
        }
    }
}

/// The answer to `GET /-/fleet?at=…` and to `GET /-/fleet/history`: records of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetHistory {
    /// The replicas whose records are part of the answer or missing in it, ordered by name.
    pub replicas: Vec<FleetReplica>,
    /// With `at`, the last record of each instance that was present then, ordered by environment and name. Otherwise the
    /// records in the order of their times.
    pub records: Vec<FleetRecord>,
    /// The number of records that are not listed.
    pub left_out: u64,
}

/// One change of an instance, with everything that was known of it afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRecord {
    /// The time of the change, as an RFC 3339 timestamp.
    pub at: String,
    /// The change.
    pub change: FleetChange,
    /// The name of the replica that recorded it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replica: String,
    /// The name of the instance. Empty for a start of the server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// The application.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub application: String,
    /// The profiles, joined by commas.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profiles: String,
    /// The label. `None` for the default label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The revision of the acknowledged configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The digest of the acknowledged configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The outcome of the acknowledged configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The time of the acknowledgement, as an RFC 3339 timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The reason of the last report for a rejection or for `down`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reported health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<InstanceHealth>,
}

/// The change of a [`FleetRecord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FleetChange {
    /// The server started, or its history continues in another file or after lines were lost. What was known before is no
    /// longer current.
    Started,
    /// No change: the state at the beginning of a day.
    State,
    /// The instance arrived.
    Arrived,
    /// A new incarnation of the instance arrived.
    Restarted,
    /// The instance is gone.
    Gone,
    /// The instance uses a configuration.
    Applied,
    /// The instance rejected a configuration.
    Rejected,
    /// The reported health or its reason changed.
    Health,
}
