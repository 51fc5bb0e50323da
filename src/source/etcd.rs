//! An etcd cluster that configuration is published to, or put into by hand.
//!
//! All keys below the prefix are kept in memory, as they were at one revision of etcd and then followed from the next one
//! on: no request touches etcd, and while etcd is away what was there last goes on being served. What a label leads to is
//! content under its own hash, so that a publication is seen whole or not at all. `publish` is the only part that writes.

mod collect;
mod held;
mod judge;
mod keeper;
mod keys;
mod nodes;
mod objects;
mod publish;

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use headwater_etcd::{Access, Address, Cluster};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::held::{Found, Held};
use self::keys::{Keys, hex};
use self::nodes::{Broken, Nodes};
use crate::model::{ContentId, Label, Problem, Revision};
use crate::snapshot::{
    Ancestor, Commit, History, Layout, Member, Snapshot, Style, expand_patterns,
};
use crate::source::files::Files;
use crate::source::open::{PLACEHOLDERS, has_placeholder};
use crate::source::{
    BoxFuture, OpenError, OpenOptions, Outage, RemoteStatus, Source, SourceError, SourceProblem,
    blocking, labels,
};
use crate::sync::lock;
use crate::tree::{Shelf, Tree, TreeError};

pub use self::publish::{Publication, PublishError};
pub use crate::source::files::Content;

/// The label that a request without one gets.
const DEFAULT_LABEL: &str = "main";
/// The longest that a request waits for the keys to be read for the first time.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest that a command waits for it.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Nothing has to happen for so long before a change by hand is taken to be over: people put one file after the other.
const QUIET: Duration = Duration::from_millis(50);
/// The longest wait for quiet.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// A prefix in an etcd cluster as a source.
pub struct EtcdSource {
    inner: Arc<Inner>,
    keeper: AbortHandle,
}

struct Inner {
    layout: Arc<Layout>,
    default_label: String,
    cluster: Cluster,
    keys: Keys,
    held: Mutex<Held>,
    /// What is wrong with them, as far as it was looked at.
    problems: Mutex<Vec<Problem>>,
    nodes: Arc<Nodes>,
    shelf: Arc<Shelf>,
    state: watch::Sender<State>,
}

/// How the following stands. Whoever waits for a change is woken by each change of this.
#[derive(Default)]
struct State {
    /// Whether all keys were read once.
    is_read: bool,
    /// Whether it was looked at what is wrong with them.
    is_judged: bool,
    /// When etcd said something last.
    heard: Option<SystemTime>,
    outage: Option<Outage>,
    /// How many connections failed.
    failed_count: u64,
}

impl Drop for EtcdSource {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl EtcdSource {
    /// Begins to follow a cluster. Returns at once.
    ///
    /// # Errors
    /// When the address, or what is to open the cluster, cannot be used.
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
        let keys = Keys::new(&address.prefix);
        let nodes = Arc::<Nodes>::default();
        let inner = Arc::new(Inner {
            layout: Arc::new(Layout {
                base: base.into(),
                style: Style::Git,
                search_paths: options.search_paths,
                patterns: expand_patterns(&options.patterns),
                json: options.json,
            }),
            default_label: options.default_label.unwrap_or_else(|| DEFAULT_LABEL.to_owned()),
            cluster: Cluster { probe: keys.all().to_owned(), address, access },
            keys,
            held: Mutex::default(),
            problems: Mutex::default(),
            shelf: Shelf::new(Arc::clone(&nodes) as Arc<_>),
            nodes,
            state: watch::Sender::default(),
        });
        let keeper = runtime.spawn(keeper::keep(Arc::clone(&inner))).abort_handle();
        Ok(Self { inner, keeper })
    }
}

/// What is found out at the first connection is found out here where that can be.
///
/// # Errors
/// When what is to open the cluster cannot be used.
pub fn check_access(address: &Address, access: &Access) -> Result<(), OpenError> {
    if access.client.is_some() && access.ca_file.is_none() {
        let reason = "client_cert_file and client_key_file are for TLS, which needs a ca_file";
        return Err(OpenError::Malformed { reason });
    }
    let Some(login) = &access.login else { return Ok(()) };
    if access.ca_file.is_none() && !address.is_here() {
        let reason = "credentials are not sent in clear text: etcd elsewhere needs a ca_file";
        return Err(OpenError::Malformed { reason });
    }
    login().map(drop).map_err(|problem| OpenError::Access { problem })
}

impl EtcdSource {
    /// Returns when all keys were read and looked at, or every member was tried in vain: for a command, which asks only once.
    pub async fn settled(&self) {
        let member_count = self.inner.cluster.address.endpoints.len() as u64;
        let mut state = self.inner.state.subscribe();
        let settled = state.wait_for(|state| state.is_judged || state.failed_count >= member_count);
        // Whether in time or not, what there is then counts.
        let _ = timeout(SETTLE_WAIT_MAX, settled).await;
    }

    /// What a label would give if these files were published.
    ///
    /// # Errors
    /// When they cannot be published, in words.
    pub fn preview(&self, label: &str, files: &Files) -> Result<Snapshot, String> {
        let (tree, objects) = objects::tree(files)?;
        let found = Found::ByHand { tree, objects: Arc::new(objects) };
        let member = self.inner.member(&Held::default(), label, found);
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
        self.inner.state.borrow().outage.clone()
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        let state = self.inner.state.borrow();
        vec![RemoteStatus::of(self.name(), state.heard, state.outage.as_ref())]
    }

