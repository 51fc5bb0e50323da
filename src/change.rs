//! The difference between two revisions of one environment: the keys whose effective value differs, without values.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Environment, Value};

/// The keys that differ between two environments, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Keys that only the new environment has.
    pub added: Vec<Arc<str>>,
    /// Keys that only the old environment has.
    pub removed: Vec<Arc<str>>,
    /// Keys whose effective value or its type differs.
    pub changed: Vec<Arc<str>>,
}

impl Change {
    /// Returns true if a service reads the same values from both environments.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Compares the effective values of two environments.
pub fn change(old: &Environment, new: &Environment) -> Change {
    let (old, new) = (effective(old), effective(new));
    let mut change = Change::default();
    for (key, value) in &new {
        match old.get(key) {
            None => change.added.push(Arc::clone(key)),
            Some(before) if before != value => change.changed.push(Arc::clone(key)),
            Some(_) => {}
        }
    }
    change.removed.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
    for keys in [&mut change.added, &mut change.removed, &mut change.changed] {
        keys.sort();
    }
    change
}

/// The value that a service reads for each key: the one of the highest property source that has the key.
pub fn effective(environment: &Environment) -> HashMap<Arc<str>, &Value> {
    let mut values = HashMap::new();
    for source in environment.sources.iter().rev() {
        for property in source.properties() {
            values.insert(Arc::clone(&property.key), &property.value);
        }
    }
    values
}
