//! The messages for violations of a schema. They contain nothing of the violating value.

use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use serde_json::Value;

/// The longest pattern or list of permitted values in a message, in characters.
const SHOWN_LENGTH_MAX: usize = 120;

/// The message `must …`, from the violated keyword and its value in the schema.
pub(super) fn expectation(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match error.kind() {
        Kind::Type { kind } => format!("must be of type {}", types(kind)),
        Kind::Enum { options } => format!("must be one of {}", shown(options)),
        Kind::Constant { expected_value } => format!("must be {}", shown(expected_value)),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::AdditionalItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} keys"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} keys"),
        Kind::UniqueItems => "must have no duplicate items".to_owned(),
        Kind::Pattern { pattern } => format!("must match {}", cut(pattern)),
        Kind::Format { format } => format!("must be a valid {}", cut(format)),
        Kind::Required { property } => format!("must have {}", shown(property)),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            "must match one of the alternatives in the schema".to_owned()
        }
        Kind::OneOfMultipleValid { .. } => {
            "must match only one of the alternatives in the schema".to_owned()
        }
        Kind::Not { .. } => "must not match the part of the schema below `not`".to_owned(),
        Kind::Contains => "must contain an item that matches the schema".to_owned(),
        Kind::PropertyNames { .. } => "must have only key names that match the schema".to_owned(),
        Kind::FalseSchema => "must be absent".to_owned(),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "must have no keys that the schema does not declare".to_owned()
        }
        Kind::UnevaluatedItems { .. } => {
            "must have no items that the schema does not declare".to_owned()
        }
        Kind::Referencing(_) => "a reference has no target".to_owned(),
        Kind::BacktrackLimitExceeded { .. }
        | Kind::RegexEngineFailure { .. }
        | Kind::ContentEncoding { .. }
        | Kind::ContentMediaType { .. }
        | Kind::FromUtf8 { .. }
        | Kind::Custom { .. } => format!("must satisfy {}", error.kind().keyword()),
    }
}

/// Returns true if an error depends on values further down, so that one unknown value there leaves it open.
pub(super) fn judges_descendants(kind: &ValidationErrorKind) -> bool {
    use ValidationErrorKind as Kind;
    matches!(
        kind,
        Kind::AnyOf { .. }
            | Kind::OneOfNotValid { .. }
            | Kind::OneOfMultipleValid { .. }
            | Kind::Not { .. }
            | Kind::Contains
            | Kind::UniqueItems
            | Kind::UnevaluatedItems { .. }
            | Kind::UnevaluatedProperties { .. }
    )
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => kind.to_string(),
        TypeKind::Multiple(kinds) => {
            let names: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
            names.join(" or ")
        }
    }
}

/// A value of the schema. Schemas are not secret.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Array(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    cut(&text)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
