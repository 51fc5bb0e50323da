//! The instances of services, and the outcome of a configuration in an instance.

use serde::{Deserialize, Serialize};

/// The answer to `GET /-/instances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceList {
    /// The instances, ordered by application, profiles, label and name.
    pub instances: Vec<InstanceStatus>,
    /// The number of requests from instances that were not recorded because the list was full.
    pub left_out: u64,
}

/// One instance and one environment that it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The name of the instance.
    pub instance: String,
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
    /// The time of the last request, as an RFC 3339 timestamp.
    pub last_seen: String,
    /// Set while the server is answering a request of the instance, such as an event stream.
    pub connected: bool,
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
