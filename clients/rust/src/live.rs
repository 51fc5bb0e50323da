//! A configuration as the service's own type, replaced while the service runs.
//!
//! `start` obtains the first value, `follow` applies the updates of the watch, and `acceptance` decides whether a
//! configuration is accepted. `trial` decides the same for a configuration that is not published yet.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use headwater_wire::InstanceHealth;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::configuration::Configuration;
use crate::error::Error;
use crate::watch::{Health, Reporter};

mod acceptance;
mod follow;
mod start;
mod trial;

pub use start::LiveStart;

/// The configuration of a service as its own type `T`: the newest accepted one, always as a whole.
///
/// A handle is cheap to clone. The watch ends when the last handle is dropped.
///
/// ```no_run
/// use headwater_client::Client;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Shop {
///     max_items: u32,
/// }
///
/// # async fn example() -> Result<(), headwater_client::Error> {
/// let mut shop = Client::from_env().application("product").live::<Shop>().at("shop").await?;
/// println!("{} items", shop.current().max_items);
/// while let Some(shop) = shop.changed().await {
///     println!("{} items from now on", shop.max_items);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Live<T> {
    shared: Arc<Shared<T>>,
    /// Marks the changes that this handle has returned.
    changes: watch::Receiver<()>,
    health: Health,
    reporter: Reporter,
    /// Drives the watch. The last handle that is dropped ends it.
    _task: Arc<JoinSet<()>>,
}

struct Shared<T> {
    current: ArcSwap<T>,
    status: Mutex<LiveStatus>,
}

/// The configuration behind the current value, and the one that was rejected since.
struct LiveStatus {
    configuration: Configuration,
    rejection: Option<Arc<Rejection>>,
}

/// The newest configuration, which the service rejected.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rejection {
    /// The rejected configuration. Its `Debug` shows no value.
    pub configuration: Configuration,
    /// The reason for the rejection.
    pub error: Error,
    /// The time of the rejection.
    pub since: SystemTime,
}

impl<T> Live<T> {
    /// Returns the current value. Takes no lock and never waits.
    ///
    /// Values that belong together must be read from one returned `Arc`, because the next call may return a newer one.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.shared.current.load_full()
    }

    /// Waits for a value that this handle has not returned yet, and returns the newest one.
    ///
    /// A change that happens between two calls is not lost. Several of them are returned as one. A clone begins with the
    /// position of the handle from which it was made. The result is `None` after the runtime of the watch has ended.
    ///
    /// Cancellation: dropping the future loses no change.
    pub async fn changed(&mut self) -> Option<Arc<T>> {
        self.changes.changed().await.ok()?;
        Some(self.current())
    }

    /// Returns the configuration of the current value. During a change it may still be that of the former value.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        self.status().configuration.clone()
    }

    /// Returns the rejection of the newest configuration. `None` when the service accepted it.
    #[must_use]
    pub fn rejection(&self) -> Option<Arc<Rejection>> {
        self.status().rejection.clone()
    }

    /// Returns the health of the watch: whether a server is connected. A rejected configuration does not appear there but
    /// in [`Live::rejection`].
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Reports the health of this instance, which servers list at `/-/instances`. Call it with the result of the service's
    /// own health check, each time that it changes.
    ///
    /// A service is not obliged to report. Without a report, servers know only whether the instance is connected and which
    /// configuration it accepted. [`InstanceHealth::Down`] is repeated every 5 s until the service reports
    /// [`InstanceHealth::Up`], because servers act on consecutive reports only.
    ///
    /// ```no_run
    /// # use headwater_client::{InstanceHealth, Live};
    /// fn after_health_check(live: &Live<u32>, is_database_reachable: bool) {
    ///     live.report(if is_database_reachable { InstanceHealth::Up } else { InstanceHealth::Down });
    /// }
    /// ```
    pub fn report(&self, health: InstanceHealth) {
        self.reporter.report(health, None);
    }

    fn status(&self) -> MutexGuard<'_, LiveStatus> {
        self.shared.status()
    }
}

impl<T> Shared<T> {
    fn status(&self) -> MutexGuard<'_, LiveStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Live<T> {
        Live {
            shared: Arc::clone(&self.shared),
            changes: self.changes.clone(),
            health: self.health.clone(),
            reporter: self.reporter.clone(),
            _task: Arc::clone(&self._task),
        }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LiveStatus { configuration, rejection } = &*self.status();
        f.debug_struct("Live")
            .field("configuration", configuration)
            .field("rejected", &rejection.as_ref().map(|it| &it.configuration))
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}
