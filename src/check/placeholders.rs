//! The rule that every `${…}` can be resolved by a property of the environment or has a default.

use super::effective::EffectiveProperties;
use crate::model::{Environment, Problem};
use crate::placeholder::{EnvironmentValues, PlaceholderError, Resolver};

/// The message for an unresolved placeholder. It omits the key of the placeholder, which is part of a value.
const UNRESOLVED: &str =
    "contains a ${…} without a value in this environment and without a default";

/// The effective values with unresolved placeholders. A client may supply their values.
pub(super) fn unresolved(
    environment: &Environment,
    effective: &EffectiveProperties<'_>,
) -> Vec<Problem> {
    let lookup = EnvironmentValues::new(environment);
    let mut resolver = Resolver::new(&lookup, 0);
    let mut found = Vec::new();
    for written in effective.iter() {
        let text = written.property.value.text();
        if !text.contains("${") {
            continue;
        }
        let message = match resolver.has_unresolved(text) {
            Ok(false) => continue,
            Ok(true) => UNRESOLVED.to_owned(),
            Err(error) => error.to_string(),
        };
        let is_last = message == PlaceholderError::TooLarge.to_string();
        if let Some(origin) = written.origin() {
            found.push(Problem { origin, key: Some(written.property.key.clone()), message });
        }
        // The byte budget of the environment is used up, so every further value would be reported too.
        if is_last {
            break;
        }
    }
    found
}
