//! Watches: the present configuration and then every change, for as long as the service runs.
//!
//! Each [`Watch`] has two tasks. The first one receives configurations: [`pace`] selects the server and the time of the next
//! attempt, [`connection`] is one stream or long poll, and [`follow`] interprets the result. The second one sends
//! reports to the server ([`acknowledge`]), which come from a [`reporter`]. The service takes the newest update from a [`mailbox`], so that a slow service delays
//! nothing. [`trial`] hands the questions of a server to the service. [`hints`] follows the changes of a whole server instead of one environment.

use std::sync::Arc;

use headwater_wire::Outcome;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::configuration::Configuration;
use crate::contract;
use crate::error::Error;

mod acknowledge;
mod connection;
mod follow;
mod health;
mod hints;
mod known;
mod mailbox;
mod order;
mod pace;
mod reporter;
mod trial;

pub use health::{Health, HealthState};
pub use hints::ChangeHints;
pub use mailbox::Update;
pub use reporter::Reporter;
pub use trial::{Trial, Trials};

use acknowledge::Acknowledgements;
use follow::WatchFollower;
use mailbox::Mailbox;
use trial::TrialQueue;

/// A watch of one environment. Dropping it closes its connection.
///
/// The watch is level-triggered: a slow service receives the newest configuration and none of those before it. The watch
/// never returns an older configuration after a newer one, never a part of one, and nothing for a new revision with the
/// same content.
///
/// ```no_run
/// # async fn example() -> Result<(), headwater_client::Error> {
/// use headwater_client::{Client, Update};
///
/// let mut watch = Client::from_env().application("product").build()?.watch();
/// while let Some(update) = watch.next().await {
///     match update? {
///         Update::Configuration(configuration) => println!("now at {:?}", configuration.revision()),
///         Update::Gone => println!("the branch was deleted"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    mailbox: Arc<Mailbox>,
    acknowledgements: Arc<Acknowledgements>,
    health: Health,
    /// Drives the connection and the acknowledgements. Dropping it ends both.
    _tasks: JoinSet<()>,
}

impl Client {
    /// Watches the environment. The watch returns the present configuration first and then every change.
    ///
    /// The watch continues until it is dropped. After a disconnection it resumes the event stream at any of the servers. It
    /// uses long polls when a proxy does not pass streams. Only an error before the first configuration ends it (see
    /// [`Client::connect`]). A service that can start without a server calls `connect` first and then
    /// [`Client::watch_from`].
    ///
    /// # Panics
    /// When called outside of a Tokio runtime.
    #[must_use = "a watch ends when it is dropped"]
    pub fn watch(&self) -> Watch {
        self.start(None, TrialQueue::default())
    }

    /// Watches the environment from a configuration that this client has returned. The watch returns only configurations
    /// that differ from it.
    ///
    /// # Panics
    /// When called outside of a Tokio runtime.
    #[must_use = "a watch ends when it is dropped"]
    pub fn watch_from(&self, configuration: &Configuration) -> Watch {
        self.start(Some(configuration.clone()), TrialQueue::default())
    }

    /// Watches as [`Client::watch_from`] does, and offers to servers to try configurations that are not published yet. The
    /// service answers each of the [`Trials`].
    ///
    /// A service that drops the trials makes no offer from its next connection on.
    ///
    /// # Panics
    /// When called outside of a Tokio runtime.
    pub fn watch_and_try(&self, configuration: &Configuration) -> (Watch, Trials) {
        let (queue, trials) = trial::queue(self);
        (self.start(Some(configuration.clone()), queue), trials)
    }

    fn start(&self, known: Option<Configuration>, trials: TrialQueue) -> Watch {
        let mailbox = Arc::<Mailbox>::default();
        let acknowledgements = Arc::<Acknowledgements>::default();
        let shared = (Arc::clone(&mailbox), Arc::clone(&acknowledgements));
        let (follower, health) = WatchFollower::new(self.clone(), known, trials, shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run());
        tasks.spawn(acknowledge::report(self.clone(), Arc::clone(&acknowledgements)));
        if self.has_contract {
            let reads = Arc::clone(&self.reads);
            // The reads before the watch.
            reads.publish();
            tasks.spawn(acknowledge::name_contracts(reads, Arc::clone(&acknowledgements)));
            tasks.spawn(contract::keep_registered(self.clone(), acknowledgements.wanted()));
        }
        Watch { mailbox, acknowledgements, health, _tasks: tasks }
    }
}

impl Watch {
    /// Waits for the newest update that has not been returned yet. The result is `None` after an error, which ends the
    /// watch.
    ///
    /// Cancellation: dropping the future loses no update.
    ///
    /// # Errors
    /// Before the first configuration: [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Rejected`],
    /// [`Error::Empty`], [`Error::TokenFile`]. Later failures appear in [`Watch::health`] only.
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        self.mailbox.next().await
    }

    /// Reports the outcome of a configuration in this instance, which servers list at `/-/instances`. The last report
    /// counts. The connected server receives it within seconds.
    pub fn acknowledge(&mut self, configuration: &Configuration, outcome: Outcome) {
        self.reporter().acknowledge(configuration, outcome);
    }

    /// Returns a handle for further reports: the reason for a rejection, and the health of the service.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        Reporter::new(Arc::clone(&self.acknowledgements))
    }

    /// Returns a handle to the health of the watch.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }
}
