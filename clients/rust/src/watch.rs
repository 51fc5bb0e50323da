//! Watching: the present configuration, then every other one, for as long as the service runs.
//!
//! One task for each [`Watch`] does the talking: [`follow`] decides what an answer means, [`pace`] whom to ask and when,
//! [`connection`] holds one conversation; another one has its say ([`acknowledge`]). The watcher takes the newest from a [`mailbox`] and delays nobody.
//! [`moves`] follows no environment, only that something moved.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::Error;

mod acknowledge;
mod connection;
mod follow;
mod health;
mod mailbox;
mod moves;
mod pace;

pub use acknowledge::Outcome;
pub(crate) use connection::Times;
pub use health::{Health, State};
pub use moves::Moves;

use acknowledge::{Acknowledgement, Acknowledgements};
use follow::Follower;
use mailbox::Mailbox;

/// What a [`Watch`] has to tell.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// What the service is configured with from now on.
    Configuration(Configuration),
    /// Every server says that what is watched is no longer there, as when its branch was deleted. Keep what you have; if
    /// it comes back, you are told.
    Gone,
}

/// One watched environment. The connection ends when this is dropped.
///
/// It is level-triggered: who is slow is told the newest configuration and not those that were there only between. It
/// never gives an older one after a newer one, nor half of one, and says nothing while only the revision moves.
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
    /// They end when this is dropped.
    _tasks: JoinSet<()>,
}

impl Client {
    /// Watches the environment: tells the present one first, then every change.
    ///
    /// It goes on for as long as it is held, whatever happens to the servers: events are streamed, resumed on any of the
    /// servers after a disconnection, and asked for by long polls where something between eats streams. Only a refusal
    /// before the first configuration ends it (see [`Client::connect`]): a service that can start without a server calls
    /// `connect` first, and then [`Client::watch_from`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use = "a watch ends when it is dropped"]
    pub fn watch(&self) -> Watch {
        self.start(None)
    }

    /// Watches the environment from a configuration that this client gave: tells what differs from it.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use = "a watch ends when it is dropped"]
    pub fn watch_from(&self, configuration: &Configuration) -> Watch {
        self.start(Some(configuration.clone()))
    }

    fn start(&self, known: Option<Configuration>) -> Watch {
        let mailbox = Arc::<Mailbox>::default();
        let acknowledgements = Arc::<Acknowledgements>::default();
        let ends = (Arc::clone(&mailbox), Arc::clone(&acknowledgements));
        let (follower, health) = Follower::new(self.clone(), known, ends);
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run());
        tasks.spawn(acknowledge::tell(self.clone(), Arc::clone(&acknowledgements)));
        Watch { mailbox, acknowledgements, health, _tasks: tasks }
    }
}

impl Watch {
    /// The newest update that was not taken yet; waits for one. Nothing is lost if the future is dropped.
    ///
    /// `None` after an error, which is the end.
    ///
    /// # Errors
    /// Before the first configuration: [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Refused`],
    /// [`Error::Empty`], [`Error::TokenFile`]. Afterwards none; see [`Watch::health`].
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        self.mailbox.next().await
    }

    /// Says what became of a configuration in this instance, for the servers to show at `/-/instances`. The last word
    /// counts, and is told within seconds to whatever server is followed.
    pub fn acknowledge(&mut self, configuration: &Configuration, outcome: Outcome) {
        if let Some(acknowledgement) = Acknowledgement::of(configuration, outcome) {
            self.acknowledgements.put(acknowledgement);
        }
    }

    /// Whether it is connected; to be kept and looked at anywhere.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }
}
