//! Our own client, asked as the other clients are.

use std::collections::BTreeMap;

use headwater_client::{Builder, Client, Configuration, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// As `client.ConfigClient.Bound` of the Spring Boot application.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Bound {
    text: Option<String>,
    number: Option<i64>,
    flag: Option<bool>,
    ratio: Option<f64>,
    list: Option<Vec<String>>,
    map: Option<BTreeMap<String, String>>,
    nested: Option<Nested>,
    routes: Option<Vec<Nested>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Nested {
    name: Option<String>,
    weight: Option<i64>,
}

/// A client that asks what a run asked; without its label list, see [`connect`].
pub(super) fn builder(url: &str, run: &Value) -> Builder {
    let text = |name: &str| run[name].as_str().unwrap_or_default();
    let profiles = text("profiles").split(',').filter(|profile| !profile.is_empty());
    let builder = Client::builder().url(url).application(text("name")).profiles(profiles);
    match run["label"].as_str() {
        Some(label) => builder.label(label),
        None => builder,
    }
}

/// The configuration that a run got. Spring's client tries the labels of a list one after the other unless it was told
/// to send them together.
pub(super) fn connect(url: &str, run: &Value) -> Configuration {
    let list = run["label"].as_str().unwrap_or_default();
    if !list.contains(',') || run["arguments"].is_array() {
        return builder(url, run).connect_blocking().unwrap();
    }
    let found =
        list.split(',').find_map(|label| match builder(url, run).label(label).connect_blocking() {
            Err(Error::NotFound { .. }) => None,
            answer => Some(answer.unwrap()),
        });
    found.unwrap()
}

/// A value as it was sent; null if there is none.
pub(super) fn raw(configuration: &Configuration, key: &str) -> Value {
    configuration.value(key).cloned().unwrap_or_default()
}

/// A value as the text that a service sees, placeholders resolved; null if there is none.
pub(super) fn text(configuration: &Configuration, key: &str) -> Value {
    let property = configuration.properties().find(|property| property.key() == key);
    match property {
        Some(property) => as_text(&property.value().unwrap()),
        None => Value::Null,
    }
}

/// What is below `client` as a type, as JSON.
pub(super) fn bound(configuration: &Configuration) -> Value {
    serde_json::to_value(configuration.get_at::<Bound>("client").unwrap()).unwrap()
}

/// A scalar as text, as Spring's `getProperty` gives it.
pub(super) fn as_text(value: &Value) -> Value {
    match value {
        Value::Null | Value::String(_) => value.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float)
                if number.as_i64().is_none() && float.fract() == 0.0 && float.abs() < 1e15 =>
            {
                Value::String(format!("{float:.0}"))
            }
            _ => Value::String(number.to_string()),
        },
        other => Value::String(other.to_string()),
    }
}

/// Numbers are the same however they are written.
pub(super) fn is_same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        _ => ours == theirs,
    }
}
