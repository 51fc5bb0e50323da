//! A client: servers, a question, and patience.

use std::fmt;

use hyper::header::HeaderValue;

use crate::builder::Builder;
use crate::configuration::{Configuration, Origin};
use crate::credentials::Credentials;
use crate::error::{DeadlineExceeded, Error};
use crate::fetch::{Attempt, Fetched, fetch};
use crate::http::Http;
use crate::last_known_good::{Copy, LastKnownGood, LastKnownGoodProblem};
use crate::retry::{Limits, Servers, first_answer};
use crate::server::{Query, Server};
use crate::watch::Times;

/// Asks one question of one or several servers. Cheap to clone; `Debug` shows no credentials.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: Http,
    pub(crate) servers: Vec<Server>,
    pub(crate) query: Query,
    pub(crate) instance: HeaderValue,
    pub(crate) credentials: Credentials,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) last_known_good: Option<LastKnownGood>,
    pub(crate) allow_empty: bool,
    pub(crate) placeholders: bool,
}

impl Client {
    /// A client that knows nothing yet, not even what the environment variables say.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A builder that knows what the environment variables say: `HEADWATER_URL` (several, separated by commas),
    /// `HEADWATER_APPLICATION`, `HEADWATER_PROFILES`, `HEADWATER_LABEL`, `HEADWATER_TOKEN_FILE`, `HEADWATER_INSTANCE` and
    /// `HEADWATER_LAST_KNOWN_GOOD`. Empty ones count as not set; whatever is called on the builder afterwards stands above them.
    pub fn from_env() -> Builder {
        Builder::default().variables(|name| std::env::var(name).ok())
    }

    /// Asks until a server answers or the deadline comes.
    ///
    /// Servers are tried in order; the next one is tried when there is no connection, no answer in time, a bad answer
    /// or a status that passes (5xx, 429, 408, 3xx), with pauses between the rounds. Any other status is final.
    /// If no server gives an answer and a last known good copy was asked for, that is what is returned,
    /// [stale](Configuration::is_stale).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Refused`] and [`Error::Empty`] at once;
    /// [`Error::Deadline`] when time is up.
    pub async fn connect(&self) -> Result<Configuration, Error> {
        match self.ask().await {
            Ok(configuration) => {
                self.keep(&configuration).await;
                Ok(configuration)
            }
            Err(Error::Deadline(deadline)) => self.stale(deadline).await,
            Err(error) => Err(error),
        }
    }

    /// [`Client::connect`] for programs without an asynchronous runtime. Blocks the thread.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_blocking(&self) -> Result<Configuration, Error> {
        // On a thread of its own, since a runtime must not be started inside another one.
        let connect = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime =
                runtime.map_err(|error| Error::Settings(format!("no runtime: {error}")))?;
            runtime.block_on(self.connect())
        };
        std::thread::scope(|scope| scope.spawn(connect).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The first answer of a server before the deadline.
    pub(crate) async fn ask(&self) -> Result<Configuration, Error> {
        let mut round = Round { client: self, header: None };
        let (server, fetched) = first_answer(&mut round, self.limits).await?;
        Ok(self.fresh(fetched, self.servers[server].name()))
    }

    /// What has just come from a server.
    pub(crate) fn fresh(&self, fetched: Fetched, server: &str) -> Configuration {
        let Fetched { environment, digest } = fetched;
        let Query { application, profiles, label } = &self.query;
        let revision = environment.version.as_deref();
        tracing::info!(application, profiles, label, revision, server, "configuration received");
        let server = Some(server.to_owned());
        self.configuration(environment, Origin { digest, server, ..Origin::default() })
    }

    /// Keeps what came from a server for the next start, if that was asked for.
    pub(crate) async fn keep(&self, configuration: &Configuration) {
        let Some(copy) = self.last_known_good.clone() else {
            return;
        };
        let kept = configuration.clone();
        let write =
            move || kept.server().map_or(Ok(()), |server| copy.write(kept.environment(), server));
        if let Ok(Err(problem)) = tokio::task::spawn_blocking(write).await {
            let Query { application, profiles, label } = &self.query;
            tracing::warn!(application, profiles, label, %problem, "no last known good copy was written");
        }
    }

    /// The same client, which keeps nothing.
    pub(crate) fn without_copy(&self) -> Client {
        Client { last_known_good: None, ..self.clone() }
    }

    /// Nothing at all is an error unless it was allowed.
    pub(crate) fn check_content(&self, fetched: &Fetched, server: &Server) -> Result<(), Error> {
        if self.allow_empty || !fetched.environment.property_sources.is_empty() {
            return Ok(());
        }
        let Query { application, profiles, .. } = self.query.clone();
        Err(Error::Empty { server: server.name().to_owned(), application, profiles })
    }

    /// The last known good copy in place of an answer.
    pub(crate) async fn stale(
        &self,
        mut deadline: DeadlineExceeded,
    ) -> Result<Configuration, Error> {
        match self.copy().await {
            Some(Ok(configuration)) => {
                tracing::warn!(%deadline, "no server answered");
                Ok(configuration)
            }
            Some(Err(problem)) => {
                deadline.last_known_good = Some(problem);
                Err(deadline.into())
            }
            None => Err(deadline.into()),
        }
    }

    /// The last known good copy, if one was asked for.
    pub(crate) async fn copy(&self) -> Option<Result<Configuration, LastKnownGoodProblem>> {
        let Query { application, profiles, label } = &self.query;
        let copy = self.last_known_good.clone()?;
        let servers: Vec<_> = self.servers.iter().map(|server| server.name().to_owned()).collect();
        let read = tokio::task::spawn_blocking(move || {
            let servers: Vec<_> = servers.iter().map(String::as_str).collect();
            copy.read(&servers)
        });
        match read.await.ok()? {
            Ok(Copy { environment, server, written }) => {
                let age_seconds = written.elapsed().unwrap_or_default().as_secs();
                let revision = environment.version.as_deref();
                tracing::warn!(
                    application,
                    profiles,
                    label,
                    revision,
                    server,
                    age_seconds,
                    "starting from the last known good copy"
                );
                let (server, stale_since) = (Some(server), Some(written));
                let origin = Origin { server, stale_since, ..Origin::default() };
                Some(Ok(self.configuration(environment, origin)))
            }
            Err(problem) => {
                tracing::warn!(application, profiles, label, %problem, "the last known good copy is not used");
                Some(Err(problem))
            }
        }
    }

    fn configuration(
        &self,
        environment: headwater_wire::Environment,
        origin: Origin,
    ) -> Configuration {
        let origin = Origin { placeholders: self.placeholders, ..origin };
        Configuration::new(environment, origin, |name| std::env::var(name).ok())
    }
}

/// The servers during one connect, with the credentials of the current round.
struct Round<'a> {
    client: &'a Client,
    header: Option<HeaderValue>,
}

impl Servers for Round<'_> {
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
        let fetched = fetch(http, server, query, self.header.as_ref()).await?;
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
