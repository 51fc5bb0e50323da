//! The repositories that this server hosts, with the tasks that keep them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::admission::Admission;
use super::command::GitProgram;
use super::hook;
use super::host::Host;
use super::listener::Listener;
use super::maintenance::Maintenance;
use super::policy::PushPolicy;
use super::policy_repository::{HostedPolicy, PolicyRepository};
use super::prepare::RepositoryError;
use super::replication::{Fleet, Replication, ReplicationTasks, RepositoryGroup, SharedSource};
use super::repository::HostedRepository;
use super::rollout_setup::RolloutSetup;
use super::session::Sessions;
use super::waiting::{ReplicaCounter, Waits};
use crate::conduct::{Conduct, LedgerError, ReplicaGroup};
use crate::data::DataDirectory;
use crate::source::Source;
use crate::source::git::GitSource;
use crate::store::Store;

/// The maximum wait of a server's start for each shared repository.
const READY_MAX: Duration = Duration::from_secs(10);

/// An open hosted repository that a server will serve.
pub struct HostedSource {
    /// The repository's name, without `.git`.
    pub name: String,
    /// The repository's directory.
    pub path: PathBuf,
    /// The source that reads the repository.
    pub source: Arc<GitSource>,
    /// The replication through etcd, if replicas share the repository.
    pub replication: Option<Arc<Replication>>,
}

impl HostedSource {
    /// Returns the source to serve. A shared repository serves nothing before its content in etcd is known.
    pub fn source(&self) -> Arc<dyn Source> {
        let source = Arc::clone(&self.source);
        match &self.replication {
            Some(replication) => Arc::new(SharedSource::new(Arc::clone(replication), source)),
            None => source,
        }
    }

    /// Returns the repository as the policy reads it.
    pub fn policy_repository(&self) -> PolicyRepository {
        PolicyRepository::new(&self.name, &self.source)
    }
}

