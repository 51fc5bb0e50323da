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
use super::replication::{Replication, ReplicationTasks, SharedSource};
use super::repository::HostedRepository;
use super::session::Sessions;
use super::waiting::{ReplicaCounter, Waits};
use crate::data::DataDirectory;
use crate::fleet::Instances;
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
    _listener: Listener,
    _maintenance: Vec<Maintenance>,
    _replication: Vec<ReplicationTasks>,
    /// Exclusive use of the data directory, for as long as these repositories are served.
    _data: Arc<DataDirectory>,
}

impl Hosts {
    /// Opens the repositories and begins to answer the hook. Git runs `hook_program` as the hook, or without it this
    /// program. The repository of the policy, if there is one, is among those that clients can push to. Pushes can wait for
    /// `instances`.
    ///
    /// # Errors
    /// When the hook or its socket cannot be created.
    pub fn open(
        data: Arc<DataDirectory>,
        hook_program: Option<&Path>,
        repositories: HostedRepositories,
        store: &Arc<Store>,
        policy: PushPolicy,
        instances: &Arc<Instances>,
        runtime: &Handle,
    ) -> std::io::Result<Self> {
        let hooks = hook::install(data.path(), hook_program)?;
        let git = Arc::new(GitProgram::new(hooks, &policy, Arc::clone(&data)));
        let sessions = Arc::new(Sessions::default());
        let listener = Listener::open(data.path(), Arc::clone(&sessions), runtime)?;
        let admission = Arc::new(Admission::new());
        let waits = Arc::new(Waits::new(Arc::clone(instances)));
        let policy = Arc::new(policy);
        let (of_policy, in_force) = repositories.policy.unzip();
        let hosted = repositories.sources.into_iter().map(|hosted| (hosted, None));
        let hosted = hosted.chain(of_policy.map(|hosted| (hosted, in_force.clone())));
        let (mut hosts, mut maintenance, mut replications) = (BTreeMap::new(), vec![], vec![]);
        for (HostedSource { name, path, source, replication }, hosted_policy) in hosted {
            let (git, store) = (Arc::clone(&git), Arc::clone(store));
            let mut repository =
                HostedRepository::new(name.clone(), path, source, git, store, runtime.clone());
            repository.hosted_policy = hosted_policy;
            let repository = Arc::new(repository);
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
        Ok(Self {
            hosts,
            policy: in_force,
            waits,
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

    /// Ends the waits of pushes for instances, because the server stops.
    pub fn stop_waits(&self) {
        self.waits.stop();
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
