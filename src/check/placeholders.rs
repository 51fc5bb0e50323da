//! The rule that every `${…}` has something to stand for: a property of the same environment, or a default.

use super::effective::Effective;
use crate::model::{Environment, Problem};
use crate::placeholder::{Lookup, PlaceholderError, Resolver};

/// What is said of a placeholder that nothing resolves. Its name is a part of a value, and is not said.
const UNRESOLVED: &str = "holds a ${…} that nothing here resolves and that has no default";

/// The effective values in which something stays unresolved. A client may know what the server does not.
pub(super) fn unresolved(environment: &Environment, effective: &Effective<'_>) -> Vec<Problem> {
    let lookup = Lookup::new(environment);
    let mut resolver = Resolver::new(&lookup, 0);
    let mut found = Vec::new();
    for written in effective.iter() {
        let text = written.property.value.text();
        if !text.contains("${") {
            continue;
        }
        let message = match resolver.leaves(text) {
            Ok(false) => continue,
            Ok(true) => UNRESOLVED.to_owned(),
            Err(PlaceholderError::TooLarge) => return found,
            Err(error) => error.to_string(),
        };
        if let Some(origin) = written.origin() {
            found.push(Problem { origin, key: Some(written.property.key.clone()), message });
        }
    }
    found
}