/// The reason why repositories cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The hook cannot be installed.
    #[error("the hook of hosted repositories cannot be installed: {0}")]
    Hook(#[from] std::io::Error),
    /// The rollouts of a repository cannot be used.
    #[error(transparent)]
    Rollouts(#[from] LedgerError),
}

/// The repositories to open.
pub struct HostedRepositories {
    /// The sources of configuration.
    pub sources: Vec<HostedSource>,
    /// The repository of the policy, with the policy that follows it.
    pub policy: Option<(HostedSource, Arc<dyn HostedPolicy>)>,
}

/// The repositories that this server hosts.
pub struct Hosts {
    hosts: BTreeMap<String, Arc<Host>>,
    /// The policy that follows one of the repositories.
    policy: Option<Arc<dyn HostedPolicy>>,
    waits: Arc<Waits>,
    conduct: Arc<Conduct>,
    _listener: Listener,
    _maintenance: Vec<Maintenance>,
    _replication: Vec<ReplicationTasks>,
    /// Exclusive use of the data directory, for as long as these repositories are served.
    _data: Arc<DataDirectory>,
}

impl Hosts {
    /// Opens the repositories and begins to answer the hook. Git runs `hook_program` as the hook, or without it this
    /// program. The repository of the policy, if there is one, is among those that clients can push to.
    ///
    /// # Errors
    /// When the hook or its socket cannot be created, or the rollouts of a repository cannot be used.
    pub fn open(
        data: Arc<DataDirectory>,
        hook_program: Option<&Path>,
        repositories: HostedRepositories,
        store: &Arc<Store>,
        policy: PushPolicy,
        setup: RolloutSetup,
        runtime: &Handle,
    ) -> Result<Self, HostsError> {
        let instances = Arc::clone(&setup.instances);
        let hooks = hook::install(data.path(), hook_program)?;
        let git = Arc::new(GitProgram::new(hooks, &policy, Arc::clone(&data)));
        let sessions = Arc::new(Sessions::default());
        let listener = Listener::open(data.path(), Arc::clone(&sessions), runtime)?;
        let admission = Arc::new(Admission::new());
        let waits = Arc::new(Waits::new(instances));
        let policy = Arc::new(policy);
        let (of_policy, in_force) = repositories.policy.unzip();
        let hosted = repositories.sources.into_iter().map(|hosted| (hosted, None));
        let hosted = hosted.chain(of_policy.map(|hosted| (hosted, in_force.clone())));
        let (mut hosts, mut maintenance, mut replications) = (BTreeMap::new(), vec![], vec![]);
        let mut keepers = Vec::new();
        for (HostedSource { name, path, source, replication }, hosted_policy) in hosted {
            let mut repository = HostedRepository::new(
                name.clone(),
                path,
                source,
                Arc::clone(&git),
                Arc::clone(store),
                runtime.clone(),
            );
            repository.hosted_policy = hosted_policy;
            if repository.hosted_policy.is_none() {
                let group = replication.as_ref().map(RepositoryGroup::new);
                let group = group.map(|group| Arc::new(group) as Arc<dyn ReplicaGroup>);
                repository.rollouts = Some(setup.open(&repository, store, group)?);
            }
            let repository = Arc::new(repository);
            keepers.extend(setup.keep(&repository, store, runtime));
            maintenance.push(Maintenance::start(&repository, runtime));
            if let Some(replication) = &replication {
                replications.push(ReplicationTasks::start(&repository, replication, runtime));
            }
            let host = Host {
                repository,
                replication,
                policy: Arc::clone(&policy),
                sessions: Arc::clone(&sessions),
                admission: Arc::clone(&admission),
                waits: Arc::clone(&waits),
            };
            hosts.insert(name, Arc::new(host));
        }
        let conduct = Arc::new(Conduct::new(keepers, runtime));
        waits.follow_rollouts_of(Arc::clone(&conduct));
        Ok(Self {
            hosts,
            policy: in_force,
            waits,
            conduct,
            _listener: listener,
            _maintenance: maintenance,
            _replication: replications,
            _data: data,
        })
    }

    /// Waits a bounded time for each shared repository. A repository that is not loaded by then is served once it is
    /// loaded.
    ///
    /// # Errors
    /// When a repository cannot be shared.
    pub fn ready(&self) -> impl Future<Output = Result<(), RepositoryError>> + Send + use<> {
        let hosts = self.hosts.values();
        let shared = hosts
            .filter_map(|host| Some((host.replication.clone()?, host.repository.path.clone())));
        let shared: Vec<_> = shared.collect();
        async move {
            for (replication, path) in shared {
                let ready = replication.ready(READY_MAX).await;
                ready.map_err(|reason| RepositoryError::Shared { path, reason })?;
            }
            Ok(())
        }
    }

    /// Sets the function that counts the other live replicas. Their instances are not known here, and a push that waits
    /// reports that.
    pub fn count_replicas_by(&self, counter: ReplicaCounter) {
        self.waits.count_replicas_by(counter);
    }

    /// Sets the other replicas of the fleet, which share the rollouts of shared repositories.
    pub fn follow_fleet(&self, fleet: Fleet) {
        let fleet = Arc::new(fleet);
        let replications = self.hosts.values().filter_map(|host| host.replication.as_ref());
        replications.for_each(|replication| replication.set_fleet(&fleet));
    }

    /// The names of the repositories that replicas share and that have rollouts.
    pub fn shared_rollouts(&self) -> Vec<String> {
        let is_shared =
            |host: &&Arc<Host>| host.replication.is_some() && host.repository.rollouts.is_some();
        let hosts = self.hosts.values().filter(is_shared);
        hosts.map(|host| host.repository.name.clone()).collect()
    }

    /// Ends the waits of pushes for instances, because the server stops.
    pub fn stop_waits(&self) {
        self.waits.stop();
    }

    /// The rollouts of all repositories.
    pub fn conduct(&self) -> &Arc<Conduct> {
        &self.conduct
    }

    /// Returns true if the source with this name is a repository with rollouts.
    pub fn has_rollouts(&self, source: &str) -> bool {
        let mut hosts = self.hosts.values().map(|host| &host.repository);
        hosts.any(|own| own.rollouts.is_some() && own.source.name() == source)
    }

    /// Looks a repository up by name. The name never becomes part of a path.
    pub fn get(&self, name: &str) -> Option<&Arc<Host>> {
        self.hosts.get(name)
    }

    /// The names of the repositories with configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let hosts = self.hosts.iter().filter(|(_, host)| !host.has_policy());
        hosts.map(|(name, _)| name.as_str())
    }

    /// The policy that follows a hosted repository.
    pub fn policy(&self) -> Option<&Arc<dyn HostedPolicy>> {
        self.policy.as_ref()
    }

    /// Returns true if a repository has the policy. Only principals with the right to change the policy may use it.
    pub fn has_policy(&self, name: &str) -> bool {
        self.hosts.get(name).is_some_and(|host| host.has_policy())
    }

    /// Waits a bounded time until the repository of the policy has every push that etcd has.
    pub fn policy_caught_up(&self, wait_max: Duration) -> impl Future<Output = ()> + Send + use<> {
        let host = self.hosts.values().find(|host| host.has_policy());
        let replication = host.and_then(|host| host.replication.clone());
        async move {
            if let Some(replication) = replication {
                replication.catch_up(wait_max).await;
            }
        }
    }
}
