//! The answers of one side of the comparison, as a client receives them.

use std::collections::BTreeSet;

use headwater_wire::Environment;

use crate::catalog::Catalog;

/// The answer to one question.
#[derive(Debug)]
pub(super) enum SideAnswer<T> {
    Content(T),
    /// Nothing but a status that says why not.
    Refused(u16),
}

/// An environment as it was received.
#[derive(Debug)]
pub(super) struct ReceivedEnvironment {
    pub(super) environment: Environment,
    /// The answer comes from an earlier revision than the newest one. Only Headwater does that.
    pub(super) is_held_back: bool,
}

/// The reason for a missing answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// To this question, after all attempts.
    Unanswered(String),
    /// Every further question would fail in the same way.
    Fatal(String),
}

/// The catalogue of a label in Headwater.
pub(super) struct KnownLabel {
    pub(super) catalog: Catalog,
    pub(super) revision: String,
    /// Applications that only files outside of the search paths speak of: Spring may have other search paths.
    pub(super) outside: BTreeSet<String>,
}

impl<T> SideAnswer<T> {
    /// The status of the answer.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Content(_) => 200,
            Self::Refused(status) => *status,
        }
    }

    pub(super) fn is_content(&self) -> bool {
        matches!(self, Self::Content(_))
    }
}

impl SideAnswer<ReceivedEnvironment> {
    /// The environment, if there is one.
    pub(super) fn environment(&self) -> Option<&Environment> {
        match self {
            Self::Content(received) => Some(&received.environment),
            Self::Refused(_) => None,
        }
    }
}

impl AskError {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Unanswered(text) | Self::Fatal(text) => text,
        }
    }
}