    fn problems(&self) -> Vec<SourceProblem> {
        let problems = lock(&self.inner.problems).clone().into_iter();
        let source = self.name();
        problems.map(|problem| SourceProblem { source: source.to_owned(), problem }).collect()
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
        seen: &'a Revision,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut state = self.inner.state.subscribe();
            loop {
                let is_read = state.borrow_and_update().is_read;
                if is_read {
                    let (inner, label) = (Arc::clone(&self.inner), label.clone());
                    let (revision, hands) =
                        blocking(self.name(), move || inner.revision(&label)).await?;
                    if revision != *seen {
                        if hands == Hands::Some {
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

/// Whether files that were put by hand are among what a label leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hands {
    None,
    Some,
}

impl Inner {
    fn name(&self) -> &str {
        &self.layout.base
    }

    /// Returns when all keys were read once. While they were not, who asks waits for the first attempt.
    async fn read(&self) -> Result<(), SourceError> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| state.is_read || state.failed_count > 0);
        // Whether in time or not, what there is then counts.
        let _ = timeout(READ_WAIT_MAX, settled).await;
        let state = self.state.borrow();
        if state.is_read {
            return Ok(());
        }
        let reason = state.outage.as_ref().map(|outage| outage.message.clone());
        Err(self.unavailable(reason.unwrap_or_else(|| "its keys are being read".to_owned())))
    }

    fn unavailable(&self, message: String) -> SourceError {
        SourceError::Unavailable { name: self.name().to_owned(), message }
    }

    /// What each name in a label leads to, in the order of the request.
    fn find(&self, held: &Held, label: &Label) -> Result<Vec<(String, Found)>, SourceError> {
        let unknown = || SourceError::UnknownLabel(label.clone());
        let mut found = Vec::new();
        for name in labels::names(label)? {
            let name = name.filter(|name| *name != "HEAD").unwrap_or(&self.default_label);
            if !keys::is_label(name) {
                return Err(unknown());
            }
            let one = held.find(name).map_err(|why| self.broken(name, &why.0))?;
            found.push(one.ok_or_else(unknown)?);
        }
        Ok(found)
    }

    fn broken(&self, name: &str, why: &str) -> SourceError {
        self.unavailable(format!("label {name}: {why}"))
    }

    fn revision(&self, label: &Label) -> Result<(Revision, Hands), SourceError> {
        let found = self.find(&lock(&self.held), label)?;
        let mut hands = Hands::None;
        let revisions = found.into_iter().map(|(_, found)| match found {
            Found::Published { commit, .. } => hex(commit),
            Found::ByHand { tree, .. } => {
                hands = Hands::Some;
                hex(tree)
            }
        });
        let revisions: Vec<String> = revisions.collect();
        Ok((Revision::new(revisions.join(",")), hands))
    }

    fn snapshot(self: &Arc<Self>, label: &Label) -> Result<Snapshot, SourceError> {
        let held = lock(&self.held);
        let members = self.find(&held, label)?.into_iter().map(|(name, found)| {
            self.member(&held, &name, found).map_err(|why| self.broken(&name, &why.0))
        });
        Ok(labels::combine(members.collect::<Result<_, _>>()?))
    }

    fn member(self: &Arc<Self>, held: &Held, name: &str, found: Found) -> Result<Member, Broken> {
        let mut member = Member {
            group: 0,
            layout: Arc::clone(&self.layout),
            revision: Revision::new(""),
            label: Some(name.into()),
            overlays: Vec::new(),
            tree: self.shelf.tree(ContentId::from_bytes(&[])),
            history: None,
            made_seconds: None,
            commit: None,
        };
        match found {
            Found::ByHand { tree, objects } => {
                member.revision = Revision::new(hex(tree));
                member.tree = self.tree(tree, &|id| objects.get(&id).cloned())?;
            }
            Found::Published { commit: id, is_tip } => {
                let commit = held.commit(id).ok_or_else(|| {
                    Broken(format!("revision {} is missing, or is none", hex(id)))
                })?;
                member.revision = Revision::new(hex(id));
                member.tree = self.tree(commit.tree, &|id| held.object(id))?;
                member.made_seconds = Some(commit.seconds);
                member.commit = Some(Arc::new(Commit::new(&commit.author, &commit.subject)));
                member.history =
                    is_tip.then(|| Arc::new(Past { inner: Arc::clone(self), tip: id }) as Arc<_>);
            }
        }
        Ok(member)
    }

    fn tree(&self, id: ContentId, find: nodes::Find<'_>) -> Result<Tree, Broken> {
        let (root, node) = self.nodes.root(id, find)?;
        Ok(self.shelf.tree_keeping(root, node as Arc<dyn Any + Send + Sync>))
    }

    /// Waits until nothing changes for a moment, but not for ever.
    async fn quiet(&self) {
        let mut state = self.state.subscribe();
        let end = Instant::now() + QUIET_MAX;
        while Instant::now() < end && timeout(QUIET, state.changed()).await.is_ok() {}
    }
}

struct Past {
    inner: Arc<Inner>,
    tip: ContentId,
}

impl History for Past {
    fn ancestors(&self) -> Box<dyn Iterator<Item = Result<Ancestor, TreeError>> + '_> {
        let line: Vec<_> = lock(&self.inner.held).line(self.tip).collect();
        let followed: Vec<i64> = line.iter().map(|(_, commit)| commit.seconds).collect();
        let ancestors = line.into_iter().skip(1).zip(followed);
        Box::new(ancestors.map(|((id, commit), followed_seconds)| {
            let held = lock(&self.inner.held);
            let tree = self.inner.tree(commit.tree, &|id| held.object(id));
            Ok(Ancestor {
                revision: Revision::new(hex(id)),
                tree: tree.map_err(|why| TreeError(why.0))?,
                followed_seconds: Some(followed_seconds),
            })
        }))
    }
}
