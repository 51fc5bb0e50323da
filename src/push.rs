//! A push is a conversation. Git's own binary speaks the protocol and keeps what arrives in quarantine; one hook asks this
//! server, which checks, and answers. Nothing is acknowledged before it is durable and published.
//!
//! Nothing here knows HTTP, and nothing here reads a pack.

mod command;
mod exchange;
pub mod hook;
mod host;
mod listener;
mod maintenance;
mod packet;
mod repository;
mod session;
mod share;
mod updates;
mod verdict;
mod wants;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{RwLock, Semaphore, watch};

use crate::data::DataDirectory;
use crate::model::PropertySource;
use crate::source::Source;
use crate::source::git::GitSource;
use crate::store::Store;
use command::Git;
pub use exchange::{Cut, Exchange, Input};
pub use host::Host;
use listener::Listener;
use maintenance::Maintenance;
pub use repository::{RepositoryError, is_name, path_of, prepare};
use session::Sessions;
use share::Following;
pub use share::{Share, SharedSource};

/// The most pushes that are received at a time, of all repositories together.
pub const PUSH_COUNT_MAX: usize = 8;
/// The most clones and fetches that are answered at a time.
pub const FETCH_COUNT_MAX: usize = 32;
/// How long a start waits for what is shared.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// The longest that one clone, fetch or push takes.
const EXCHANGE_MAX: Duration = Duration::from_secs(15 * 60);

/// What git is asked to do for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Clone and fetch.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    /// As the protocol calls it, after `git-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }
}

/// What is asked of a push, and what it may take.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What becomes of a push with problems.
    pub manner: crate::check::Manner,
    /// What is made of a placeholder that nothing resolves.
    pub strictness: crate::check::Strictness,
    /// The server's own properties, above all others.
    pub overrides: Option<PropertySource>,
    /// Whether a branch may be moved to a commit that does not follow the one it is at.
    pub forcing: Permission,
    /// Whether a branch or a tag may be deleted.
    pub deleting: Permission,
    /// The longest that the checks of one push take.
    pub check_max: Duration,
    /// The largest pack that is taken.
    pub pack_bytes_max: u64,
}

/// Whether something is allowed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It is.
    Allowed,
    /// It is refused.
    Denied,
}

/// A hosted repository that is open.
pub struct Hosted {
    /// Its name, without `.git`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The source that is read from it.
    pub source: Arc<GitSource>,
    /// Where it is shared, if it is.
    pub share: Option<Arc<Share>>,
}

impl Hosted {
    /// What is served of it.
    pub fn source(&self) -> Arc<dyn Source> {
        match &self.share {
            Some(share) => Arc::new(share.source(Arc::clone(&self.source))),
            None => Arc::clone(&self.source) as Arc<dyn Source>,
        }
    }
}

/// Why git was not started.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// As many are at it as may be.
    #[error("too many clones, fetches and pushes at a time: try again")]
    Busy,
    /// The client went away, or sent too much.
    #[error("the request was broken off")]
    BrokenOff,
    /// What is in the repository was not heard yet from where it is shared.
    #[error("what is in the repository was not heard from etcd yet")]
    Unheard,
    /// What was moved last is not known to be durable.
    #[error("the repository cannot be written just now: try again")]
    Unwritable,
    /// Git could not be started, or did not do what it was asked.
    #[error("git does not work: {0}")]
    Git(String),
}

/// The repositories that this server hosts.
pub struct Hosts {
    hosts: BTreeMap<String, Arc<Host>>,
    _listener: Listener,
    _maintenance: Vec<Maintenance>,
    _following: Vec<Following>,
    /// Nobody else has it for as long as these are served.
    _data: Arc<DataDirectory>,
}

impl Hosts {
    /// Begins to answer the hook. `hook_program` is the program that the hook is; without it, this one.
    ///
    /// # Errors
    /// When the hook or its socket cannot be made.
    pub fn open(
        data: Arc<DataDirectory>,
        hook_program: Option<&Path>,
        hosted: Vec<Hosted>,
        store: &Arc<Store>,
        terms: Terms,
        runtime: &Handle,
    ) -> std::io::Result<Self> {
        let hooks = hook::install(data.path(), hook_program)?;
        let git = Arc::new(Git::new(hooks, &terms, Arc::clone(&data)));
        let sessions = Arc::new(Sessions::default());
        let listener = Listener::open(data.path(), Arc::clone(&sessions), runtime)?;
        let pushes = Arc::new(Semaphore::new(PUSH_COUNT_MAX));
        let fetches = Arc::new(Semaphore::new(FETCH_COUNT_MAX));
        let terms = Arc::new(terms);
        let open = |hosted: Hosted| {
            let name = hosted.name.clone();
            let host = Host {
                name: hosted.name,
                path: hosted.path,
                source: hosted.source,
                share: hosted.share,
                git: Arc::clone(&git),
                store: Arc::clone(store),
                terms: Arc::clone(&terms),
                sessions: Arc::clone(&sessions),
                runtime: runtime.clone(),
                pushes: Arc::clone(&pushes),
                fetches: Arc::clone(&fetches),
                turn: Arc::default(),
                waiting: watch::Sender::default(),
                moving: Arc::default(),
                unsynced: Default::default(),
                offered: Default::default(),
                receiving: RwLock::default(),
                pushed: Arc::default(),
            };
            (name, Arc::new(host))
        };
        let hosts: BTreeMap<String, Arc<Host>> = hosted.into_iter().map(open).collect();
        let maintenance = hosts.values().map(|host| Maintenance::begin(host, runtime)).collect();
        let following = hosts.values().filter_map(|host| {
            host.share.as_ref().map(|share| Following::begin(host, share, runtime))
        });
        let following = following.collect();
        Ok(Self {
            hosts,
            _listener: listener,
            _maintenance: maintenance,
            _following: following,
            _data: data,
        })
    }

    /// Waits, not for long, until what is shared is here. What is not here by then is served once it is.
    ///
    /// # Errors
    /// When a repository cannot be shared.
    pub fn begun(&self) -> impl Future<Output = Result<(), RepositoryError>> + Send + use<> {
        let hosts = self.hosts.values();
        let shared: Vec<_> =
            hosts.filter_map(|host| Some((host.share.clone()?, host.path.clone()))).collect();
        async move {
            for (share, path) in shared {
                let begun = share.begun(BEGIN_MAX).await;
                begun.map_err(|reason| RepositoryError::Shared { path, reason })?;
            }
            Ok(())
        }
    }

    /// A repository by its name, which is looked up and never part of a path.
    pub fn get(&self, name: &str) -> Option<&Arc<Host>> {
        self.hosts.get(name)
    }

    /// The names of all repositories.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }
}
