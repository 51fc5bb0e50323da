//! A shared repository as a source, which is unavailable until this replica has taken a manifest from etcd.

use std::sync::Arc;

use super::replica::Replication;
use crate::model::{Label, LabelPosition};
use crate::outage::Outage;
use crate::snapshot::Snapshot;
use crate::source::git::GitSource;
use crate::source::{BoxFuture, RemoteStatus, Source, SourceError};

/// The message before this replica has taken a manifest.
const NOT_LOADED: &str = "this replica has not loaded the repository from etcd yet";

/// A hosted repository that replicas share.
pub struct SharedSource {
    replication: Arc<Replication>,
    git: Arc<GitSource>,
}

impl SharedSource {
    /// Wraps the source that reads the repository.
    pub fn new(replication: Arc<Replication>, git: Arc<GitSource>) -> Self {
        Self { replication, git }
    }

    /// Returns an error while the content is unknown.
    ///
    /// Invariant: unknown content never looks like an empty configuration.
    fn check_loaded(&self) -> Result<(), SourceError> {
        let status = self.replication.status.borrow();
        if status.checkpoint.is_some() {
            return Ok(());
        }
        let reason = status.refusal.clone().or_else(|| Some(status.outage()?.message.clone()));
        Err(SourceError::Unavailable {
            name: self.name().to_owned(),
            message: reason.unwrap_or_else(|| NOT_LOADED.to_owned()),
        })
    }
}

impl Source for SharedSource {
    fn name(&self) -> &str {
        self.git.name()
    }

    fn patterns(&self) -> &[String] {
        self.git.patterns()
    }

    fn outage(&self) -> Option<Outage> {
        self.replication.status.borrow().outage().cloned()
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        let status = self.replication.status.borrow();
        vec![RemoteStatus::of(self.name(), status.last_contact, status.outage())]
    }

    fn look_again(&self) {
        self.replication.wake.notify_one();
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            self.check_loaded()?;
            self.git.load(label, previous).await
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a LabelPosition,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        self.git.changed(label, seen)
    }
}
