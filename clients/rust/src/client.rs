//! The client: requests one environment from several servers.

use std::fmt;
use std::sync::Arc;

use hyper::header::HeaderValue;

use crate::configuration::{Configuration, Origin};
use crate::contract::Reads;
use crate::credentials::Credentials;
use crate::error::{DeadlineError, Error, LastKnownGoodError};
use crate::fetch::{Attempt, Fetched, fetch};
use crate::http::Http;
use crate::instance::Identity;
use crate::last_known_good::{LastKnownGood, StoredCopy};
use crate::limits::{Limits, StreamLimits};
use crate::retry::{Servers, first_answer};
use crate::server::{Query, Server};

/// A client for the environment of one application. It is cheap to clone. `Debug` shows no credentials.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: Http,
    pub(crate) servers: Vec<Server>,
    pub(crate) query: Query,
    pub(crate) identity: Identity,
    pub(crate) credentials: Credentials,
    pub(crate) limits: Limits,
    pub(crate) stream_limits: StreamLimits,
    pub(crate) last_known_good: Option<LastKnownGood>,
    pub(crate) allow_empty: bool,
    pub(crate) placeholders: bool,
    /// The keys that the service reads, of this client and its clones.
    pub(crate) reads: Arc<Reads>,
    /// Set when the service has a contract.
    pub(crate) has_contract: bool,
    /// Set when the service tries configurations that are not published yet.
    pub(crate) tries: bool,
}

impl Client {
    /// Requests the configuration until a server answers or the deadline passes.
    ///
    /// The client tries the servers in order. It continues with the next server after a failed connection, a timeout, an
    /// unusable answer, or one of the statuses 5xx, 429, 408 and 3xx, and pauses between rounds. Every other status ends
    /// the attempts. When no server answers before the deadline, the client returns the last-known-good copy if one is
    /// enabled and usable. That configuration is [stale](Configuration::is_stale).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Rejected`] and [`Error::Empty`] at once.
    /// [`Error::Deadline`] after the deadline.
    pub async fn connect(&self) -> Result<Configuration, Error> {
        match self.fetch_first(Speaker::Anonymous).await {
            Ok(configuration) => {
                self.save_copy(&configuration).await;
                Ok(configuration)
            }
            Err(Error::Deadline(deadline)) => self.fall_back_to_copy(deadline).await,
            Err(error) => Err(error),
        }
    }

