//! The documents for errors and for problems.

use serde::{Deserialize, Serialize};

/// The body of an error on the paths of Spring Cloud Config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// The time of the error, such as `2026-01-02T03:04:05.678+00:00`.
    pub timestamp: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase of the status code.
    pub error: String,
    /// The description of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The path of the request.
    pub path: String,
}

/// The body of an error on Headwater's own paths: a problem document of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// The problem type. Always `about:blank`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The reason phrase of the status code.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// The description of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The file with the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column in the line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

/// The answer to `GET /-/problems`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemList {
    /// The present problems.
    pub problems: Vec<ProblemReport>,
}

/// One problem of an environment, a source or the server.
///
/// A problem of an environment names its application and profiles. A problem of a source names none, and a file where there
/// is one. A problem of the server names neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemReport {
    /// The kind of the problem, such as `held-back`.
    #[serde(default)]
    pub kind: String,
    /// The application.
    pub application: Option<String>,
    /// The profiles, joined by commas.
    pub profiles: Option<String>,
    /// The label. `None` for the default label.
    pub label: Option<String>,
    /// The affected source, or another affected object of the server.
    pub source: String,
    /// The newest revision of the label.
    pub tip: Option<String>,
    /// The revision that the server returns.
    pub served: Option<String>,
    /// The beginning of the problem, as an RFC 3339 timestamp.
    pub since: Option<String>,
    /// The file with the problem.
    pub file: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<u32>,
    /// The column in the line, from 1.
    pub column: Option<u32>,
    /// The affected key.
    pub key: Option<String>,
    /// The description of the problem.
    pub reason: String,
}

impl ProblemReport {
    /// The kind of a problem in spite of which the newest revision is served.
    pub const NOTICE: &'static str = "notice";
    /// The kind of an environment whose newest content is withheld after a rollback.
    pub const WITHHELD: &'static str = "withheld";
}
