//! What changes while the program runs: the newest configuration for whoever looks, and a line in the log when servers
//! go and come back. What became of each configuration is handed back, for the servers to show.

use std::time::Duration;

use headwater_client::{Client, Configuration, Error, Health, Outcome, State, Update};
use tokio::sync::watch;

/// How long servers may be away before it is said.
const QUIET: Duration = Duration::from_secs(3);

/// The two ends of following: what there is, and what became of it.
pub(super) struct Followed {
    pub(super) configurations: watch::Receiver<Configuration>,
    pub(super) verdicts: watch::Sender<Option<Verdict>>,
    pub(super) health: Health,
}

/// What became of a configuration: the last word is what counts.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) configuration: Configuration,
    pub(super) outcome: Outcome,
}

/// Follows the configuration for as long as the runtime lives.
pub(super) fn follow(client: &Client, first: Configuration) -> Followed {
    let mut updates = client.watch_from(&first);
    let health = updates.health();
    tokio::spawn(report(health.clone()));
    let (sender, configurations) = watch::channel(first);
    let (verdicts, mut spoken) = watch::channel(None::<Verdict>);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                update = updates.next() => match update {
                    Some(update) => take(update, &sender),
                    None => return,
                },
                // Whoever speaks has gone only when the process ends.
                Ok(()) = spoken.changed() => {
                    if let Some(verdict) = spoken.borrow_and_update().clone() {
                        updates.acknowledge(&verdict.configuration, verdict.outcome);
                    }
                }
            }
        }
    });
    Followed { configurations, verdicts, health }
}

fn take(update: Result<Update, Error>, newest: &watch::Sender<Configuration>) {
    match update {
        Ok(Update::Configuration(configuration)) => {
            tracing::info!(revision = configuration.revision(), "a new configuration");
            newest.send_replace(configuration);
        }
        Ok(Update::Gone) => {
            tracing::warn!("no server has this configuration any more: what was there stays");
        }
        // Others may come; what there is stays.
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "changes are not followed any more"),
    }
}

/// One line when the servers are away, and one when one of them is back.
async fn report(mut health: Health) {
    let mut was_live = false;
    loop {
        let is_live = health.state() == State::Live;
        match (was_live, is_live) {
            (true, false) if !is_back_soon(&mut health).await => {
                let problem = health.problem();
                tracing::warn!(
                    problem,
                    "no server answers: the configuration is stale from now on"
                );
                was_live = false;
            }
            (false, true) => {
                tracing::info!("the configuration is that of the server");
                was_live = true;
            }
            _ => {}
        }
        if !health.changed().await {
            return;
        }
    }
}

/// Streams end and are resumed all the time, and nobody needs to know.
async fn is_back_soon(health: &mut Health) -> bool {
    let back = async { while health.state() != State::Live && health.changed().await {} };
    tokio::time::timeout(QUIET, back).await.is_ok()
}
