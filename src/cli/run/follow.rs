//! Follows the configuration while the program runs, logs outages of the servers, and reports the outcome of each
//! configuration to them.

use std::time::Duration;

use headwater_client::{Configuration, Error, Health, HealthState, Reporter, Update, Watch};
use tokio::sync::watch;

/// The time without a reachable server before it is logged.
const QUIET: Duration = Duration::from_secs(3);

/// The newest configuration, and the way back for reports.
pub(super) struct Subscription {
    pub(super) configurations: watch::Receiver<Configuration>,
    pub(super) reporter: Reporter,
    pub(super) health: Health,
}

/// Follows the configuration for as long as the runtime lives.
pub(super) fn follow(mut updates: Watch, first: Configuration) -> Subscription {
    let (health, reporter) = (updates.health(), updates.reporter());
    tokio::spawn(report(health.clone()));
    let (sender, configurations) = watch::channel(first);
    tokio::spawn(async move {
        while let Some(update) = updates.next().await {
            take(update, &sender);
        }
    });
    Subscription { configurations, reporter, health }
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
