//! The settings of a client. [`Builder::build`] validates them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::Client;
use crate::configuration::Configuration;
use crate::contract::{self, Reads};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::instance::{self, Identity, Naming};
use crate::last_known_good::LastKnownGood;
use crate::limits::{Limits, StreamLimits};
use crate::server::{Query, Server};
#[cfg(feature = "rustls")]
use crate::tls::SystemRoots;

mod http;

/// The longest accepted timeout. A longer one is a mistake and could overflow the clock.
const DEADLINE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The settings of a [`Client`]. Every setting except the application has a default.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` or `connect`"]
pub struct Builder {
    urls: Urls,
    application: String,
    profiles: Vec<String>,
    label: Option<String>,
    naming: Naming,
    attributes: Vec<(String, String)>,
    credentials: Credentials,
    connect_timeout: Duration,
    limits: Limits,
    stream_limits: StreamLimits,
    last_known_good: Option<PathBuf>,
    allow_empty: bool,
    placeholders: bool,
    has_contract: bool,
    tries: bool,
    #[cfg(feature = "rustls")]
    roots: Vec<Vec<u8>>,
    #[cfg(feature = "rustls")]
    system: SystemRoots,
}

impl Default for Builder {
    fn default() -> Builder {
        let seconds = Duration::from_secs;
        Builder {
            urls: Urls::default(),
            application: String::new(),
            profiles: Vec::new(),
            label: None,
            naming: Naming::Host,
            attributes: Vec::new(),
            credentials: Credentials::None,
            connect_timeout: seconds(5),
            limits: Limits { deadline: seconds(60), request_timeout: seconds(15) },
            stream_limits: StreamLimits { start_timeout: seconds(5), silence_timeout: seconds(45) },
            last_known_good: None,
            allow_empty: false,
            placeholders: true,
            has_contract: true,
            tries: true,
            #[cfg(feature = "rustls")]
            roots: Vec::new(),
            #[cfg(feature = "rustls")]
            system: SystemRoots::Trusted,
        }
    }
}

impl Client {
    /// Creates a builder with the default settings. It reads no environment variable.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Creates a builder with the settings of the environment variables `HEADWATER_URL` (several URLs are separated by
    /// commas), `HEADWATER_APPLICATION`, `HEADWATER_PROFILES`, `HEADWATER_LABEL`, `HEADWATER_TOKEN_FILE`,
    /// `HEADWATER_INSTANCE`, `HEADWATER_ATTRIBUTES` (as `version=1.4, zone=eu-1`) and `HEADWATER_LAST_KNOWN_GOOD`.
    ///
    /// A blank variable counts as not set. A later call on the builder overrides the variable.
    pub fn from_env() -> Builder {
        Builder::default().variables(|name| std::env::var(name).ok())
    }
}

impl Builder {
    /// Sets the URL of the only server. The default is `http://localhost:8888`.
    ///
    /// User information in the URL is sent to this server as Basic credentials. It appears in no message.
    pub fn url(self, url: impl Into<String>) -> Builder {
        self.urls([url])
    }

    /// Sets the URLs of several servers, in the order in which the client tries them.
    pub fn urls<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Builder {
        self.urls = Urls(urls.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the name of the application whose configuration the client requests.
    pub fn application(mut self, application: impl Into<String>) -> Builder {
        self.application = application.into();
        self
    }

    /// Sets the profiles. The last one is the most specific. The default is `default`.
    pub fn profiles<P: Into<String>>(mut self, profiles: impl IntoIterator<Item = P>) -> Builder {
        self.profiles = profiles.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the label: a branch, tag or commit. The default is the default label of the server.
    ///
    /// A slash in the label is sent as `(_)`, as Spring clients do.
    pub fn label(mut self, label: impl Into<String>) -> Builder {
        self.label = Some(label.into());
        self
    }

    /// Sets the name under which servers list this instance of the service at `/-/instances`: 1 to 128 letters, digits
    /// and `-_.:/`. It should be the same after a restart, and no other instance of the application should have it.
    ///
    /// The default is the host name. When a host runs several clients with the same application, profiles and label, the
    /// second one has `:2` after its name, and so on. A client that starts again takes the lowest free number.
    pub fn instance(mut self, name: impl Into<String>) -> Builder {
        self.naming = Naming::Configured(name.into());
        self
    }

    /// Sends no name, so that servers do not list this client. For programs that only look at a configuration.
    pub fn unlisted(mut self) -> Builder {
        self.naming = Naming::Nameless;
        self
    }

    /// Adds an attribute of this instance, which servers list with it, such as `version` or `zone`. Name and value consist
    /// of lower-case letters, digits and `._-`. An instance has at most 8 attributes.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Builder {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Replaces the attributes by those in a text such as `version=1.4, zone=eu-1`.
    pub fn attributes(mut self, text: &str) -> Builder {
        self.attributes = instance::split_attributes(text);
        self
    }

    /// Sets the attribute `version`, which the contract of the service contains as well: lower-case letters, digits and
    /// `._-`. `env!("CARGO_PKG_VERSION")` is the version of the service's crate.
    pub fn version(self, version: impl Into<String>) -> Builder {
        self.attribute("version", version)
    }

    /// Turns the contract off. The client then records no reads, and deserializes no type more than once.
    ///
    /// Without this, a [`Live`](crate::Live) deserializes its first configuration several times on a thread of its own, each
    /// time without one key, to find out which keys are required. Each value comes from the server. A type whose
    /// deserialization has side effects should turn the contract off.
    pub fn no_contract(mut self) -> Builder {
        self.has_contract = false;
        self
    }

    /// Turns trials off.
    ///
    /// Without this, a [`Live`](crate::Live) tells servers that it can try a configuration. During a push, a server sends
    /// the new configuration to a few instances, before the push is accepted. They deserialize it, run the service's own
    /// function, and answer whether they would accept it. They apply and store nothing. A service whose deserialization or
    /// whose function has side effects should turn trials off.
    pub fn no_try(mut self) -> Builder {
        self.tries = false;
        self
    }

    /// Sets a token, which is sent as `Authorization: Bearer`.
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.credentials = Credentials::Token(token.into());
        self
    }

    /// Sets the path of a file that contains the token. The client reads it again for every round of attempts, so that a
    /// rotated token is used without a restart.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.credentials = Credentials::TokenFile(path.into());
        self
    }

    /// Sets a user name and a password, which are sent as `Authorization: Basic`.
    pub fn basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Builder {
        self.credentials = Credentials::Basic { user: user.into(), password: password.into() };
        self
    }

    /// Sets the time limit for establishing a connection. The default is 5 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Builder {
        self.connect_timeout = limit;
        self
    }

    /// Sets the time limit for one attempt at one server, from the connection to the end of the body. The default is 15 s.
    pub fn request_timeout(mut self, limit: Duration) -> Builder {
        self.limits.request_timeout = limit;
        self
    }

    /// Sets the time limit for [`Client::connect`] with all its attempts. The default is 60 s.
    pub fn deadline(mut self, limit: Duration) -> Builder {
        self.limits.deadline = limit;
        self
    }

    /// Sets the time within which an event stream has to deliver its first bytes. The default is 5 s.
    ///
    /// Some proxies hold streams back. When the time is over, the client uses long polls instead of the stream.
    pub fn stream_start_timeout(mut self, limit: Duration) -> Builder {
        self.stream_limits.start_timeout = limit;
        self
    }

    /// Sets the time after which a silent event stream is closed and replaced. The default is 45 s, in which Headwater
    /// sends three heartbeats.
    pub fn silence_timeout(mut self, limit: Duration) -> Builder {
        self.stream_limits.silence_timeout = limit;
        self
    }

    /// Enables the last-known-good copy. The client stores each received configuration in this directory, and starts from
    /// the stored one when no server answers before the deadline.
    ///
    /// The directory must serve no other purpose. The client creates it with mode 0700 in an existing parent, and does
    /// not use a directory that other users can enter. Several services may share it. On systems without Unix
    /// permissions the client stores no copy.
    pub fn last_known_good(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.last_known_good = Some(directory.into());
        self
    }

    /// Sets whether an answer without any property source is accepted. The default is `false`, which makes it
    /// [`Error::Empty`].
    pub fn allow_empty(mut self, allowed: bool) -> Builder {
        self.allow_empty = allowed;
        self
    }

    /// Sets whether placeholders (`${…}`) in values are resolved. The default is `true`. `false` leaves the text as it is.
    pub fn placeholders(mut self, resolved: bool) -> Builder {
        self.placeholders = resolved;
        self
    }

    /// Trusts the certificate authorities in this PEM text in addition to those of the system. Each call adds to the
    /// earlier ones. Requires the feature `rustls`.
    #[cfg(feature = "rustls")]
    pub fn root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Builder {
        self.roots.push(pem.into());
        self
    }

    /// Trusts only the authorities of [`Builder::root_certificate_pem`], and not those of the system. Requires the feature
    /// `rustls`.
    #[cfg(feature = "rustls")]
    pub fn only_own_root_certificates(mut self) -> Builder {
        self.system = SystemRoots::Ignored;
        self
    }

    /// Applies the environment variables that are documented at [`Client::from_env`].
    fn variables(mut self, variable: fn(&str) -> Option<String>) -> Builder {
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
        if let Some(text) = set("HEADWATER_ATTRIBUTES") {
            self = self.attributes(&text);
        }
        if let Some(path) = set("HEADWATER_TOKEN_FILE") {
            self = self.token_file(path);
        }
        if let Some(directory) = set("HEADWATER_LAST_KNOWN_GOOD") {
            self = self.last_known_good(directory);
        }
        self
    }

    /// Validates the settings and creates the client. It sends nothing.
    ///
    /// # Errors
    /// [`Error::Settings`] for the first setting that is invalid.
    pub fn build(self) -> Result<Client, Error> {
        if self.application.is_empty() {
            return Err(Error::Settings(
                "the application is not set: call `application` or set HEADWATER_APPLICATION"
                    .into(),
            ));
        }
        let Limits { deadline, request_timeout } = self.limits;
        let StreamLimits { start_timeout, silence_timeout } = self.stream_limits;
        if [deadline, request_timeout, start_timeout, silence_timeout]
            .iter()
            .any(|it| *it > DEADLINE_MAX)
        {
            return Err(Error::Settings(format!(
                "a timeout is longer than the maximum of {} s",
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
        Ok(Client {
            identity: Identity::new(self.naming.clone(), &query, &self.attributes)?,
            http: self.http(&servers)?,
            servers,
            reads: Reads::new(query.application.clone(), contract::version_in(&self.attributes)),
            has_contract: self.has_contract,
            tries: self.tries,
            last_known_good: self
                .last_known_good
                .map(|directory| LastKnownGood::new(directory, &query)),
            query,
            credentials: self.credentials,
            limits: self.limits,
            stream_limits: self.stream_limits,
            allow_empty: self.allow_empty,
            placeholders: self.placeholders,
        })
    }

    /// Calls [`Builder::build`] and [`Client::connect`].
    ///
    /// # Errors
    /// The errors of both.
    pub async fn connect(self) -> Result<Configuration, Error> {
        self.build()?.connect().await
    }

    /// Calls [`Builder::build`] and [`Client::connect_blocking`].
    ///
    /// # Errors
    /// The errors of both.
    pub fn connect_blocking(self) -> Result<Configuration, Error> {
        self.build()?.connect_blocking()
    }
}

/// The base URLs as they were set. They may contain passwords, so `Debug` shows only their number.
#[derive(Clone, Default)]
struct Urls(Vec<String>);

impl fmt::Debug for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} urls", self.0.len())
    }
}

#[cfg(test)]
mod tests;
