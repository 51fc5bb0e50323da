//! The failures of the flat forms, shared by the modules that nest and write them.

use crate::placeholder::PlaceholderError;

/// A failure to render a flat form. It never contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlatError {
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
    /// The key has an empty part or an invalid list index.
    #[error("key cannot be nested: {key}")]
    UnnestableKey {
        /// The flat key.
        key: String,
    },
    /// The key needs a list where another key needs a map or a value, or the other way round.
    #[error("key has another shape than one before it: {key}")]
    ShapeConflict {
        /// The flat key that came second.
        key: String,
    },
    /// The nesting, the gaps in lists, or the size exceed a limit.
    #[error("flat form is too large")]
    TooLarge,
}
