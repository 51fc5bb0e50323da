//! Headwater's side of the comparison: a running server, or sources in this process.

use super::answer::{AskError, KnownLabel, ReceivedEnvironment, SideAnswer};
use super::local::LocalStore;
use super::remote::RemoteServer;
use super::text::ComparedText;
use crate::model::{Label, Query};

/// Headwater's side, which is compared with the Spring server.
pub(super) enum HeadwaterSide {
    /// A running Headwater.
    Running(Box<RemoteServer>),
    /// Sources that this process reads.
    Opened(Box<LocalStore>),
}

impl HeadwaterSide {
    /// The name for reports.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Running(remote) => remote.name(),
            Self::Opened(local) => local.name(),
        }
    }

    /// The bases of the names of its sources, as far as they are known.
    pub(super) fn bases(&self) -> &[String] {
        match self {
            Self::Running(_) => &[],
            Self::Opened(local) => &local.bases,
        }
    }

    pub(super) async fn environment(
        &self,
        query: &Query,
    ) -> Result<SideAnswer<ReceivedEnvironment>, AskError> {
        match self {
            Self::Running(remote) => remote.environment(query).await,
            Self::Opened(local) => local.environment(query).await,
        }
    }

    pub(super) async fn text(
        &self,
        query: &Query,
        text: &ComparedText,
    ) -> Result<SideAnswer<Vec<u8>>, AskError> {
        match self {
            Self::Running(remote) => remote.text(query, text).await,
            Self::Opened(local) => local.text(query, text).await,
        }
    }

    /// The catalogue of a label. `None` if there is no such label.
    pub(super) async fn catalog(&self, label: &Label) -> anyhow::Result<Option<KnownLabel>> {
        match self {
            Self::Running(remote) => remote.catalog(label).await,
            Self::Opened(local) => local.catalog(label).await,
        }
    }

    /// The names of all branches and tags, as far as they can be listed.
    pub(super) async fn label_names(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Running(_) => Ok(Vec::new()),
            Self::Opened(local) => local.label_names().await,
        }
    }
}