    /// Calls [`Client::connect`] in a program without an asynchronous runtime. Blocks the thread.
    ///
    /// # Errors
    /// The errors of [`Client::connect`].
    pub fn connect_blocking(&self) -> Result<Configuration, Error> {
        // Runs on its own thread, because a runtime must not be started inside another one.
        let connect = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| {
                Error::Settings(format!("no Tokio runtime could be started: {error}"))
            })?;
            runtime.block_on(self.connect())
        };
        std::thread::scope(|scope| scope.spawn(connect).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Returns the first answer of a server before the deadline.
    pub(crate) async fn fetch_first(&self, speaker: Speaker) -> Result<Configuration, Error> {
        let mut attempts = EnvironmentAttempts { client: self, header: None, speaker };
        let (server, fetched) = first_answer(&mut attempts, self.limits).await?;
        Ok(self.configuration_from(fetched, self.servers[server].name()))
    }

    /// Creates the configuration for the answer of a server.
    pub(crate) fn configuration_from(&self, fetched: Fetched, server: &str) -> Configuration {
        let Fetched { environment, digest, epochs, is_candidate } = fetched;
        let Query { application, profiles, label } = &self.query;
        let revision = environment.version.as_deref();
        tracing::info!(application, profiles, label, revision, server, "configuration received");
        let server = Some(server.to_owned());
        let origin = Origin { digest, epochs, server, is_candidate, ..Origin::default() };
        self.configuration(environment, origin)
    }

    /// Creates the configuration of a trial, whose reads are no part of the contract.
    pub(crate) fn configuration_to_try(
        &self,
        environment: headwater_wire::Environment,
        server: &str,
    ) -> Configuration {
        let server = Some(server.to_owned());
        let placeholders = self.placeholders;
        let origin = Origin { server, is_candidate: true, placeholders, ..Origin::default() };
        Configuration::new(environment, origin, |name| std::env::var(name).ok())
    }

    /// Writes the last-known-good copy if it is enabled. A failure is logged, and the service continues. The candidate of a
    /// rollout is no last-known-good copy before it is released.
    pub(crate) async fn save_copy(&self, configuration: &Configuration) {
        if !configuration.is_candidate()
            && self.last_known_good.as_ref().is_some_and(|it| !it.is_deferred())
        {
            self.write_copy(configuration).await;
        }
    }

    /// Writes the last-known-good copy of a released candidate, if it is enabled.
    pub(crate) async fn write_copy(&self, configuration: &Configuration) {
        let Some(copy) = self.last_known_good.clone() else {
            return;
        };
        let kept = configuration.clone();
        let write = move || match kept.server() {
            Some(server) => copy.write(kept.answer(), kept.epochs(), server),
            None => Ok(()),
        };
        if let Ok(Err(problem)) = tokio::task::spawn_blocking(write).await {
            let Query { application, profiles, label } = &self.query;
            tracing::warn!(application, profiles, label, %problem, "the last-known-good copy was not written");
        }
    }

    /// Returns a client that is equal but leaves the last-known-good copy to the service, except for candidates that the
    /// service has accepted and that are released later.
    pub(crate) fn without_copy(&self) -> Client {
        let last_known_good = self.last_known_good.clone().map(LastKnownGood::deferred);
        Client { last_known_good, ..self.clone() }
    }

    /// Returns an error for an answer without property sources, unless the settings allow it.
    pub(crate) fn check_content(&self, fetched: &Fetched, server: &Server) -> Result<(), Error> {
        if self.allow_empty || !fetched.environment.property_sources.is_empty() {
            return Ok(());
        }
        let Query { application, profiles, .. } = self.query.clone();
        Err(Error::Empty { server: server.name().to_owned(), application, profiles })
    }

    /// Returns the last-known-good copy after no server answered.
    pub(crate) async fn fall_back_to_copy(
        &self,
        mut deadline: DeadlineError,
    ) -> Result<Configuration, Error> {
        match self.load_copy().await {
            Some(Ok(configuration)) => {
                tracing::warn!(%deadline, "no server answered before the deadline");
                Ok(configuration)
            }
            Some(Err(problem)) => {
                deadline.last_known_good = Some(problem);
                Err(deadline.into())
            }
            None => Err(deadline.into()),
        }
    }

    /// Reads the last-known-good copy. `None` when it is not enabled.
    pub(crate) async fn load_copy(&self) -> Option<Result<Configuration, LastKnownGoodError>> {
        let Query { application, profiles, label } = &self.query;
        let copy = self.last_known_good.clone()?;
        let servers: Vec<_> = self.servers.iter().map(|server| server.name().to_owned()).collect();
        let read = tokio::task::spawn_blocking(move || {
            let servers: Vec<_> = servers.iter().map(String::as_str).collect();
            copy.read(&servers)
        });
        match read.await.ok()? {
            Ok(StoredCopy { environment, epochs, server, written }) => {
                let age_seconds = written.elapsed().unwrap_or_default().as_secs();
                let revision = environment.version.as_deref();
                tracing::warn!(
                    application,
                    profiles,
                    label,
                    revision,
                    server,
                    age_seconds,
                    "starting from the last-known-good copy"
                );
                let (server, stale_since) = (Some(server), Some(written));
                let origin = Origin { epochs, server, stale_since, ..Origin::default() };
                Some(Ok(self.configuration(environment, origin)))
            }
            Err(problem) => {
                tracing::warn!(application, profiles, label, %problem, "the last-known-good copy cannot be used");
                Some(Err(problem))
            }
        }
    }

    fn configuration(
        &self,
        environment: headwater_wire::Environment,
        origin: Origin,
    ) -> Configuration {
        let reads = self.has_contract.then(|| Arc::clone(&self.reads));
        let origin = Origin { placeholders: self.placeholders, reads, ..origin };
        Configuration::new(environment, origin, |name| std::env::var(name).ok())
    }
}

/// The identity under which an environment is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// A program that reads once. It is never the canary of a rollout.
    Anonymous,
    /// The instance of a service, which reports what it does with the configuration.
    Instance,
}

/// The attempts of one connect.
struct EnvironmentAttempts<'a> {
    client: &'a Client,
    /// The credentials of the current round.
    header: Option<HeaderValue>,
    speaker: Speaker,
}

impl Servers for EnvironmentAttempts<'_> {
    type Answer = Fetched;

    fn names(&self) -> Vec<&str> {
        self.client.servers.iter().map(Server::name).collect()
    }

    async fn prepare(&mut self) -> Result<(), Error> {
        self.header = self.client.credentials.current_header().await?;
        Ok(())
    }

    async fn attempt(&self, server: usize) -> Result<Fetched, Attempt> {
        let Client { http, servers, query, .. } = self.client;
        let server = &servers[server];
        let instance = (self.speaker == Speaker::Instance).then_some(&self.client.identity);
        let fetched = fetch(http, server, query, self.header.as_ref(), instance).await?;
        self.client.check_content(&fetched, server).map_err(Attempt::Final)?;
        Ok(fetched)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("servers", &self.servers)
            .field("query", &self.query)
            .field("credentials", &self.credentials)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
