//! [`Configuration`] as a source of the `config` crate.

use config::{ConfigError, Map, Source, Value};

use crate::configuration::Configuration;

/// Adds the configuration to a program that already uses `config`: `.add_source(configuration)`.
///
/// Keys become field names: `max-items` is `max_items`. Keys in brackets are not changed.
impl Source for Configuration {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        self.read_for_fields().map_err(|error| ConfigError::Foreign(Box::new(error)))
    }
}
