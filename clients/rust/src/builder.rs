//! What a client is told before it is one. Nothing is checked before [`Builder::build`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::Client;
use crate::configuration::Configuration;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::instance;
use crate::last_known_good::LastKnownGood;
use crate::retry::Limits;
use crate::server::{Query, Server};
#[cfg(feature = "rustls")]
use crate::tls::System;
use crate::watch::Times;

mod http;

/// Longer waits are mistakes, and would overflow clocks.
const DEADLINE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Settings of a [`Client`]. Only the application has no default.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` or `connect`"]
pub struct Builder {
    urls: Urls,
    application: String,
    profiles: Vec<String>,
    label: Option<String>,
    instance: Option<String>,
    credentials: Credentials,
    connect_timeout: Duration,
    limits: Limits,
    times: Times,
    last_known_good: Option<PathBuf>,
    allow_empty: bool,
    placeholders: bool,
    #[cfg(feature = "rustls")]
    roots: Vec<Vec<u8>>,
    #[cfg(feature = "rustls")]
    system: System,
}

impl Default for Builder {
    fn default() -> Builder {
        let seconds = Duration::from_secs;
        Builder {
            urls: Urls::default(),
            application: String::new(),
            profiles: Vec::new(),
            label: None,
            instance: None,
            credentials: Credentials::None,
            connect_timeout: seconds(5),
            limits: Limits { deadline: seconds(60), request_timeout: seconds(15) },
            times: Times { stream_start: seconds(5), silence: seconds(45) },
            last_known_good: None,
            allow_empty: false,
            placeholders: true,
            #[cfg(feature = "rustls")]
            roots: Vec::new(),
            #[cfg(feature = "rustls")]
            system: System::Trusted,
        }
    }
}

impl Builder {
    /// The one server to ask. The default is `http://localhost:8888`.
    ///
    /// User information in the URL is sent to this server as Basic credentials and shown nowhere.
    pub fn url(self, url: impl Into<String>) -> Builder {
        self.urls([url])
    }

    /// Several servers, in the order in which they are tried.
    pub fn urls<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Builder {
        self.urls = Urls(urls.into_iter().map(Into::into).collect());
        self
    }

    /// Whose configuration is wanted.
    pub fn application(mut self, application: impl Into<String>) -> Builder {
        self.application = application.into();
        self
    }

    /// The profiles, the last one being the most specific. The default is `default`.
    pub fn profiles<P: Into<String>>(mut self, profiles: impl IntoIterator<Item = P>) -> Builder {
        self.profiles = profiles.into_iter().map(Into::into).collect();
        self
    }

    /// A branch, tag or commit; slashes are sent as Spring clients send them. Without one, the server chooses.
    pub fn label(mut self, label: impl Into<String>) -> Builder {
        self.label = Some(label.into());
        self
    }

    /// The name under which servers show this instance of the service, and what became of its configuration: up to 128
    /// letters, digits and `-_.:/`. Unless said, it is the name of the host, the process id and a random number.
    pub fn instance(mut self, name: impl Into<String>) -> Builder {
        self.instance = Some(name.into());
        self
    }

    /// A token, sent as `Authorization: Bearer`.
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.credentials = Credentials::Token(token.into());
        self
    }

    /// A file that holds the token; it is read again for every round of attempts.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.credentials = Credentials::TokenFile(path.into());
        self
    }

    /// A user and a password, sent as `Authorization: Basic`, as Spring's servers want them.
    pub fn basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Builder {
        self.credentials = Credentials::Basic { user: user.into(), password: password.into() };
        self
    }

    /// How long a connection may take to be made; 5 s unless said.
    pub fn connect_timeout(mut self, limit: Duration) -> Builder {
        self.connect_timeout = limit;
        self
    }

    /// How long one attempt at one server may take in all; 15 s unless said.
    pub fn request_timeout(mut self, limit: Duration) -> Builder {
        self.limits.request_timeout = limit;
        self
    }

    /// How long [`Client::connect`] may take with all its attempts; 60 s unless said.
    pub fn deadline(mut self, limit: Duration) -> Builder {
        self.limits.deadline = limit;
        self
    }

    /// How long a stream of events may take to begin to speak, before long polls are used in its place: some proxies keep
    /// streams to themselves. 5 s unless said.
    pub fn stream_start_timeout(mut self, limit: Duration) -> Builder {
        self.times.stream_start = limit;
        self
    }

    /// How long a stream of events may be silent before its connection is taken for dead: 45 s unless said, in which
    /// Headwater shows three times that it is alive.
    pub fn silence_timeout(mut self, limit: Duration) -> Builder {
        self.times.silence = limit;
        self
    }

    /// Keeps a copy of each answer in this directory, and starts from it when no server answers before the deadline.
    ///
    /// Name a directory that is for this alone: it is made with mode 0700, its parent must exist, and one that others
    /// can enter is not used. Several services may share it. On systems without Unix permissions there is no copy.
    pub fn last_known_good(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.last_known_good = Some(directory.into());
        self
    }

    /// Takes an answer without any property source for an answer, instead of for an error.
    pub fn allow_empty(mut self, allowed: bool) -> Builder {
        self.allow_empty = allowed;
        self
    }

    /// Whether `${…}` in values is resolved; `false` leaves the text as it is.
    pub fn placeholders(mut self, resolved: bool) -> Builder {
        self.placeholders = resolved;
        self
    }

    /// Trusts these certificate authorities too, beside those of the system. May be called again for more. It is there
    /// with the feature `rustls`.
    #[cfg(feature = "rustls")]
    pub fn root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Builder {
        self.roots.push(pem.into());
        self
    }

    /// Trusts the authorities named by [`Builder::root_certificate_pem`] alone, and not those of the system.
    #[cfg(feature = "rustls")]
    pub fn only_own_root_certificates(mut self) -> Builder {
        self.system = System::Ignored;
        self
    }

    pub(crate) fn variables(mut self, variable: fn(&str) -> Option<String>) -> Builder {
        let set = |name| {
            variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let list =
            |text: String| text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
        if let Some(urls) = set("HEADWATER_URL") {
            self = self.urls(list(urls));
        }
        if let Some(application) = set("HEADWATER_APPLICATION") {
            self = self.application(application);
        }
        if let Some(profiles) = set("HEADWATER_PROFILES") {
            self = self.profiles(list(profiles));
        }
        if let Some(label) = set("HEADWATER_LABEL") {
            self = self.label(label);
        }
        if let Some(name) = set("HEADWATER_INSTANCE") {
            self = self.instance(name);
        }
        if let Some(path) = set("HEADWATER_TOKEN_FILE") {
            self = self.token_file(path);
        }
        if let Some(directory) = set("HEADWATER_LAST_KNOWN_GOOD") {
            self = self.last_known_good(directory);
        }
        self
    }

    /// Checks everything that can be checked without a server.
    ///
    /// # Errors
    /// [`Error::Settings`] that says what cannot be right.
    pub fn build(self) -> Result<Client, Error> {
        if self.application.is_empty() {
            return Err(Error::Settings(
                "no application: call `application` or set HEADWATER_APPLICATION".into(),
            ));
        }
        let Limits { deadline, request_timeout } = self.limits;
        let Times { stream_start, silence } = self.times;
        if [deadline, request_timeout, stream_start, silence].iter().any(|it| *it > DEADLINE_MAX) {
            return Err(Error::Settings(format!(
                "a timeout is longer than {} s",
                DEADLINE_MAX.as_secs()
            )));
        }
        let profiles =
            if self.profiles.is_empty() { "default".to_owned() } else { self.profiles.join(",") };
        let query =
            Query { application: self.application.clone(), profiles, label: self.label.clone() }
                .validated()?;
        let servers = match self.urls.0.as_slice() {
            [] => vec![Server::parse("http://localhost:8888")?],
            urls => urls.iter().map(|url| Server::parse(url)).collect::<Result<_, _>>()?,
        };
        if !matches!(self.credentials, Credentials::None | Credentials::TokenFile(_)) {
            self.credentials.header()?;
        }
        let instance = self.instance.as_deref().map(instance::named).transpose()?;
        Ok(Client {
            instance: instance.unwrap_or_else(instance::unnamed),
            http: self.http(&servers)?,
            servers,
            last_known_good: self
                .last_known_good
                .map(|directory| LastKnownGood::new(directory, &query)),
            query,
            credentials: self.credentials,
            limits: self.limits,
            times: self.times,
            allow_empty: self.allow_empty,
            placeholders: self.placeholders,
        })
    }

    /// [`Builder::build`] and [`Client::connect`] in one.
    ///
    /// # Errors
    /// As both of them.
    pub async fn connect(self) -> Result<Configuration, Error> {
        self.build()?.connect().await
    }

    /// [`Builder::build`] and [`Client::connect_blocking`] in one.
    ///
    /// # Errors
    /// As both of them.
    pub fn connect_blocking(self) -> Result<Configuration, Error> {
        self.build()?.connect_blocking()
    }
}

/// Base URLs as they were given; they may hold passwords.
#[derive(Clone, Default)]
struct Urls(Vec<String>);

impl fmt::Debug for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} urls", self.0.len())
    }
}

#[cfg(test)]
mod tests;
