//! The means of a server to open sealed values.

use super::StartError;
use super::keys::read_keys;
use crate::reveal::Keyring;
use crate::settings::{OnFailure, Settings};

/// Reads the keys of the settings.
pub(super) fn keyring(settings: &Settings) -> Result<Keyring, StartError> {
    let secrets = &settings.secrets;
    let keys = Keyring::new(read_keys(secrets)?);
    Ok(keys.with_holding(secrets.on_failure == OnFailure::Hold))
}
