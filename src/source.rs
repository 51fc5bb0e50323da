//! Where configuration comes from: a versioned tree of files. Sources do I/O; right of the snapshot there is none.

pub mod composite;
pub mod directory;
pub mod etcd;
pub mod files;
pub mod git;
pub mod memory;
pub mod mirror;

mod beside;
mod content;
mod hints;
mod labels;
mod open;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::model::{Label, Problem, Revision};
use crate::snapshot::Snapshot;
use crate::tree::TreeError;

pub use beside::Standing;
pub use open::{OpenError, OpenOptions, open, open_hosted, open_incoming, open_path, path_of};

/// A boxed future, so that a source can stand behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a source gives no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The source is there and has no such label.
    #[error("unknown label {0}")]
    UnknownLabel(Label),
    /// The source cannot be read just now. The message holds no path and no credential.
    #[error("source {name} is unavailable: {message}")]
    Unavailable {
        /// The stable name of the source.
        name: String,
        /// What the operator should read.
        message: String,
    },
}

impl SourceError {
    /// A tree that cannot be read makes its source unavailable.
    pub fn from_tree(name: &str, error: &TreeError) -> Self {
        Self::Unavailable { name: name.to_owned(), message: error.to_string() }
    }
}

/// Since when, and why, a part of a source cannot be read.
#[derive(Debug, Clone)]
pub struct Outage {
    /// When it was noticed.
    pub since: std::time::Instant,
    /// The first error.
    pub message: String,
}

/// How a source that copies from elsewhere stands to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatus {
    /// The name of the source.
    pub name: String,
    /// How long ago the last fetch ended that brought all there is; `None` if none ever did. Counted over restarts.
    pub fetched_before: Option<std::time::Duration>,
    /// Why the last fetch failed, if it did. Holds no path and no credential.
    pub failure: Option<String>,
}

impl RemoteStatus {
    /// Of a source that was heard of last at a time, and is or is not away.
    pub fn of(name: &str, heard: Option<std::time::SystemTime>, outage: Option<&Outage>) -> Self {
        Self {
            name: name.to_owned(),
            fetched_before: heard.map(|at| at.elapsed().unwrap_or_default()),
            failure: outage.map(|outage| outage.message.clone()),
        }
    }
}

/// What is wrong in a source itself, whoever asks for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceProblem {
    /// The name of the source.
    pub source: String,
    /// Where and what. Holds no value.
    pub problem: Problem,
}

/// One place that configuration comes from; a composite of sources is a source.
///
/// `load` may be called for the same label at the same time from several tasks. `changed` is level-triggered: it
/// returns at once if the label has already moved past `seen`, may return early or twice for one change, and never
/// misses one. Dropping its future ends all that it started.
pub trait Source: Send + Sync + 'static {
    /// The stable base of this source's names in answers: the configured URI without credentials, or its name.
    fn name(&self) -> &str;

    /// The `application/profiles` globs that this source is asked for, expanded; empty for all. A composite makes
    /// alternatives of the sources that have some.
    fn patterns(&self) -> &[String] {
        &[]
    }

    /// What of this source cannot be read just now although `load` gives something: a composite goes on with the last good
    /// snapshot of a source that is away.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// How the remotes of this source stand; empty for what is read in place.
    fn remotes(&self) -> Vec<RemoteStatus> {
        Vec::new()
    }

    /// What is wrong with what the source is made of, beyond files that do not parse; bounded, and known without asking
    /// anybody.
    fn problems(&self) -> Vec<SourceProblem> {
        Vec::new()
    }

    /// Somebody says that something may have changed: what would be looked for sooner or later is looked for now. Returns
    /// at once; nobody is woken unless something really changed.
    fn look_again(&self) {}

    /// Loads what the label stands for now. Content that `previous` already holds is shared, not read again.
    ///
    /// # Errors
    /// [`SourceError::UnknownLabel`] for a label that the source does not have (whatever its syntax),
    /// [`SourceError::Unavailable`] when the source itself cannot be read.
    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>>;

    /// Waits until the label may stand for something other than `seen`.
    ///
    /// # Errors
    /// As for [`Source::load`]; the caller backs off and asks again.
    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a Revision,
    ) -> BoxFuture<'a, Result<(), SourceError>>;
}

/// Runs I/O of a source on a blocking thread.
async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(SourceError::Unavailable {
            name: name.to_owned(),
            message: "reading was interrupted".to_owned(),
        }),
    }
}
