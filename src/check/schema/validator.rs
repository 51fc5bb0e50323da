//! A compiled JSON Schema.

use jsonschema::{PatternOptions, ValidationError};
use serde_json::Value;

/// The memory limit for compiling one pattern of a schema, in bytes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

pub(super) struct Validator(jsonschema::Validator);

impl Validator {
    /// Compiles a schema. References to other documents are not fetched.
    ///
    /// # Errors
    /// The reason for which the value is not a valid schema.
    pub(super) fn compile(schema: &Value) -> Result<Self, ValidationError<'static>> {
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options()
            .offline()
            .with_pattern_options(patterns.dfa_size_limit(PATTERN_BYTES_MAX))
            .should_validate_formats(true);
        options.build(schema).map(Self)
    }

    /// Returns all violations of the schema in a value.
    pub(super) fn errors<'a>(&'a self, value: &'a Value) -> Vec<ValidationError<'a>> {
        self.0.iter_errors(value).collect()
    }
}
