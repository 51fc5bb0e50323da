//! SOPS files in JSON. An unknown kind of file is one text under `data`.

use serde_json::Value as Json;

use super::SopsError;
use super::number;
use super::value::Value;

/// Parses the text. The parser limits the depth to 128.
pub(super) fn parse(text: &str) -> Result<Value, SopsError> {
    // The parser's own message quotes the text.
    let json = serde_json::from_str(text).map_err(|_| SopsError::Syntax("it is not JSON"))?;
    lowered(json)
}

fn lowered(json: Json) -> Result<Value, SopsError> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => number_value(&number.to_string())?,
        Json::String(text) => Value::text(text),
        Json::Array(items) => {
            Value::List(items.into_iter().map(lowered).collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let lowered = |(key, value)| Ok((key, lowered(value)?));
            Value::Map(entries.into_iter().map(lowered).collect::<Result<_, SopsError>>()?)
        }
    })
}

fn number_value(text: &str) -> Result<Value, SopsError> {
    if let Ok(number) = text.parse() {
        return Ok(Value::integer(number));
    }
    number::float(text).map(Value::float).ok_or(SopsError::Syntax("a number cannot be read"))
}
