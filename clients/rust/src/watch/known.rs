//! The identity of the last received configuration, which requests carry so that a server resumes after it.

use hyper::header::HeaderValue;

use crate::configuration::Configuration;
use crate::watch::order;

/// The longest id that is sent. A longer one is not used.
const ID_LENGTH_MAX: usize = 4 * 1024;

/// The last received configuration, as servers identify it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// `<position>.<digest>`, as servers name their events. The position is `<revision>` or `<revision>.<epochs>`.
    pub(super) id: Option<String>,
    /// The position of a last-known-good copy. The server must have it, and then returns its present configuration, even when
    /// that is the same.
    pub(super) least: Option<String>,
}

impl Known {
    pub(super) fn of(configuration: &Configuration) -> Known {
        let revision = configuration.revision();
        let least = revision.filter(|it| configuration.is_stale() && is_comparable(it));
        let least = least.map(|revision| position(revision, configuration.epochs()));
        let known = Known::new(revision, configuration.epochs(), configuration.digest());
        Known { least, ..known }
    }

    pub(super) fn new(revision: Option<&str>, epochs: Option<&str>, digest: Option<&str>) -> Known {
        let id = revision.zip(digest);
        let id = id.map(|(revision, digest)| format!("{}.{digest}", position(revision, epochs)));
        let id = id.filter(|id| id.len() <= ID_LENGTH_MAX && HeaderValue::from_str(id).is_ok());
        Known { id, least: None }
    }

    /// Returns the position that a server must have. A server without it is behind.
    pub(super) fn position(&self) -> Option<&str> {
        self.parts().map(|(position, _)| position).or(self.least.as_deref())
    }

    /// Returns whether this was published before `known`. Only epochs decide.
    pub(super) fn is_older_than(&self, known: &Known) -> bool {
        let positions = self.position().zip(known.position());
        positions.is_some_and(|(position, known)| order::is_older(position, known))
    }

    /// Returns the entity tag of the configuration as a plain answer of Headwater.
    pub(super) fn etag(&self) -> Option<String> {
        self.parts().map(|(_, digest)| format!("W/\"{digest}.v1\""))
    }

    /// Splits the id into position and digest.
    fn parts(&self) -> Option<(&str, &str)> {
        self.id.as_deref()?.rsplit_once('.')
    }
}

/// Joins a revision and the epochs in which it was published.
fn position(revision: &str, epochs: Option<&str>) -> String {
    match epochs {
        Some(epochs) => format!("{revision}.{epochs}"),
        None => revision.to_owned(),
    }
}

/// Returns whether a Headwater server accepts a revision in a request. The revisions of other servers may have any form.
fn is_comparable(revision: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b',';
    revision.len() <= ID_LENGTH_MAX && !revision.is_empty() && revision.bytes().all(is_plain)
}
