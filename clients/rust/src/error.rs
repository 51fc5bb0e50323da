//! The errors of the crate, with a variant for each case that a caller may handle differently.
//!
//! Invariant: no error contains a value, a token or a password. [`Error::Invalid`] is the only exception: it contains the
//! error of the service's own function.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::de::MISSING;

/// The reason for which a configuration is not available, or does not fit a type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the client is invalid. Nothing was sent.
    #[error("{0}")]
    Settings(String),

    /// The token file cannot be read, or its content is not a token.
    #[error("token file {}: {problem}", path.display())]
    TokenFile {
        /// The path of the file, as it was configured.
        path: PathBuf,
        /// The reason.
        problem: String,
    },

    /// A server answered with 404: it has no such application, profile or label. The client does not try again.
    #[error("{server} has no configuration for application `{application}`, profiles `{profiles}`, {}", label_text(.label))]
    NotFound {
        /// The URL of the server.
        server: String,
        /// The requested application.
        application: String,
        /// The requested profiles, joined by commas.
        profiles: String,
        /// The requested label. `None` for the default label.
        label: Option<String>,
    },

    /// A server answered with 404: it has no such text file for this application, profiles and label. The client does not
    /// try again.
    #[error("{server} has no file `{name}` for application `{application}`, profiles `{profiles}`")]
    NoText {
        /// The URL of the server.
        server: String,
        /// The path of the requested file.
        name: String,
        /// The requested application.
        application: String,
        /// The requested profiles, joined by commas.
        profiles: String,
    },

    /// A server rejected the credentials, or requires credentials (401, 403). The client does not try again.
    #[error("{server} rejected the credentials with status {status}")]
    Unauthorized {
        /// The URL of the server.
        server: String,
        /// 401 or 403.
        status: u16,
    },

    /// A server rejected the request with 400 or another 4xx status. The client does not try again.
    #[error("{server} rejected the request with status {status}")]
    Rejected {
        /// The URL of the server.
        server: String,
        /// The status code.
        status: u16,
    },

    /// A server answered without any property source, which the settings do not allow. The client does not try again.
    #[error(
        "{server} answered without any property source for application `{application}`, profiles `{profiles}`"
    )]
    Empty {
        /// The URL of the server.
        server: String,
        /// The requested application.
        application: String,
        /// The requested profiles, joined by commas.
        profiles: String,
    },

    /// No server answered before the deadline, and no last-known-good copy could be used.
    #[error(transparent)]
    Deadline(#[from] DeadlineError),

    /// The configuration does not fit the type.
    #[error("`{key}` {problem}")]
    Deserialize {
        /// The key of the value, as far as it exists.
        key: String,
        /// The kind of the present value and the expected type. Never the value.
        problem: String,
    },

    /// The service's own function rejected the configuration. The text comes from that function and may quote a value.
    ///
    /// The server receives `invalid` as the reason, and the key if the error is an [`InvalidKey`].
    #[error("the configuration is invalid: {0}")]
    Invalid(Box<dyn std::error::Error + Send + Sync>),

    /// A value contains a placeholder that cannot be resolved.
    #[error("`{key}` has an unresolvable placeholder: {problem}")]
    Placeholder {
        /// The key of the value.
        key: String,
        /// The reason.
        problem: PlaceholderError,
    },
}

/// A key that the service's own function rejected. A service returns it to report the key to the server.
///
/// ```
/// use headwater_client::InvalidKey;
///
/// fn check(items: u32) -> Result<(), InvalidKey> {
///     if items > 0 { Ok(()) } else { Err(InvalidKey::new("shop.max-items", "must be positive")) }
/// }
/// # assert_eq!(check(0).unwrap_err().to_string(), "`shop.max-items` must be positive");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("`{key}` {problem}")]
pub struct InvalidKey {
    /// The key. The server receives it.
    pub key: String,
    /// The problem, which may quote a value. The server does not receive it.
    pub problem: String,
}

impl InvalidKey {
    /// Creates the error.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> InvalidKey {
        InvalidKey { key: key.into(), problem: problem.into() }
    }
}

