//! Answers the trials of a server: whether the service would accept a configuration that is not published yet.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

use crate::live::acceptance::Acceptance;
use crate::watch::Trials;

/// The reason for a configuration without any property source.
const EMPTY: &str = "empty";
/// The reason for a value whose destruction panics.
const INVALID: &str = "invalid";

/// Reads each configuration as the service's own type and drops the value. Nothing is applied and nothing is stored. Runs
/// until it is dropped or the watch ends.
pub(super) async fn answer<T: DeserializeOwned + Send + 'static>(
    mut trials: Trials,
    acceptance: Arc<Acceptance<T>>,
    allow_empty: bool,
) {
    while let Some(trial) = trials.next().await {
        if !allow_empty && trial.configuration().answer().property_sources.is_empty() {
            trial.reject(EMPTY).await;
            continue;
        }
        let (acceptance, configuration) = (Arc::clone(&acceptance), trial.configuration().clone());
        // On a thread of its own, so that a slow function of the service delays no task.
        let reading = spawn_blocking(move || acceptance.accept(&configuration).map(drop));
        match reading.await {
            Ok(Ok(())) => trial.accept().await,
            Ok(Err(error)) => trial.reject(error.reason()).await,
            Err(error) if error.is_panic() => trial.reject(INVALID).await,
            // The runtime ends. A trial without an answer is no verdict.
            Err(_) => {}
        }
    }
}
