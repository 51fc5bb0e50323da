//! Follows the configuration while the program runs, logs outages of the servers, and reports the outcome of each
//! configuration to them.

use std::time::Duration;

use headwater_client::{Client, Configuration, Error, Health, HealthState, Outcome, Update};
use tokio::sync::watch;

/// The time without a reachable server before it is logged.
const QUIET: Duration = Duration::from_secs(3);

/// The newest configuration, and the way back for its outcome.
pub(super) struct Subscription {
    pub(super) configurations: watch::Receiver<Configuration>,
    pub(super) outcomes: watch::Sender<Option<AppliedOutcome>>,
    pub(super) health: Health,
}

/// The outcome of a configuration. The last one counts.
#[derive(Debug, Clone)]
pub(super) struct AppliedOutcome {
    pub(super) configuration: Configuration,
    pub(super) outcome: Outcome,
}

/// Follows the configuration for as long as the runtime lives.
pub(super) fn follow(client: &Client, first: Configuration) -> Subscription {
    let mut updates = client.watch_from(&first);
    let health = updates.health();
    tokio::spawn(report(health.clone()));
    let (sender, configurations) = watch::channel(first);
    let (outcomes, mut reported) = watch::channel(None::<AppliedOutcome>);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                update = updates.next() => match update {
                    Some(update) => take(update, &sender),
                    None => return,
                },
                // The sender is dropped only when the process ends.
                Ok(()) = reported.changed() => {
                    if let Some(outcome) = reported.borrow_and_update().clone() {
                        updates.acknowledge(&outcome.configuration, outcome.outcome);
                    }
                }
            }
        }
    });
    Subscription { configurations, outcomes, health }
}

fn take(update: Result<Update, Error>, newest: &watch::Sender<Configuration>) {
    match update {
        Ok(Update::Configuration(configuration)) => {
            tracing::info!(revision = configuration.revision(), "new configuration received");
            newest.send_replace(configuration);
        }
        Ok(Update::Gone) => {
            tracing::warn!("no server has this configuration any more: keeping the last one");
        }
        // The present configuration stays. Others may come.
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "no more changes are received"),
    }
}

/// Logs one line when no server is reachable, and one when a server is back.
async fn report(mut health: Health) {
    let mut was_live = false;
    loop {
        let is_live = health.state() == HealthState::Live;
        match (was_live, is_live) {
            (true, false) if !is_back_soon(&mut health).await => {
                let problem = health.problem();
                tracing::warn!(
                    problem,
                    "no server is reachable: the configuration is stale from now on"
                );
                was_live = false;
            }
            (false, true) => {
                tracing::info!("the configuration is up to date again");
                was_live = true;
            }
            _ => {}
        }
        if !health.changed().await {
            return;
        }
    }
}

/// Waits for a state that lasts. Streams end and are resumed all the time, which is not logged.
async fn is_back_soon(health: &mut Health) -> bool {
    let back = async { while health.state() != HealthState::Live && health.changed().await {} };
    tokio::time::timeout(QUIET, back).await.is_ok()
}
