//! A configuration as the service's own type, replaced while the service runs.
//!
//! `start` finds the first one, `follow` takes what the watch tells, `acceptance` decides what is good enough.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::configuration::Configuration;
use crate::error::Error;
use crate::watch::Health;

mod acceptance;
mod follow;
mod start;

pub use start::LiveStart;

/// The configuration of a service as its own type `T`: always whole, always the newest that is good.
///
/// A handle is cheap to clone and can be kept anywhere. Watching ends when the last one is dropped.
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
    /// What this handle was told of.
    changes: watch::Receiver<()>,
    health: Health,
    /// It ends with the last handle.
    _task: Arc<JoinSet<()>>,
}

struct Shared<T> {
    current: ArcSwap<T>,
    notes: Mutex<Notes>,
}

/// Where the current value comes from, and what was refused since.
struct Notes {
    configuration: Configuration,
    rejection: Option<Arc<Rejection>>,
}

/// The newest configuration, where the service does not take it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rejection {
    /// What was refused. It has values, which its `Debug` does not show.
    pub configuration: Configuration,
    /// Why.
    pub error: Error,
    /// Since when.
    pub since: SystemTime,
}

impl<T> Live<T> {
    /// What the service is configured with now. Takes no lock and never waits.
    ///
    /// Whoever needs several values that belong together takes them from one of these.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.shared.current.load_full()
    }

    /// Waits until there is something that this handle was not told of, and gives the newest.
    ///
    /// Changes that come while nobody waits are not lost, and several are one. A clone was told of what the handle that it
    /// was made from was told of. Nothing is lost if the future is dropped. `None` once nothing will come any more because
    /// the runtime it was started on has ended.
    pub async fn changed(&mut self) -> Option<Arc<T>> {
        self.changes.changed().await.ok()?;
        Some(self.current())
    }

    /// The configuration that the current value was read from; a moment after a change it may be the next one already.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        self.notes().configuration.clone()
    }

    /// What the server has and the service does not take, if the newest configuration is such a one.
    #[must_use]
    pub fn rejection(&self) -> Option<Arc<Rejection>> {
        self.notes().rejection.clone()
    }

    /// Whether a server is connected; to be kept and looked at anywhere. A configuration that was rejected does not show
    /// here but in [`Live::rejection`].
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.shared.notes()
    }
}

impl<T> Shared<T> {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Live<T> {
        Live {
            shared: Arc::clone(&self.shared),
            changes: self.changes.clone(),
            health: self.health.clone(),
            _task: Arc::clone(&self._task),
        }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notes { configuration, rejection } = &*self.notes();
        f.debug_struct("Live")
            .field("configuration", configuration)
            .field("rejected", &rejection.as_ref().map(|it| &it.configuration))
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}
