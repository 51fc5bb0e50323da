//! Configuration in etcd, published by `headwater copy` or written by hand.
//!
//! All keys below the prefix are in memory: read at one revision of etcd, and followed from the next revision on. No
//! request reads etcd, and the last state stays served while etcd is unreachable.
//!
//! Invariant: a reader sees a publication completely or not at all, because a published label points to content that is
//! addressed by its hash. Only `publish` and `collect` write.

mod collect;
mod keeper;
mod keys;
mod keyspace;
mod nodes;
mod objects;
mod publish;
mod validate;

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use headwater_etcd::{Access, Address, Cluster};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use self::keys::{SourceKeys, hex};
use self::keyspace::{Keyspace, LabelContent};
use self::nodes::{BrokenTreeError, Nodes};
use crate::areas::Areas;
use crate::model::{ContentId, Label, LabelPosition, Problem, Revision};
use crate::outage::{Connectivity, Outage};
use crate::snapshot::{
    Ancestor, CommitSummary, History, Layout, Member, MemberHolds, Rewinds, Snapshot, Style,
    expand_patterns,
};
use crate::source::files::Files;
use crate::source::uri::{PLACEHOLDERS, has_placeholder};
use crate::source::{
    BoxFuture, OpenError, OpenOptions, RemoteStatus, Severity, Source, SourceError, SourceProblem,
    blocking, labels,
};
use crate::sync::lock;
use crate::tree::{ObjectCache, Tree, TreeError};

pub use self::publish::{NewRevision, PublishError};
pub use crate::source::files::Content;

/// The label of a request that names none.
const DEFAULT_LABEL: &str = "main";
/// The longest that a request waits for the first complete read of the keys.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest that a command waits for the keys.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(60);
/// The time without an event after which a manual change counts as complete: people write one file after the other.
const QUIET: Duration = Duration::from_millis(50);
/// The longest wait for a pause in the changes.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// A prefix in an etcd cluster as a source.
pub struct EtcdSource {
    inner: Arc<EtcdInner>,
    _keeper: AbortOnDropHandle<()>,
}

struct EtcdInner {
    layout: Arc<Layout>,
    default_label: String,
    cluster: Cluster,
    keys: SourceKeys,
    keyspace: Mutex<Keyspace>,
    /// The faults of the keys, as of the last validation.
    problems: Mutex<Vec<Problem>>,
    nodes: Arc<Nodes>,
    cache: Arc<ObjectCache>,
    state: watch::Sender<FollowState>,
}

/// The state of the task that follows etcd. Each change of it wakes the tasks that wait for a label.
#[derive(Default)]
struct FollowState {
    /// Set once all keys were read.
    is_read: bool,
    /// Set once the keys were validated.
    is_validated: bool,
    /// The time of the last message from etcd.
    last_contact: Option<SystemTime>,
    connectivity: Connectivity,
    /// The number of failed connections.
    failed_count: u64,
}

impl EtcdSource {
    /// Begins to follow a cluster. Returns at once.
    ///
    /// # Errors
    /// When the address, the credentials or the TLS files cannot be used.
    pub fn open(
        uri: &str,
        options: OpenOptions,
        access: Access,
        runtime: &Handle,
    ) -> Result<Self, OpenError> {
        if has_placeholder(uri) {
            return Err(OpenError::Malformed { reason: PLACEHOLDERS });
        }
        let address =
            Address::parse(uri).map_err(|error| OpenError::Malformed { reason: error.0 })?;
        check_access(&address, &access)?;
        let base = options.name.unwrap_or_else(|| format!("etcd:{}", address.prefix));
        let keys = SourceKeys::new(&address.prefix);
        let nodes = Arc::<Nodes>::default();
        let inner = Arc::new(EtcdInner {
            layout: Arc::new(Layout {
                base: base.into(),
                style: Style::Git,
                search_paths: options.search_paths,
                patterns: expand_patterns(&options.patterns),
                toml: options.toml,
                json: options.json,
            }),
            default_label: options.default_label.unwrap_or_else(|| DEFAULT_LABEL.to_owned()),
            cluster: Cluster { probe: keys.all().to_owned(), address, access },
            keys,
            keyspace: Mutex::default(),
            problems: Mutex::default(),
            cache: ObjectCache::new(Arc::clone(&nodes) as Arc<_>),
            nodes,
            state: watch::Sender::default(),
        });
        let keeper = runtime.spawn(keeper::keep(Arc::clone(&inner)));
        Ok(Self { inner, _keeper: AbortOnDropHandle::new(keeper) })
    }
}

