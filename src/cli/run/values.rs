//! A configuration key by key, with its placeholders resolved: what variables, raw forms and templates are made from.

use std::collections::HashMap;

use headwater_client::Configuration;
use headwater_wire::{Environment, PropertySource};
use serde_json::{Map, Value};

/// Every effective key, in the order of the configuration.
pub(super) struct KeyValues(pub(super) Vec<KeyValue>);

/// A key with its value.
pub(super) struct KeyValue {
    pub(super) key: String,
    pub(super) value: Value,
    /// Position of its source. 0 is the most specific one.
    pub(super) rank: usize,
    /// The reason why a placeholder in it has no value. The placeholder stays in the text then.
    pub(super) unanswered: Option<String>,
}

impl KeyValues {
    pub(super) fn of(configuration: &Configuration) -> Self {
        let sources = &configuration.environment().property_sources;
        let ranks: HashMap<&str, usize> =
            sources.iter().enumerate().rev().map(|(rank, it)| (it.name.as_str(), rank)).collect();
        let entries = configuration.properties().map(|property| {
            let (value, unanswered) = match property.value() {
                Ok(value) => (value.into_owned(), None),
                Err(problem) => (property.raw().clone(), Some(problem.to_string())),
            };
            let rank = ranks.get(property.source()).copied().unwrap_or_default();
            KeyValue { key: property.key().to_owned(), value, rank, unanswered }
        });
        Self(entries.collect())
    }

    /// The problems of placeholders without a value. They name keys, never values.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|entry| entry.unanswered.as_deref())
    }

    /// As one source, for the writers of flat forms.
    pub(super) fn environment<'a>(entries: impl Iterator<Item = &'a KeyValue>) -> Environment {
        let source: Map<String, Value> =
            entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
        Environment {
            name: String::new(),
            profiles: Vec::new(),
            label: None,
            version: None,
            state: None,
            property_sources: vec![PropertySource { name: String::new(), source }],
        }
    }
}

impl KeyValue {
    /// The value as text: empty for null, and JSON for lists and objects.
    pub(super) fn text(&self) -> String {
        match &self.value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}
