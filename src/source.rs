//! Sources of configuration: versioned trees of files. Sources do all I/O, and everything after a snapshot is pure.

pub mod composite;
pub mod directory;
pub mod etcd;
pub mod files;
pub mod git;
pub mod memory;
pub mod mirror;

mod atomic_replace;
mod content;
mod hints;
mod labels;
mod open;
mod reads;
mod remote;
mod uri;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::model::{Label, LabelPosition, Problem};
use crate::outage::Outage;
use crate::snapshot::Snapshot;
use crate::tree::TreeError;

pub use atomic_replace::Overwrite;
pub use git::Findings;
pub use open::{OpenError, OpenOptions, open, open_hosted, open_incoming, open_path, path_of};
pub use remote::{Remote, Transport};
pub use uri::base_of;

/// A boxed future, which keeps [`Source`] usable as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The reasons for which a source returns no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The source can be read and has no such label.
    #[error("unknown label {0}")]
    UnknownLabel(Label),
    /// The source cannot be read at the moment. The message contains no path and no credential.
    #[error("source {name} is unavailable: {message}")]
    Unavailable {
        /// The stable name of the source.
        name: String,
        /// The reason, for the operator.
        message: String,
    },
}

impl SourceError {
    /// Reports a source as unavailable because one of its trees cannot be read.
    pub fn from_tree(name: &str, error: &TreeError) -> Self {
        Self::Unavailable { name: name.to_owned(), message: error.to_string() }
    }
}

/// The state of the connection of a source to the remote that it copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatus {
    /// The name of the source.
    pub name: String,
    /// The time since the last complete fetch ended, across restarts. `None` if no fetch was ever complete.
    pub fetched_before: Option<std::time::Duration>,
    /// The reason for which the last fetch failed. Contains no path and no credential.
    pub failure: Option<String>,
}

impl RemoteStatus {
    /// Describes a source by the time of its last contact and its outage.
    pub fn of(
        name: &str,
        last_contact: Option<std::time::SystemTime>,
        outage: Option<&Outage>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            fetched_before: last_contact.map(|at| at.elapsed().unwrap_or_default()),
            failure: outage.map(|outage| outage.message.clone()),
        }
    }
}

/// The severity of a finding about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Some requests fail, or the source cannot be read completely. It counts as a fault.
    Problem,
    /// Every request is answered, and an operator should look at the source once.
    Warning,
}

/// A fault of a source itself, which does not depend on the environment that is requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceProblem {
    /// The name of the source.
    pub source: String,
    /// The severity, which decides whether it counts as a fault.
    pub severity: Severity,
    /// Its place and a message. Contains no value of a property.
    pub problem: Problem,
}

/// One origin of configuration. A composite of sources is a source itself.
///
/// Several tasks may call `load` for the same label at the same time.
///
/// Invariant: `changed` is level-triggered. It returns at once if the label has already moved past `seen`, may return
/// early or twice for one change, and misses none.
///
/// Cancellation: a dropped future of `changed` ends everything that it started.
pub trait Source: Send + Sync + 'static {
    /// The stable base of this source's names in answers: the configured URI without credentials, or its name.
    fn name(&self) -> &str;

    /// The expanded `application/profiles` globs of the requests that this source answers. Empty for all requests. A
    /// composite treats sources with globs as alternatives.
    fn patterns(&self) -> &[String] {
        &[]
    }

    /// The outage of a part of this source while `load` still succeeds. A composite keeps serving the last good snapshot of
    /// an unreachable source.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// The state of the remotes of this source. Empty for a source that is read in place.
    fn remotes(&self) -> Vec<RemoteStatus> {
        Vec::new()
    }

    /// The faults of the source beyond files that do not parse. Bounded, and answered from memory.
    fn problems(&self) -> Vec<SourceProblem> {
        Vec::new()
    }

    /// Takes a hint that something may have changed and checks now instead of at the next interval. Returns at once, and
    /// wakes a waiter only if something changed.
    fn look_again(&self) {}

    /// The sorted names of the present branches and tags. Empty for a source that cannot list its labels.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] when the source itself cannot be read.
    fn label_names(&self) -> BoxFuture<'_, Result<Vec<String>, SourceError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Loads the present snapshot of the label. Content that `previous` holds is shared and not read again.
    ///
    /// # Errors
    /// [`SourceError::UnknownLabel`] for a label that the source does not have, in any syntax,
    /// [`SourceError::Unavailable`] when the source itself cannot be read.
    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>>;

    /// Waits until the label may stand for something other than `seen`. The same revision in another epoch is another
    /// position.
    ///
    /// # Errors
    /// As for [`Source::load`]. The caller waits and tries again.
    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a LabelPosition,
    ) -> BoxFuture<'a, Result<(), SourceError>>;
}

/// Runs the I/O of a source on a blocking thread.
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
