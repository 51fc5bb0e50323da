//! The conditions under which a service accepts a configuration: it deserializes, and the service's own function passes.

use std::any::type_name;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::configuration::Configuration;
use crate::error::Error;

pub(super) type Validate<T> =
    Arc<dyn Fn(&T) -> Result<(), Box<dyn StdError + Send + Sync>> + Send + Sync>;

pub(super) struct Acceptance<T> {
    /// The prefix below which `T` is read. Empty for the whole configuration.
    pub(super) prefix: String,
    pub(super) validate: Option<Validate<T>>,
}

impl<T: DeserializeOwned> Acceptance<T> {
    /// Reads the configuration as `T`. A panic counts as a rejection, so that the service continues to follow.
    pub(super) fn accept(&self, configuration: &Configuration) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(|| self.read(configuration))).unwrap_or_else(|_| {
            Err(Error::Invalid(format!("reading {} panicked", type_name::<T>()).into()))
        })
    }

    fn read(&self, configuration: &Configuration) -> Result<T, Error> {
        let value = configuration.get_unrecorded(&self.prefix)?;
        if let Some(validate) = &self.validate {
            validate(&value).map_err(Error::Invalid)?;
        }
        Ok(value)
    }
}
