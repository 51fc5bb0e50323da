//! The tables of two policies that no principal takes part in: areas, values to seal, and expectations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Policy;
use super::area::Area;
use super::sealing::SealingRule;
use crate::pattern::Pattern;

/// A table that is in one of two policies only, or that has other content in the new one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableChange {
    /// The object, such as `the area payments/**`.
    pub object: String,
    /// What the old policy says about it. `None` if it says nothing.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// What a policy says about each object. Several tables can be about one object.
type Statements = BTreeMap<String, BTreeSet<String>>;

impl fmt::Display for TableChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, before, after } = self;
        match (before, after) {
            (None, Some(after)) => write!(f, "{object} is added: {after}"),
            (Some(before), None) => write!(f, "{object} is removed: {before}"),
            (Some(before), Some(after)) => {
                write!(f, "{object} is changed: {after}. Before: {before}")
            }
            (None, None) => f.write_str(object),
        }
    }
}

/// Compares the tables of two policies. Their order has no meaning.
pub(super) fn table_changes(old: &Policy, new: &Policy) -> Vec<TableChange> {
    let (before, after) = (statements(old), statements(new));
    let objects: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = objects.into_iter().filter(|object| before.get(*object) != after.get(*object));
    let join = |statements: Option<&BTreeSet<String>>| {
        let texts: Vec<&str> = statements?.iter().map(String::as_str).collect();
        Some(texts.join(", and "))
    };
    let changes = differing.map(|object| TableChange {
        object: object.clone(),
        before: join(before.get(object)),
        after: join(after.get(object)),
    });
    changes.collect()
}

fn statements(policy: &Policy) -> Statements {
    let mut statements = Statements::new();
    let areas = policy.areas.areas.iter().map(Area::statement);
    let sealing = policy.sealing.iter().map(SealingRule::statement);
    let expectations = policy.expectations.iter().map(super::Expectation::statement);
    for (object, text) in areas.chain(sealing).chain(expectations) {
        statements.entry(object).or_default().insert(text);
    }
    statements
}

/// The texts of patterns, in a stable order.
pub(super) fn list(patterns: &[Pattern]) -> String {
    let texts: BTreeSet<&str> = patterns.iter().map(Pattern::as_str).collect();
    texts.into_iter().collect::<Vec<_>>().join(", ")
}
