//! Whether a value has the machine type that a build requests, by the rules of the Rust client.

use std::str::FromStr;

use headwater_wire::{ContractKey, ValueType};

use super::index::RelaxedIndex;
use crate::model::{Environment, Scalar, Value};
use crate::placeholder;

/// Returns whether the content at a key fits the type. `None` when the value is not known here: it is sealed, or has a
/// placeholder that the client resolves.
pub(super) fn fits(
    key: &ContractKey,
    element: Option<&ContractKey>,
    at: &str,
    index: &RelaxedIndex<'_>,
    environment: &Environment,
) -> Option<bool> {
    let own = index.get(at).map(|indexed| &indexed.property.value);
    let has_below = || index.below(at).next().is_some();
    match key.value_type {
        ValueType::Any => Some(true),
        ValueType::Map => {
            let own = own.map(Value::text).filter(|text| !text.is_empty());
            Some(own.is_none() || has_below())
        }
        ValueType::List if has_below() => Some(index.below(at).all(|(rest, _)| is_element(rest))),
        ValueType::List => own.map_or(Some(true), |own| pieces_fit(own, element, environment)),
        value_type => match own {
            None => Some(!has_below()),
            Some(own) if own.text().is_empty() && !key.required => Some(true),
            Some(own) => is_of_type(own, value_type, environment),
        },
    }
}

/// Returns true for a path that begins with the index of a list.
fn is_element(rest: &str) -> bool {
    let index = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    index.is_some_and(|(index, _)| {
        !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Returns whether the pieces of a list in one value, such as `a, b`, fit the type of its elements.
fn pieces_fit(
    own: &Value,
    element: Option<&ContractKey>,
    environment: &Environment,
) -> Option<bool> {
    let Some(element) = element.filter(|_| !own.text().is_empty()) else { return Some(true) };
    let Value::Plain(Scalar::String(text)) = own else {
        return is_of_type(own, element.value_type, environment);
    };
    let piece = |piece: &str| of_type(&Scalar::String(piece.trim().into()), element.value_type);
    let fits = resolved(text, environment)?.split(',').all(piece);
    (fits || !has_default(text)).then_some(fits)
}

fn is_of_type(value: &Value, value_type: ValueType, environment: &Environment) -> Option<bool> {
    match value {
        Value::Sealed(_) => None,
        Value::Plain(Scalar::String(text)) => {
            let fits = of_type(&Scalar::String(resolved(text, environment)?.into()), value_type);
            (fits || !has_default(text)).then_some(fits)
        }
        Value::Plain(scalar) | Value::Opened(scalar) => Some(of_type(scalar, value_type)),
    }
}

/// Resolves the placeholders of a text. `None` if one of them cannot be resolved here.
fn resolved(text: &str, environment: &Environment) -> Option<String> {
    if !text.contains("${") {
        return Some(text.to_owned());
    }
    let resolved = placeholder::resolve_text(environment, text, &|_| true).ok()?;
    let is_known = !resolved.contains("${") && !resolved.contains("{cipher}");
    is_known.then_some(resolved)
}

/// Returns true if a placeholder of a text may have a default. A variable of the client's process can replace it.
fn has_default(text: &str) -> bool {
    text.find("${").is_some_and(|at| text[at..].contains(':'))
}

fn of_type(scalar: &Scalar, value_type: ValueType) -> bool {
    match value_type {
        ValueType::Bool => match scalar {
            Scalar::Bool(_) => true,
            Scalar::String(text) => matches!(
                text.trim().to_ascii_lowercase().as_str(),
                "true" | "yes" | "on" | "1" | "false" | "no" | "off" | "0"
            ),
            Scalar::Integer(_) | Scalar::Float(_) => false,
        },
        ValueType::I8 => parses::<i8>(scalar),
        ValueType::I16 => parses::<i16>(scalar),
        ValueType::I32 => parses::<i32>(scalar),
        ValueType::I64 => parses::<i64>(scalar),
        ValueType::I128 => parses::<i128>(scalar),
        ValueType::U8 => parses::<u8>(scalar),
        ValueType::U16 => parses::<u16>(scalar),
        ValueType::U32 => parses::<u32>(scalar),
        ValueType::U64 => parses::<u64>(scalar),
        ValueType::U128 => parses::<u128>(scalar),
        ValueType::Float => parses::<f64>(scalar),
        _ => true,
    }
}

fn parses<T: FromStr>(scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Bool(_) => false,
        Scalar::Integer(text) | Scalar::Float(text) => text.parse::<T>().is_ok(),
        Scalar::String(text) => text.trim().parse::<T>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_as_the_client_reads_them() {
        let text = |text: &str| Scalar::String(text.into());
        for (scalar, value_type, expected) in [
            (Scalar::Integer("65535".into()), ValueType::U16, true),
            (Scalar::Integer("65536".into()), ValueType::U16, false),
            (Scalar::Integer("-1".into()), ValueType::U16, false),
            (text(" 8080 "), ValueType::U16, true),
            (text("many"), ValueType::U32, false),
            (Scalar::Float("1.0".into()), ValueType::U32, false),
            (Scalar::Float("1.0E10".into()), ValueType::Float, true),
            (text("Infinity"), ValueType::Float, true),
            (text("x"), ValueType::Float, false),
            (Scalar::Bool(true), ValueType::U8, false),
            (Scalar::Bool(true), ValueType::Bool, true),
            (text("Off"), ValueType::Bool, true),
            (text("maybe"), ValueType::Bool, false),
            (Scalar::Integer("1".into()), ValueType::Bool, false),
            (Scalar::Bool(true), ValueType::Text, true),
        ] {
            assert_eq!(of_type(&scalar, value_type), expected, "{scalar:?} as {value_type:?}");
        }
    }
}