/// Checks the credentials and TLS files at start, so that their faults do not wait for the first connection.
///
/// # Errors
/// When they cannot be used.
pub fn check_access(address: &Address, access: &Access) -> Result<(), OpenError> {
    if access.client.is_some() && access.ca_file.is_none() {
        let reason = "client_cert_file and client_key_file require a ca_file, because they are used with TLS only";
        return Err(OpenError::Malformed { reason });
    }
    let Some(login) = &access.login else { return Ok(()) };
    if access.ca_file.is_none() && !address.is_loopback() {
        let reason = "credentials require a ca_file where etcd is on another host: they are not sent in clear text";
        return Err(OpenError::Malformed { reason });
    }
    login().map(drop).map_err(|problem| OpenError::Access { problem })
}

impl EtcdSource {
    /// Returns when all keys were read and validated, or when every member has failed. For a command, which asks only once.
    pub async fn settled(&self) {
        let member_count = self.inner.cluster.address.endpoints.len() as u64;
        let mut state = self.inner.state.subscribe();
        let settled =
            state.wait_for(|state| state.is_validated || state.failed_count >= member_count);
        // A command goes on with the state that it finds after the wait.
        let _ = timeout(SETTLE_WAIT_MAX, settled).await;
    }

    /// The snapshot of a label as it would be after a publication of these files.
    ///
    /// # Errors
    /// The reason for which they cannot be published.
    pub fn preview(&self, label: &str, files: &Files) -> Result<Snapshot, String> {
        let (tree, objects) = objects::tree(files)?;
        let found = LabelContent::Manual { tree, objects: Arc::new(objects) };
        let member = self.inner.member(&Keyspace::default(), label, found);
        Ok(labels::combine(vec![member.map_err(|why| why.0)?]))
    }
}

impl Source for EtcdSource {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn patterns(&self) -> &[String] {
        &self.inner.layout.patterns
    }

    fn outage(&self) -> Option<Outage> {
        self.inner.state.borrow().connectivity.outage().cloned()
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        let state = self.inner.state.borrow();
        vec![RemoteStatus::of(self.name(), state.last_contact, state.connectivity.outage())]
    }

    fn problems(&self) -> Vec<SourceProblem> {
        let problems = lock(&self.inner.problems).clone().into_iter();
        let source = self.name();
        let severity = Severity::Problem;
        problems
            .map(|problem| SourceProblem { source: source.to_owned(), severity, problem })
            .collect()
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        _previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            self.inner.read().await?;
            let (inner, label) = (Arc::clone(&self.inner), label.clone());
            blocking(self.name(), move || inner.snapshot(&label)).await
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a LabelPosition,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut state = self.inner.state.subscribe();
            loop {
                let is_read = state.borrow_and_update().is_read;
                if is_read {
                    let (inner, label) = (Arc::clone(&self.inner), label.clone());
                    let (revision, provenance) =
                        blocking(self.name(), move || inner.revision(&label)).await?;
                    if revision != seen.revision {
                        if provenance == Provenance::Manual {
                            self.inner.quiet().await;
                        }
                        return Ok(());
                    }
                }
                // The sender lives as long as this source does.
                let _ = state.changed().await;
            }
        })
    }
}

/// The origin of the content of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provenance {
    /// Published as a whole.
    Published,
    /// At least one label of the list consists of files written by hand.
    Manual,
}

impl EtcdInner {
    fn name(&self) -> &str {
        &self.layout.base
    }

