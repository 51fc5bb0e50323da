//! One difference between two answers to the same request.

use serde_json::Value;

use super::documented::Heading;

/// A side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerSide {
    Spring,
    Headwater,
}

/// The kind of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DifferenceKind {
    /// The answers have different statuses.
    Status {
        spring: u16,
        headwater: u16,
    },
    /// Headwater answers from an earlier revision while Spring serves the newest one.
    HeldBack,
    /// A member of the environment.
    Member(&'static str),
    SourceOnlyIn(AnswerSide),
    /// The source comes at another place in the order.
    SourceOrder,
    /// The source has another path.
    SourceName,
    KeyOnlyIn(AnswerSide),
    Value,
    Type {
        spring: &'static str,
        headwater: &'static str,
    },
    /// The keys of a source come in another order.
    Order,
    /// A flat form or a plain file, from a line on.
    Text {
        line: usize,
    },
}

/// A difference between two environments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AnswerDifference {
    pub(super) kind: DifferenceKind,
    /// The flat form or the plain file, if it is about one.
    pub(super) text: Option<String>,
    /// The property source, by the name of its file.
    pub(super) source: Option<String>,
    pub(super) key: Option<String>,
    pub(super) documented: Option<Heading>,
    /// The values of Spring and of Headwater, in this order.
    pub(super) values: [Option<String>; 2],
}

impl AnswerDifference {
    pub(super) fn of(kind: DifferenceKind) -> Self {
        let values = [None, None];
        Self { kind, text: None, source: None, key: None, documented: None, values }
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub(super) fn documented(mut self, heading: Heading) -> Self {
        self.documented = Some(heading);
        self
    }

    pub(super) fn values(mut self, spring: Option<&Value>, ours: Option<&Value>) -> Self {
        self.values = [spring, ours].map(|value| value.map(text));
        self
    }

    pub(super) fn at(mut self, source: String) -> Self {
        self.source = Some(source);
        self
    }
}

/// The text of a scalar of any type.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
