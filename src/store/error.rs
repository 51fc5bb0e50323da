//! The reasons for which a request has no answer.

use crate::model::Label;
use crate::source::SourceError;
use crate::tree::TreeError;

/// The reasons for which a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The policy denies the operation to the caller.
    #[error("not allowed")]
    Forbidden,
    /// The source has no such label.
    #[error("unknown label {0}")]
    UnknownLabel(Label),
    /// The source cannot be read, and no earlier snapshot is loaded.
    #[error("{0}")]
    Unavailable(String),
    /// Too many requests wait for a resolution, or this one has waited too long.
    #[error("too many requests are waiting to be resolved")]
    Overloaded,
}

impl From<SourceError> for AnswerError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::UnknownLabel(label) => Self::UnknownLabel(label),
            SourceError::Unavailable { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<TreeError> for AnswerError {
    fn from(error: TreeError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
