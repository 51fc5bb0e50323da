//! The configuration of a service from its start on.

use std::time::Duration;

use headwater_client::{Client, Error, Live};
use serde::de::DeserializeOwned;

/// The time to wait for a server before the service starts from its copy.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits for the configuration and follows it.
///
/// The variables `HEADWATER_URL`, `HEADWATER_APPLICATION` and `HEADWATER_PROFILES` name the servers and the service. The
/// directory `HEADWATER_LAST_KNOWN_GOOD` contains the last accepted configuration. A service without a copy waits until a
/// server answers.
///
/// # Errors
/// Every error that does not pass by waiting, such as an unknown application or invalid settings.
pub async fn configured<T>(
    validate: impl Fn(&T) -> Result<(), String> + Copy + Send + Sync + 'static,
) -> Result<Live<T>, Error>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let client = Client::from_env().deadline(PATIENCE).build()?;
    loop {
        match client.live_with(validate).await {
            Err(Error::Deadline(_)) => {
                tracing::warn!("no server answered, still waiting for a configuration")
            }
            outcome => return outcome,
        }
    }
}
