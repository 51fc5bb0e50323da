//! Whether a watch is connected, for a service that shows it in its own health.

use std::time::SystemTime;

use tokio::sync::watch;

/// How far what a watch told last can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A server says that what was told last is what there is.
    Live,
    /// There is a configuration, and no server has confirmed it since then.
    Stale {
        /// When a server was last heard.
        since: SystemTime,
    },
    /// There is no configuration yet, and no server that gives one.
    Disconnected,
}

/// The state of a watch, readable from anywhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(watch::Receiver<Report>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) state: State,
    /// The server and what is wrong with it; no value and no credential.
    pub(super) problem: Option<String>,
}

impl Health {
    pub(super) fn new(report: watch::Receiver<Report>) -> Health {
        Health(report)
    }

    /// The present state. A watch that was dropped is not [`State::Live`].
    #[must_use]
    pub fn state(&self) -> State {
        self.0.borrow().state
    }

    /// What went wrong last, while the state is not [`State::Live`]: a server and what it did.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.borrow().problem.clone()
    }

    /// Waits until the state or the problem is another one; `false` once the watch has ended and nothing will change.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
