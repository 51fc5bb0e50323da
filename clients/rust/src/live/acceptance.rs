//! What a service takes: whatever becomes its type, and passes its own function.

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
    /// Where `T` begins; empty for the whole.
    pub(super) prefix: String,
    pub(super) validate: Option<Validate<T>>,
}

impl<T: DeserializeOwned> Acceptance<T> {
    /// The configuration as `T`. What panics is not good: a service is not to stop following for that.
    pub(super) fn accept(&self, configuration: &Configuration) -> Result<T, Error> {
        let panicked =
            |_| Err(Error::Invalid(format!("reading {} panicked", type_name::<T>()).into()));
        catch_unwind(AssertUnwindSafe(|| self.read(configuration))).unwrap_or_else(panicked)
    }

    fn read(&self, configuration: &Configuration) -> Result<T, Error> {
        let value = configuration.get_at(&self.prefix)?;
        if let Some(validate) = &self.validate {
            validate(&value).map_err(Error::Invalid)?;
        }
        Ok(value)
    }
}
