//! The health of a server, in the shape of Spring Boot's actuator.

use serde::{Deserialize, Serialize};

/// The answer to `GET /actuator/health`, and to the probes without components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `UP`, `DOWN` or `OUT_OF_SERVICE`.
    pub status: String,
    /// The details. A server returns them only to a caller that may see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<HealthComponents>,
}

/// The components of [`Health`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthComponents {
    /// The health of the configuration server.
    #[serde(rename = "configServer")]
    pub config_server: ConfigServerComponent,
}

/// The health of the configuration server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigServerComponent {
    /// `UP` or `DOWN`.
    pub status: String,
    /// The state of the source and of everything that is served from it.
    pub details: ConfigServerDetails,
}

/// The details of [`ConfigServerComponent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigServerDetails {
    /// The name of the source.
    pub source: String,
    /// The labels that the server serves.
    pub repositories: Vec<LabelHealth>,
    /// The number of environments that a problem holds back.
    pub held_back: u64,
    /// The number of environments whose newest content is withheld after a rollback.
    #[serde(default)]
    pub withheld: u64,
    /// The present faults.
    pub faults: Vec<FaultHealth>,
    /// The remote sources. Absent for a server without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<RemoteHealth>,
    /// The problems of the source. Absent for a source without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<SourceProblemHealth>,
}

/// A label that a server serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelHealth {
    /// The label. `None` for the default label.
    pub label: Option<String>,
    /// The revision.
    pub version: String,
    /// The number of environments in memory.
    pub environments: u64,
    /// The seconds since the source has been unreadable. Absent while it is readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_seconds: Option<u64>,
    /// The reason for which the source is unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A fault of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultHealth {
    /// The kind of the fault, such as `remote-unreachable`.
    pub kind: String,
    /// The affected environment, label, repository or replica.
    pub object: String,
    /// The seconds since the beginning of the fault.
    pub seconds: Option<u64>,
    /// The description of the fault.
    pub error: String,
}

/// A remote source of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteHealth {
    /// The name of the source.
    pub source: String,
    /// The seconds since the last successful fetch. `None` before the first one.
    pub last_fetch_seconds: Option<u64>,
    /// The reason for which the last fetch failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A problem of a source, which affects no environment by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceProblemHealth {
    /// The name of the source.
    pub source: String,
    /// The file with the problem.
    pub file: String,
    /// The description of the problem.
    pub reason: String,
}