    /// Returns once all keys were read. Before that, waits for the first attempt.
    async fn read(&self) -> Result<(), SourceError> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| state.is_read || state.failed_count > 0);
        // The state after the wait decides, whether it ended in time or not.
        let _ = timeout(READ_WAIT_MAX, settled).await;
        let state = self.state.borrow();
        if state.is_read {
            return Ok(());
        }
        let reason = state.connectivity.outage().map(|outage| outage.message.clone());
        Err(self.unavailable(reason.unwrap_or_else(|| {
            "its keys are being read for the first time. Try again in a few seconds".to_owned()
        })))
    }

    fn unavailable(&self, message: String) -> SourceError {
        SourceError::Unavailable { name: self.name().to_owned(), message }
    }

    /// The content of each name in a label, in the order of the request.
    fn find(
        &self,
        keyspace: &Keyspace,
        label: &Label,
    ) -> Result<Vec<(String, LabelContent)>, SourceError> {
        let unknown = || SourceError::UnknownLabel(label.clone());
        let mut found = Vec::new();
        for name in labels::names(label)? {
            let name = name.filter(|name| *name != "HEAD").unwrap_or(&self.default_label);
            if !keys::is_label(name) {
                return Err(unknown());
            }
            let one = keyspace.find(name).map_err(|why| self.broken(name, &why.0))?;
            found.push(one.ok_or_else(unknown)?);
        }
        Ok(found)
    }

    fn broken(&self, name: &str, why: &str) -> SourceError {
        self.unavailable(format!("label {name}: {why}"))
    }

    fn revision(&self, label: &Label) -> Result<(Revision, Provenance), SourceError> {
        let found = self.find(&lock(&self.keyspace), label)?;
        let mut provenance = Provenance::Published;
        let revisions = found.into_iter().map(|(_, found)| match found {
            LabelContent::Published { commit, .. } => hex(commit),
            LabelContent::Manual { tree, .. } => {
                provenance = Provenance::Manual;
                hex(tree)
            }
        });
        let revisions: Vec<String> = revisions.collect();
        Ok((Revision::new(revisions.join(",")), provenance))
    }

    fn snapshot(self: &Arc<Self>, label: &Label) -> Result<Snapshot, SourceError> {
        let keyspace = lock(&self.keyspace);
        let members = self.find(&keyspace, label)?.into_iter().map(|(name, found)| {
            self.member(&keyspace, &name, found).map_err(|why| self.broken(&name, &why.0))
        });
        Ok(labels::combine(members.collect::<Result<_, _>>()?))
    }

    fn member(
        self: &Arc<Self>,
        keyspace: &Keyspace,
        name: &str,
        found: LabelContent,
    ) -> Result<Member, BrokenTreeError> {
        let mut member = Member {
            areas: Areas::default(),
            group: 0,
            layout: Arc::clone(&self.layout),
            revision: Revision::new(""),
            label: Some(name.into()),
            overlays: Vec::new(),
            tree: self.cache.tree(ContentId::from_bytes(&[])),
            history: None,
            rewinds: Rewinds::default(),
            holds: MemberHolds::default(),
            made_seconds: None,
            commit: None,
        };
        match found {
            LabelContent::Manual { tree, objects } => {
                member.revision = Revision::new(hex(tree));
                member.tree = self.tree(tree, &|id| objects.get(&id).cloned())?;
            }
            LabelContent::Published { commit: id, is_tip } => {
                let commit = keyspace.commit(id).ok_or_else(|| {
                    BrokenTreeError(format!("revision {} is missing, or is no revision", hex(id)))
                })?;
                member.revision = Revision::new(hex(id));
                member.tree = self.tree(commit.tree, &|id| keyspace.object(id))?;
                member.made_seconds = Some(commit.seconds);
                member.commit = Some(Arc::new(CommitSummary::new(&commit.author, &commit.subject)));
                member.history = is_tip
                    .then(|| Arc::new(EtcdHistory { inner: Arc::clone(self), tip: id }) as Arc<_>);
            }
        }
        Ok(member)
    }

    fn tree(&self, id: ContentId, find: nodes::Find<'_>) -> Result<Tree, BrokenTreeError> {
        let (root, node) = self.nodes.root(id, find)?;
        Ok(self.cache.tree_keeping(root, node as Arc<dyn Any + Send + Sync>))
    }

    /// Waits until changes pause, up to a limit.
    async fn quiet(&self) {
        let mut state = self.state.subscribe();
        let end = Instant::now() + QUIET_MAX;
        while Instant::now() < end && timeout(QUIET, state.changed()).await.is_ok() {}
    }
}

struct EtcdHistory {
    inner: Arc<EtcdInner>,
    tip: ContentId,
}

impl History for EtcdHistory {
    fn ancestors(&self) -> Box<dyn Iterator<Item = Result<Ancestor, TreeError>> + '_> {
        let line: Vec<_> = lock(&self.inner.keyspace).line(self.tip).collect();
        let followed: Vec<i64> = line.iter().map(|(_, commit)| commit.seconds).collect();
        let ancestors = line.into_iter().skip(1).zip(followed);
        Box::new(ancestors.map(|((id, commit), followed_seconds)| {
            let keyspace = lock(&self.inner.keyspace);
            let tree = self.inner.tree(commit.tree, &|id| keyspace.object(id));
            Ok(Ancestor {
                revision: Revision::new(hex(id)),
                tree: tree.map_err(|why| TreeError(why.0))?,
                followed_seconds: Some(followed_seconds),
            })
        }))
    }
}
