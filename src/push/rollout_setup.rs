//! The start of the rollouts of hosted repositories: their states are read, and their holds published, before any request.

use std::path::Path;
use std::sync::Arc;

use headwater_rollout::Name;
use tokio::runtime::Handle;

use super::repository::HostedRepository;
use super::rollouts::{RepositoryRollouts, RolloutPolicy};
use crate::conduct::{
    CheckDefinition, EventSink, HoldPublisher, Keeper, KeeperParts, Ledger, LedgerError,
    ReplicaGroup, RolloutFigures, Tips,
};
use crate::fleet::Instances;
use crate::source::git::{GitSource, Incoming};
use crate::store::Store;

/// What the rollouts of all repositories have in common.
pub struct RolloutSetup {
    /// The settings.
    pub policy: RolloutPolicy,
    /// The instances of services.
    pub instances: Arc<Instances>,
    /// The receivers of events.
    pub sinks: Arc<[Arc<dyn EventSink>]>,
    /// The figures of all rollouts.
    pub figures: Arc<RolloutFigures>,
    /// The name of this server.
    pub replica: String,
    /// The checks that plans can name.
    pub checks: Arc<[CheckDefinition]>,
    /// True if the states are put aside, so that every tip is served.
    pub is_forgetting: bool,
}

impl RolloutSetup {
    /// Opens the rollouts of a repository, and publishes their holds. Blocking.
    ///
    /// # Errors
    /// When the state cannot be used.
    pub(super) fn open(
        &self,
        repository: &HostedRepository,
        store: &Arc<Store>,
        group: Option<Arc<dyn ReplicaGroup>>,
    ) -> Result<RepositoryRollouts, LedgerError> {
        let path: &Path = &repository.path;
        if self.is_forgetting {
            Ledger::forget(path)?;
        }
        let unreadable = |reason: String| LedgerError::Unusable { path: path.to_owned(), reason };
        let incoming = repository.incoming(None).map_err(|error| unreadable(error.to_string()))?;
        let tips = RepositoryTips { source: &repository.source, incoming };
        let (sinks, faults) = (Arc::clone(&self.sinks), Arc::clone(&store.faults));
        let head = repository.source.head_branch();
        let ledger = Ledger::open(&repository.name, head.as_deref(), path, &tips, sinks, faults)?;
        let ledger = if group.is_some() { ledger.shared() } else { ledger };
        let holds = ledger.holds();
        if !holds.is_empty() {
            let published = repository.source.publish_with_holds(&[], |_| holds.clone());
            published.map_err(|error| unreadable(error.to_string()))?;
        }
        Ok(RepositoryRollouts {
            ledger: Arc::new(ledger),
            instances: Arc::clone(&self.instances),
            settings: self.policy.clone(),
            group,
        })
    }

    /// Starts the keeper of a repository with rollouts.
    pub(super) fn keep(
        &self,
        repository: &Arc<HostedRepository>,
        store: &Arc<Store>,
        runtime: &Handle,
    ) -> Option<Arc<Keeper>> {
        let rollouts = repository.rollouts.as_ref()?;
        let ledger = Arc::clone(&rollouts.ledger);
        let publisher = Arc::clone(repository) as Arc<dyn HoldPublisher>;
        let parts = KeeperParts {
            store: Arc::clone(store),
            instances: Arc::clone(&self.instances),
            figures: Arc::clone(&self.figures),
            replica: Name::from(self.replica.as_str()),
            checks: Arc::clone(&self.checks),
            group: rollouts.group.clone(),
        };
        Some(Keeper::start(ledger, publisher, parts, runtime))
    }
}

/// The branches of a repository that is being opened.
struct RepositoryTips<'a> {
    source: &'a GitSource,
    incoming: Incoming,
}

impl Tips for RepositoryTips<'_> {
    fn tip(&self, branch: &str) -> Option<String> {
        self.source.published(&format!("refs/heads/{branch}"))
    }

    fn contains(&self, tip: &str, commit: &str) -> bool {
        self.incoming.follows(tip, commit).unwrap_or(false)
    }

    fn has_commit(&self, commit: &str) -> bool {
        matches!(self.incoming.commit(commit), Ok(Some(_)))
    }
}
