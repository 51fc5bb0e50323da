//! What can go wrong, typed where a caller would branch. No variant holds a value, a token or a password, unless a
//! service's own function puts it there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::last_known_good::LastKnownGoodProblem;
use crate::placeholder::PlaceholderProblem;

/// Why there is no configuration, or why a type cannot take it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client is told something that cannot be right; nothing was sent.
    #[error("{0}")]
    Settings(String),

    /// The token file cannot be used.
    #[error("token file {}: {problem}", path.display())]
    TokenFile {
        /// The file as it was named.
        path: PathBuf,
        /// Why not.
        problem: String,
    },

    /// A server answered that there is no such application, profile or label. Final: it was not asked again.
    #[error("{server} knows no configuration for application `{application}`, profiles `{profiles}`, {}", label_text(.label))]
    NotFound {
        /// The server that said so.
        server: String,
        /// The application asked for.
        application: String,
        /// The profiles asked for, joined by commas.
        profiles: String,
        /// The label asked for, if one was.
        label: Option<String>,
    },

    /// A server answered that it has no such text file for this application, profiles and label. Final.
    #[error("{server} has no file `{name}` for application `{application}`, profiles `{profiles}`")]
    NoText {
        /// The server that said so.
        server: String,
        /// The file asked for.
        name: String,
        /// The application asked for.
        application: String,
        /// The profiles asked for, joined by commas.
        profiles: String,
    },

    /// A server does not accept the credentials, or wants some (401, 403). Final.
    #[error("{server} refused the credentials with status {status}")]
    Unauthorized {
        /// The server that said so.
        server: String,
        /// 401 or 403.
        status: u16,
    },

    /// A server does not accept the request (400 and the like). Final.
    #[error("{server} refused the request with status {status}")]
    Refused {
        /// The server that said so.
        server: String,
        /// The status it gave.
        status: u16,
    },

    /// A server answered without any property source, and that was not allowed. Final.
    #[error(
        "{server} answered without any property source for application `{application}`, profiles `{profiles}`"
    )]
    Empty {
        /// The server that said so.
        server: String,
        /// The application asked for.
        application: String,
        /// The profiles asked for, joined by commas.
        profiles: String,
    },

    /// No server gave an answer in time, and no last known good copy could stand in for one.
    #[error(transparent)]
    Deadline(#[from] DeadlineExceeded),

    /// The configuration does not fit the type.
    #[error("`{key}` {problem}")]
    Deserialize {
        /// The key, as far as it leads.
        key: String,
        /// What is there and what was expected; never the value.
        problem: String,
    },

    /// The service's own function does not take the configuration. The text is that function's, and may quote a value.
    #[error("the configuration is not valid: {0}")]
    Invalid(Box<dyn std::error::Error + Send + Sync>),

    /// A value that is needed has a placeholder without an answer.
    #[error("`{key}` has a placeholder: {problem}")]
    Placeholder {
        /// The key whose value has the placeholder.
        key: String,
        /// What is wrong with it.
        problem: PlaceholderProblem,
    },
}

/// No server gave an answer in time: what each of them did last.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadlineExceeded {
    /// The time that was allowed.
    pub deadline: Duration,
    /// One entry for each server, in the order in which they are tried.
    pub servers: Vec<ServerFailure>,
    /// Why the copy on disk did not help, if one was asked for.
    pub last_known_good: Option<LastKnownGoodProblem>,
}

/// How often one server was tried, and what it did last.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerFailure {
    /// Its URL, without user information.
    pub server: String,
    /// Number of attempts.
    pub attempt_count: u32,
    /// The last failure; `None` if its turn never came.
    pub last: Option<Failure>,
}

/// Why one attempt failed, if it is worth another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// There was no connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// There was no whole answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The server said that it cannot answer now (5xx, 429, 408), or pointed elsewhere (3xx).
    #[error("status {0}")]
    Status(u16),
    /// The server does not know yet what was seen before (503 with `Headwater-Revision`): another one is ahead of it.
    #[error("behind: it does not know the revision that was told last")]
    Behind,
    /// The answer does not say that its server knows what was seen before: something between keeps answers and gave an
    /// old one.
    #[error("an answer that was kept from before the revision that was told last")]
    Cached,
    /// The answer was larger than the client takes.
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
    /// The answer was no environment, or not the one that was asked for.
    #[error("a bad answer: {0}")]
    BadAnswer(&'static str),
    /// A stream of events ended. Servers do that when they stop.
    #[error("the stream ended")]
    Ended,
    /// A stream of events said nothing for so long, not even that it is alive.
    #[error("silent for {} ms", .0.as_millis())]
    Silent(Duration),
}

fn label_text(label: &Option<String>) -> String {
    label
        .as_ref()
        .map_or_else(|| "the default label".to_owned(), |label| format!("label `{label}`"))
}

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no configuration within {} s", self.deadline.as_secs_f64())?;
        for failure in &self.servers {
            match &failure.last {
                Some(last) => {
                    write!(f, "; {}: {last} (attempts: {})", failure.server, failure.attempt_count)?
                }
                None => write!(f, "; {}: never tried", failure.server)?,
            }
        }
        match &self.last_known_good {
            Some(problem) => write!(f, "; last known good: {problem}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DeadlineExceeded {}
