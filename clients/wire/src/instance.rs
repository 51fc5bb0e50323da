//! The instances of services, and the outcome of a configuration in an instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The answer to `GET /-/instances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceList {
    /// The instances, ordered by application, profiles, label, name and incarnation.
    pub instances: Vec<InstanceStatus>,
    /// The number of instances that satisfy the request, on all pages.
    #[serde(default)]
    pub count: u64,
    /// The value of `after` for the next page. `None` on the last page.
    #[serde(default)]
    pub next: Option<String>,
    /// The number of requests from instances that were not recorded because the list was full.
    pub left_out: u64,
    /// The name of the answering replica.
    #[serde(default)]
    pub replica: String,
}

/// One instance and one environment that it reads. Two clients that report the same name at the same time are two entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The name of the instance.
    pub instance: String,
    /// The present incarnation. `None` when the instance reports none.
    #[serde(default)]
    pub incarnation: Option<String>,
    /// The attributes, such as `version` and `zone`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The application.
    pub application: String,
    /// The profiles, joined by commas.
    pub profiles: String,
    /// The label. `None` for the default label.
    pub label: Option<String>,
    /// The revision of the acknowledged configuration. `None` when the instance has acknowledged nothing.
    pub revision: Option<String>,
    /// The digest of the acknowledged configuration.
    pub digest: Option<String>,
    /// The outcome of the acknowledged configuration.
    pub outcome: Option<Outcome>,
    /// The time of the first acknowledgement with this content, as an RFC 3339 timestamp.
    pub since: String,
    /// The reason of the last report for a rejection or for `down`: a word and a key.
    #[serde(default)]
    pub reason: Option<String>,
    /// The digest of the contract of the build. `None` when the instance names none.
    #[serde(default)]
    pub contract: Option<String>,
    /// The reported health. `None` when the instance reports none.
    #[serde(default)]
    pub health: Option<InstanceHealth>,
    /// The number of consecutive reports of `down`.
    #[serde(default)]
    pub down_reports: u32,
    /// Set when the instance has reported at least once that it uses a configuration.
    #[serde(default)]
    pub witness: bool,
    /// Set while the instance offers to try configurations that are not published yet.
    #[serde(default)]
    pub tries: bool,
    /// The number of restarts that the server has seen.
    #[serde(default)]
    pub restarts: u32,
    /// The time of the last request, as an RFC 3339 timestamp.
    pub last_seen: String,
    /// Set while the server is answering a request of the instance, such as an event stream.
    pub connected: bool,
    /// The time since which the server has been answering no request of the instance. `None` while it is connected.
    #[serde(default)]
    pub disconnected_since: Option<String>,
}

/// The health of an instance, as the instance reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InstanceHealth {
    /// The instance works.
    Up,
    /// The instance does not work.
    Down,
}

impl InstanceHealth {
    /// Returns the name of the health in JSON and in the header [`HEALTH`](crate::headers::HEALTH).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            InstanceHealth::Up => "up",
            InstanceHealth::Down => "down",
        }
    }

    /// Returns the health with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<InstanceHealth> {
        [InstanceHealth::Up, InstanceHealth::Down].into_iter().find(|health| health.name() == name)
    }
}

/// The outcome of a configuration in an instance, as the instance reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// The instance uses the configuration.
    #[serde(rename = "ok")]
    Applied,
    /// The instance rejected the configuration and uses the former one.
    #[serde(rename = "rejected")]
    Rejected,
}

impl Outcome {
    /// Returns the name of the outcome in JSON and in the header [`APPLIED`](crate::headers::APPLIED).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Applied => "ok",
            Outcome::Rejected => "rejected",
        }
    }

    /// Returns the outcome with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Outcome> {
        [Outcome::Applied, Outcome::Rejected].into_iter().find(|outcome| outcome.name() == name)
    }
}
