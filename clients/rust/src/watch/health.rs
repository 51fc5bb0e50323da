//! The health of a watch, for the health endpoint of a service.

use std::time::SystemTime;

use tokio::sync::watch;

/// The state of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthState {
    /// A server has confirmed that the last configuration is the newest one.
    Live,
    /// The watch has a configuration, and no server is connected that confirms it.
    Stale {
        /// The time of the last confirmation.
        since: SystemTime,
    },
    /// The watch has received no configuration yet.
    Disconnected,
}

/// A handle to the health of a watch. It is cheap to clone and outlives the watch.
#[derive(Debug, Clone)]
pub struct Health(watch::Receiver<HealthReport>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HealthReport {
    pub(super) state: HealthState,
    /// The server and the failure, without values and credentials.
    pub(super) problem: Option<String>,
}

impl Health {
    pub(super) fn new(report: watch::Receiver<HealthReport>) -> Health {
        Health(report)
    }

    /// Returns the present state. After the watch was dropped it is never [`HealthState::Live`].
    #[must_use]
    pub fn state(&self) -> HealthState {
        self.0.borrow().state
    }

    /// Returns the last failure and its server. `None` while the state is [`HealthState::Live`].
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.borrow().problem.clone()
    }

    /// Waits until the state or the problem changes. Returns `false` after the watch has ended.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
