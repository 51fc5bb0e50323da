//! Conversion of values to the types that the application will read. In `.properties` every value is text, and Spring binds
//! `8080` to a number, `yes` to a boolean and `a,b` to a list. A value is converted if the schema expects that type.

use jsonschema::JsonType;
use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use serde_json::{Map, Number, Value};

/// The order in which the expected types are tried for a text.
const TYPES: [JsonType; 7] = [
    JsonType::Integer,
    JsonType::Number,
    JsonType::Boolean,
    JsonType::Null,
    JsonType::Array,
    JsonType::Object,
    JsonType::String,
];

/// Converts values to the types that the errors expect. Returns `None` if no value can be converted.
pub(super) fn bind(instance: &Value, errors: &[ValidationError<'_>]) -> Option<Value> {
    let mut wishes = Vec::new();
    errors.iter().for_each(|error| collect(error, &mut wishes));
    let mut bound: Option<Value> = None;
    for wish in wishes {
        let Some(value) = instance.pointer(&wish.pointer).and_then(|value| read(value, &wish))
        else {
            continue;
        };
        let whole = bound.get_or_insert_with(|| instance.clone());
        if let Some(place) = whole.pointer_mut(&wish.pointer) {
            *place = value;
        }
    }
    bound
}

/// The expectation of a schema at a place.
struct TypeExpectation<'a> {
    pointer: String,
    kind: ExpectedType<'a>,
}

enum ExpectedType<'a> {
    Type(&'a TypeKind),
    OneOf(&'a Value),
}

fn collect<'a>(error: &'a ValidationError<'_>, wishes: &mut Vec<TypeExpectation<'a>>) {
    let mut wish = |kind| {
        wishes.push(TypeExpectation { pointer: error.instance_path().as_str().to_owned(), kind });
    };
    match error.kind() {
        ValidationErrorKind::Type { kind } => wish(ExpectedType::Type(kind)),
        ValidationErrorKind::Enum { options } => wish(ExpectedType::OneOf(options)),
        ValidationErrorKind::Constant { expected_value } => {
            wish(ExpectedType::OneOf(expected_value))
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            context.iter().flatten().for_each(|error| collect(error, wishes));
        }
        _ => {}
    }
}

fn read(value: &Value, wish: &TypeExpectation<'_>) -> Option<Value> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    match wish.kind {
        ExpectedType::Type(TypeKind::Single(kind)) => as_type(&text, *kind),
        ExpectedType::Type(TypeKind::Multiple(kinds)) => TYPES
            .iter()
            .filter(|kind| kinds.contains(**kind))
            .find_map(|kind| as_type(&text, *kind)),
        ExpectedType::OneOf(Value::Array(options)) => {
            options.iter().find(|option| is_written(&text, option)).cloned()
        }
        ExpectedType::OneOf(option) => is_written(&text, option).then(|| option.clone()),
    }
}

/// Returns true if a text is a spelling of a scalar in the schema.
fn is_written(text: &str, option: &Value) -> bool {
    let kind = match option {
        Value::Bool(_) => JsonType::Boolean,
        Value::Number(_) => JsonType::Number,
        Value::String(_) => JsonType::String,
        Value::Null | Value::Array(_) | Value::Object(_) => return false,
    };
    as_type(text, kind).is_some_and(|value| value == *option)
}

fn as_type(text: &str, kind: JsonType) -> Option<Value> {
    let trimmed = text.trim();
    match kind {
        JsonType::Integer => integer(trimmed),
        JsonType::Number => integer(trimmed).or_else(|| number(trimmed)),
        JsonType::Boolean => boolean(trimmed).map(Value::Bool),
        JsonType::Null => text.is_empty().then_some(Value::Null),
        JsonType::Array if trimmed.is_empty() => Some(Value::Array(Vec::new())),
        JsonType::Array => {
            Some(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
        }
        JsonType::Object => text.is_empty().then(|| Value::Object(Map::new())),
        JsonType::String => Some(Value::String(text.to_owned())),
    }
}

/// Parses a decimal integer with or without a sign, or a hexadecimal integer.
fn integer(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(digits) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let value =
            i64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-']))?;
        return Some(if sign.is_empty() { value } else { -value }.into());
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    let significant = if significant.is_empty() { "0" } else { significant };
    serde_json::from_str(&format!("{sign}{significant}")).ok()
}

fn number(text: &str) -> Option<Value> {
    let looks = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let value: f64 = text.parse().ok().filter(|_| looks)?;
    Number::from_f64(value).map(Value::Number)
}

/// Parses a boolean as Spring's converter does.
fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match (is(["true", "on", "yes", "1"]), is(["false", "off", "no", "0"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}
