//! [`Configuration`] as a provider of the `figment` crate.

use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};

use crate::configuration::Configuration;

/// Adds the configuration to a program that already uses `figment`: `.merge(&configuration)`.
///
/// Keys become field names: `max-items` is `max_items`. Keys in brackets are not changed. All values are in figment's
/// default profile, because the server has already applied the profiles.
impl Provider for Configuration {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named("Headwater");
        match self.server() {
            Some(server) => metadata.source(server),
            None => metadata,
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = self
            .read_for_fields::<Dict>()
            .map_err(|error| figment::Error::from(error.to_string()))?;
        Ok(Profile::Default.collect(dict))
    }
}
