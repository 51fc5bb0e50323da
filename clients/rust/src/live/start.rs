//! The first value: from a server, or from the last known good copy, but never one that is not good.

use std::error::Error as StdError;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::builder::Builder;
use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::Error;
use crate::live::acceptance::Acceptance;
use crate::live::{Live, Notes, Rejection, Shared, follow};
use crate::watch::Outcome;

/// A [`Live`] that is about to be: `.await` starts it.
#[must_use = "nothing is asked before it is awaited"]
pub struct LiveStart<T> {
    client: Result<Client, Error>,
    acceptance: Acceptance<T>,
}

/// The first value, and where it came from.
struct First<T> {
    value: T,
    configuration: Configuration,
    /// What the server has, if the service does not take it.
    rejection: Option<Box<Rejection>>,
}

impl Client {
    /// The configuration as `T`, replaced whenever it changes.
    ///
    /// A change that does not become a `T` is rejected: what was there stays, [`Live::rejection`] says why, and the server
    /// is told. `T` should own what it needs; reading it must not block for long.
    ///
    /// # Errors
    /// When awaited: as [`Client::connect`]; as [`Configuration::get_at`] and [`Error::Invalid`] if the first one is not
    /// good and no last known good copy stands in for it.
    ///
    /// # Panics
    /// When awaited outside of a Tokio runtime.
    pub fn live<T>(&self) -> LiveStart<T> {
        LiveStart::new(Ok(self.clone()))
    }

    /// [`Client::live`] with a function that says what else has to be right: [`LiveStart::validate`].
    ///
    /// # Errors
    /// As [`Client::live`].
    pub fn live_with<T, E>(
        &self,
        validate: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
    ) -> LiveStart<T>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.live().validate(validate)
    }
}

impl Builder {
    /// [`Builder::build`] and [`Client::live`] in one.
    ///
    /// # Errors
    /// When awaited, as both of them.
    pub fn live<T>(self) -> LiveStart<T> {
        LiveStart::new(self.build())
    }

    /// [`Builder::build`] and [`Client::live_with`] in one.
    ///
    /// # Errors
    /// When awaited, as both of them.
    pub fn live_with<T, E>(
        self,
        validate: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
    ) -> LiveStart<T>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.live().validate(validate)
    }
}

impl<T> LiveStart<T> {
    fn new(client: Result<Client, Error>) -> LiveStart<T> {
        LiveStart { client, acceptance: Acceptance { prefix: String::new(), validate: None } }
    }

    /// Reads `T` from what is below this prefix, as [`Configuration::get_at`] does. The default is the whole.
    pub fn at(mut self, prefix: impl Into<String>) -> LiveStart<T> {
        self.acceptance.prefix = prefix.into();
        self
    }

    /// Takes only what this function takes. Its error may be any error, or a text. It is shown on the handle and logged
    /// nowhere, since it may quote a value.
    pub fn validate<E>(
        mut self,
        validate: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
    ) -> LiveStart<T>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.acceptance.validate = Some(Arc::new(move |value| validate(value).map_err(E::into)));
        self
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> IntoFuture for LiveStart<T> {
    type Output = Result<Live<T>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let client = self.client?;
            let first = first(&client, &self.acceptance).await?;
            Ok(live(&client, first, self.acceptance))
        })
    }
}

async fn first<T: DeserializeOwned>(
    client: &Client,
    acceptance: &Acceptance<T>,
) -> Result<First<T>, Error> {
    let accept = |configuration: Configuration| match acceptance.accept(&configuration) {
        Ok(value) => Ok(First { value, configuration, rejection: None }),
        Err(error) => Err(Box::new(Rejection::now(configuration, error))),
    };
    let rejection = match client.ask().await {
        Ok(configuration) => match accept(configuration) {
            Ok(first) => {
                client.keep(&first.configuration).await;
                return Ok(first);
            }
            Err(rejection) => rejection,
        },
        Err(Error::Deadline(deadline)) => {
            return accept(client.stale(deadline).await?).map_err(|rejection| rejection.error);
        }
        Err(error) => return Err(error),
    };
    // What is kept was good the last time.
    match client.copy().await {
        Some(Ok(copy)) => {
            rejection.log(&client.query);
            let first = accept(copy).map_err(|of_copy| of_copy.error)?;
            Ok(First { rejection: Some(rejection), ..first })
        }
        _ => Err(rejection.error),
    }
}

/// Whoever watches from the first value is told what differs from what the server has.
fn live<T: DeserializeOwned + Send + Sync + 'static>(
    client: &Client,
    first: First<T>,
    acceptance: Acceptance<T>,
) -> Live<T> {
    let First { value, configuration, rejection } = first;
    // What is kept is what the service took, so the watch keeps nothing.
    let asking = client.without_copy();
    let mut watch = match &rejection {
        Some(rejection) => asking.watch_from(&rejection.configuration),
        None => asking.watch_from(&configuration),
    };
    match &rejection {
        Some(rejection) => watch.acknowledge(&rejection.configuration, Outcome::Rejected),
        None => watch.acknowledge(&configuration, Outcome::Applied),
    }
    let health = watch.health();
    let rejection = rejection.map(Arc::from);
    let shared = Arc::new(Shared {
        current: ArcSwap::from_pointee(value),
        notes: Mutex::new(Notes { configuration, rejection }),
    });
    let (changed, changes) = watch::channel(());
    let follower = follow::Follower {
        client: client.clone(),
        acceptance,
        shared: Arc::clone(&shared),
        changed,
    };
    let mut task = JoinSet::new();
    task.spawn(async move { follower.run(&mut watch).await });
    Live { shared, changes, health, _task: Arc::new(task) }
}
