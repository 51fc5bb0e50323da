//! A [`Configuration`] as a provider for `figment`.

use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};

use crate::configuration::Configuration;

/// One line for a program that has a `Figment` already: `.merge(&configuration)`.
///
/// Keys become field names (`max-items` is `max_items`), except those in brackets, which stay as they are. All of it is
/// in figment's default profile, as what `Env` reads is: the server has chosen the profiles already.
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
