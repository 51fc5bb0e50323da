//! The configuration of a service, from its start on.

use std::time::Duration;

use headwater_client::{Client, Error, Live};
use serde::de::DeserializeOwned;

/// How long servers are waited for before the copy of before will do.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits for the configuration and follows it.
///
/// Where the servers are and who asks stands in `HEADWATER_URL`, `HEADWATER_APPLICATION` and `HEADWATER_PROFILES`; what
/// was accepted last is kept in the directory `HEADWATER_LAST_KNOWN_GOOD`. A service that has no copy waits until a server
/// comes, for as long as it takes.
///
/// # Errors
/// Whatever does not get better by waiting: no such application, settings that are not good.
pub async fn configured<T>(
    validate: impl Fn(&T) -> Result<(), String> + Copy + Send + Sync + 'static,
) -> Result<Live<T>, Error>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let client = Client::from_env().deadline(PATIENCE).build()?;
    loop {
        match client.live_with(validate).await {
            Err(Error::Deadline(_)) => tracing::warn!("still waiting for a configuration"),
            outcome => return outcome,
        }
    }
}
