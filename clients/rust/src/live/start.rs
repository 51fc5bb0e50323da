//! The start of a [`Live`]: obtains the first accepted value from a server or from the last-known-good copy.

use std::error::Error as StdError;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::builder::Builder;
use crate::client::{Client, Speaker};
use crate::configuration::Configuration;
use crate::error::Error;
use crate::live::acceptance::Acceptance;
use crate::live::{Live, LiveStatus, Rejection, Shared, follow, trial};
use headwater_wire::Outcome;

/// A [`Live`] that has not been started. Awaiting it connects and returns the handle.
#[must_use = "it connects only when it is awaited"]
pub struct LiveStart<T> {
    client: Result<Client, Error>,
    acceptance: Acceptance<T>,
}

/// The first value and its configuration.
struct FirstValue<T> {
    value: T,
    configuration: Configuration,
    /// The rejection of the server's configuration, when the value comes from the last-known-good copy.
    rejection: Option<Box<Rejection>>,
}

impl Client {
    /// Reads the configuration as `T` and replaces the value whenever the configuration changes.
    ///
    /// A change that does not deserialize as `T` is rejected: the former value stays, [`Live::rejection`] has the reason,
    /// and the server lists the rejection. `T` must own its data. Deserializing it should not block for long.
    ///
    /// # Errors
    /// When awaited: the errors of [`Client::connect`]. The errors of [`Configuration::get_at`] and [`Error::Invalid`] when
    /// the service rejects the first configuration and no acceptable last-known-good copy exists.
    ///
    /// # Panics
    /// When awaited outside of a Tokio runtime.
    pub fn live<T>(&self) -> LiveStart<T> {
        LiveStart::new(Ok(self.clone()))
    }

    /// Calls [`Client::live`] and [`LiveStart::validate`].
    ///
    /// # Errors
    /// The errors of [`Client::live`].
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
    /// Calls [`Builder::build`] and [`Client::live`].
    ///
    /// # Errors
    /// When awaited: the errors of both.
    pub fn live<T>(self) -> LiveStart<T> {
        LiveStart::new(self.build())
    }

    /// Calls [`Builder::build`] and [`Client::live_with`].
    ///
    /// # Errors
    /// When awaited: the errors of both.
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

    /// Sets the prefix below which `T` is read, as in [`Configuration::get_at`]. The default is the whole configuration.
    pub fn at(mut self, prefix: impl Into<String>) -> LiveStart<T> {
        self.acceptance.prefix = prefix.into();
        self
    }

    /// Sets a function that accepts or rejects each value after it was deserialized.
    ///
    /// The error may be any error type or a text. [`Live::rejection`] returns it. It is not logged, because it may quote a
    /// value.
    ///
    /// The function must have no side effects. During a push, a server asks a few instances whether they would accept the
    /// new configuration. The function then runs for values that may never be published, on a thread of its own and perhaps
    /// at the same time as for a change. A panic counts as a rejection. [`Builder::no_try`](crate::Builder::no_try) turns
    /// this off.
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
            let first = first_value(&client, &self.acceptance).await?;
            Ok(start(&client, first, self.acceptance))
        })
    }
}

async fn first_value<T: DeserializeOwned>(
    client: &Client,
    acceptance: &Acceptance<T>,
) -> Result<FirstValue<T>, Error> {
    let accept = |configuration: Configuration| match acceptance.accept(&configuration) {
        Ok(value) => Ok(FirstValue { value, configuration, rejection: None }),
        Err(error) => Err(Box::new(Rejection::now(configuration, error))),
    };
    let rejection = match client.fetch_first(Speaker::Instance).await {
        Ok(configuration) => match accept(configuration) {
            Ok(first) => {
                client.save_copy(&first.configuration).await;
                return Ok(first);
            }
            Err(rejection) => rejection,
        },
        Err(Error::Deadline(deadline)) => {
            return accept(client.fall_back_to_copy(deadline).await?)
                .map_err(|rejection| rejection.error);
        }
        Err(error) => return Err(error),
    };
    // The service accepted the stored copy when it was current.
    match client.load_copy().await {
        Some(Ok(copy)) => {
            rejection.log(&client.query);
            let first = accept(copy).map_err(|of_copy| of_copy.error)?;
            Ok(FirstValue { rejection: Some(rejection), ..first })
        }
        _ => Err(rejection.error),
    }
}

/// Starts the watch from the first value, so that it returns only changes.
fn start<T: DeserializeOwned + Send + Sync + 'static>(
    client: &Client,
    first: FirstValue<T>,
    acceptance: Acceptance<T>,
) -> Live<T> {
    let FirstValue { value, configuration, rejection } = first;
    // Only accepted configurations are stored, so the follower writes the copy and not the watch.
    let asking = client.without_copy();
    let (mut watch, trials) = match &rejection {
        Some(rejection) => asking.watch_and_try(&rejection.configuration),
        None => asking.watch_and_try(&configuration),
    };
    match &rejection {
        Some(rejection) => {
            watch.reporter().reject(&rejection.configuration, rejection.error.reason())
        }
        None => watch.acknowledge(&configuration, Outcome::Applied),
    }
    let (health, reporter) = (watch.health(), watch.reporter());
    let rejection = rejection.map(Arc::from);
    let shared = Arc::new(Shared {
        current: ArcSwap::from_pointee(value),
        status: Mutex::new(LiveStatus { configuration, rejection }),
    });
    let (changed, changes) = watch::channel(());
    let mut task = JoinSet::new();
    if client.has_contract {
        let (reads, prefix) = (Arc::clone(&client.reads), acceptance.prefix.clone());
        let configuration = shared.status().configuration.clone();
        task.spawn_blocking(move || reads.record_live::<T>(&configuration, &prefix));
    }
    let acceptance = Arc::new(acceptance);
    task.spawn(trial::answer(trials, Arc::clone(&acceptance), client.allow_empty));
    let follower = follow::LiveFollower {
        client: client.clone(),
        acceptance,
        shared: Arc::clone(&shared),
        changed,
    };
    task.spawn(async move { follower.run(&mut watch).await });
    Live { shared, changes, health, reporter, _task: Arc::new(task) }
}