impl Error {
    /// Returns the reason for a rejection, as a server receives it: a word and, where there is one, a key. It contains no
    /// value.
    ///
    /// | reason | meaning |
    /// | --- | --- |
    /// | `type <key>` | the value does not have the expected type |
    /// | `missing <key>` | the key is required and absent |
    /// | `placeholder <key>` | a placeholder in the value cannot be resolved |
    /// | `invalid`, `invalid <key>` | the service's own function rejected the configuration |
    /// | `unavailable` | any other error |
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Error::Deserialize { key, problem } if problem.starts_with(MISSING) => {
                format!("missing {key}")
            }
            Error::Deserialize { key, .. } => format!("type {key}"),
            Error::Placeholder { key, .. } => format!("placeholder {key}"),
            Error::Invalid(error) => match error.downcast_ref::<InvalidKey>() {
                Some(InvalidKey { key, .. }) => format!("invalid {key}"),
                None => "invalid".to_owned(),
            },
            _ => "unavailable".to_owned(),
        }
    }
}

/// No server answered before the deadline. Contains the last failure of each server.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadlineError {
    /// The configured deadline.
    pub deadline: Duration,
    /// The elapsed time. It may be up to 0.2 s less than the deadline, when no further attempt could end in time.
    pub waited: Duration,
    /// The attempts at each server, in the order in which the servers are tried.
    pub servers: Vec<ServerAttempts>,
    /// The reason for which the last-known-good copy could not be used. `None` when the copy is not enabled.
    pub last_known_good: Option<LastKnownGoodError>,
}

/// The attempts at one server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerAttempts {
    /// The URL of the server, without user information.
    pub server: String,
    /// The number of attempts.
    pub attempt_count: u32,
    /// The failure of the last attempt. `None` when the server was never tried.
    pub last: Option<AttemptError>,
}

/// The failure of one attempt. Another attempt may succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The connection could not be established, or it failed.
    #[error("{0}")]
    Connection(String),
    /// No complete answer arrived within the time limit.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The server answered with a temporary error (5xx, 429, 408) or with a redirect (3xx), which is not followed.
    #[error("status {0}")]
    Status(u16),
    /// The server does not have the revision yet that the client received last (503 with `Headwater-Revision`).
    #[error("the server does not have the revision yet that was received last")]
    Behind,
    /// The answer is older than the revision that the client received last: it comes from a cache between client and
    /// server.
    #[error("a cache returned an answer that is older than the revision that was received last")]
    Cached,
    /// The answer was published before a rewind of the label that the client has already received.
    #[error("the server returned an older publication than the one that was received last")]
    Older,
    /// The answer exceeds the size limit of the client.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is not the requested document.
    #[error("unexpected answer: {0}")]
    BadAnswer(&'static str),
    /// The server ended an event stream, as it does when it stops.
    #[error("the server ended the event stream")]
    Ended,
    /// An event stream delivered nothing for this time, not even a heartbeat.
    #[error("the event stream was silent for {} ms", .0.as_millis())]
    Silent(Duration),
}

/// The reason for which there is no usable last-known-good copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LastKnownGoodError {
    /// No copy was ever written.
    #[error("there is no copy in {}", .0.display())]
    Absent(PathBuf),
    /// The file or its directory is accessible to other users, is a link, or is of another type.
    #[error("{} cannot be trusted: {problem}", path.display())]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The content of the file differs from what was written.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: &'static str,
    },
    /// The copy is of another request or another server.
    #[error("{} is for another {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The part that differs: `application`, `profiles`, `label` or `server`.
        what: &'static str,
    },
    /// A file operation failed.
    #[error("{}: {problem}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        problem: String,
    },
}

/// The reason for which a placeholder cannot be resolved. It names keys and no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceholderError {
    /// No property and no variable has this name, and the placeholder has no default.
    #[error("no property or variable is named `{0}`, and the placeholder has no default")]
    Missing(String),
    /// The value of this key refers to itself.
    #[error("`{0}` refers to itself")]
    Cycle(String),
    /// The resolution exceeds a limit of depth, length or work.
    #[error("more than {limit} {unit}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// The unit of the limit.
        unit: &'static str,
    },
}

fn label_text(label: &Option<String>) -> String {
    label
        .as_ref()
        .map_or_else(|| "the default label".to_owned(), |label| format!("label `{label}`"))
}

impl fmt::Display for DeadlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two decimals are exact enough for a reader.
        let seconds = (self.waited.as_secs_f64() * 100.0).round() / 100.0;
        write!(f, "no configuration within {seconds} s")?;
        for server in &self.servers {
            match &server.last {
                Some(last) => {
                    write!(f, "; {}: {last} (attempts: {})", server.server, server.attempt_count)?
                }
                None => write!(f, "; {}: never tried", server.server)?,
            }
        }
        match &self.last_known_good {
            Some(problem) => write!(f, "; last-known-good copy: {problem}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DeadlineError {}
