//! A [`Configuration`] as a source for `config`.

use config::{ConfigError, Map, Source, Value};

use crate::configuration::Configuration;

/// One line for a program that has a `Config` already: `.add_source(configuration)`.
///
/// Keys become field names (`max-items` is `max_items`), except those in brackets, which stay as they are.
impl Source for Configuration {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        self.read_for_fields().map_err(|error| ConfigError::Foreign(Box::new(error)))
    }
}
