//! How Headwater asks JSON Schema: a schema is compiled, and says what of a value does not keep it. The only place where the
//! validator is instantiated; what its errors mean is for those who ask.

use jsonschema::PatternOptions;
use serde_json::Value;

pub use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
pub use jsonschema::{JsonType, ReferencingError};

/// How much memory one pattern of a schema may take when it is compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// A compiled schema.
pub struct Validator(jsonschema::Validator);

impl Validator {
    /// Compiles a schema. Nothing is fetched that it may refer to.
    ///
    /// # Errors
    /// Why it is none.
    pub fn compile(schema: &Value) -> Result<Self, ValidationError<'static>> {
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options()
            .offline()
            .with_pattern_options(patterns.dfa_size_limit(PATTERN_BYTES_MAX))
            .should_validate_formats(true);
        options.build(schema).map(Self)
    }

    /// What of a value does not keep the schema.
    #[must_use]
    pub fn errors<'a>(&'a self, value: &'a Value) -> Vec<ValidationError<'a>> {
        self.0.iter_errors(value).collect()
    }
}
