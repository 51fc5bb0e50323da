//! Failures of git, with a summary for clients and an excerpt for operators.

/// The failure of a run of git, or of an operation on a copy. Contains no path of the copy and no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{summary}{}", git.as_ref().map(|git| format!(" (git: {git})")).unwrap_or_default())]
pub(super) struct GitError {
    /// The summary, which clients may read.
    pub(super) summary: String,
    /// The cleaned excerpt of git's own message.
    pub(super) git: Option<String>,
}

impl GitError {
    pub(super) fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), git: None }
    }
}
