//! A shared repository as a source: what git has, once it is known what there is to be had.

use std::sync::Arc;

use super::Share;
use crate::model::{Label, Revision};
use crate::snapshot::Snapshot;
use crate::source::git::GitSource;
use crate::source::{BoxFuture, Outage, RemoteStatus, Source, SourceError};

/// What is said before anything was heard.
const UNHEARD: &str = "what is in the repository was not heard from etcd yet";

/// A hosted repository that others have as well.
pub struct SharedSource {
    share: Arc<Share>,
    git: Arc<GitSource>,
}

impl SharedSource {
    pub(super) fn new(share: Arc<Share>, git: Arc<GitSource>) -> Self {
        Self { share, git }
    }

    /// An empty configuration is never taken for what nobody has heard of yet.
    fn check_heard(&self) -> Result<(), SourceError> {
        let standing = self.share.standing.borrow();
        if standing.mark.is_some() {
            return Ok(());
        }
        let reason = standing.refused.clone().or_else(|| Some(standing.outage()?.message.clone()));
        Err(SourceError::Unavailable {
            name: self.name().to_owned(),
            message: reason.unwrap_or_else(|| UNHEARD.to_owned()),
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
        self.share.standing.borrow().outage().cloned()
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        let standing = self.share.standing.borrow();
        vec![RemoteStatus::of(self.name(), standing.heard, standing.outage())]
    }

    fn look_again(&self) {
        self.share.bell.notify_one();
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            self.check_heard()?;
            self.git.load(label, previous).await
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a Revision,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        self.git.changed(label, seen)
    }
}
