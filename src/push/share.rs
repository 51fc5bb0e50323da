//! A repository that replicas share: each has it whole, and etcd stands between them. A push is carried through etcd before
//! git moves anything; what others push is heard of from there.
//!
//! The order is what makes it safe: objects are durable here and in etcd, then the table of references in etcd is swapped,
//! then git moves, then it is published, then the pusher is answered. Etcd's transactions and leases carry all of it, and
//! none of its locks. `tests/it/shared_push.rs` walks through that order.

mod carry;
mod follow;
mod mark;
mod packs;
mod programs;
mod source;
mod start;
mod state;
mod swap;
mod upkeep;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use headwater_etcd::{Cluster, Connection, Fault, Transaction};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use self::state::{Keys, Mark, Relation, State};
use crate::source::Outage;
use crate::source::git::GitSource;
use crate::sync::lock;

pub(super) use self::carry::{Carried, Carrying, Uncarried};
pub(super) use self::follow::Following;
pub use self::source::SharedSource;

/// How long etcd has to be away until nobody tries to ask it any more: another member may take over.
const AWAY_MIN: Duration = Duration::from_secs(1);
/// How often a question is asked, each time to another member.
const QUESTION_COUNT_MAX: usize = 2;

/// One repository and where it is shared.
pub struct Share {
    name: String,
    path: PathBuf,
    seed: Option<PathBuf>,
    keys: Keys,
    cluster: Cluster,
    connection: Mutex<Option<Connection>>,
    standing: watch::Sender<Standing>,
    /// Somebody says that etcd has something that is not here.
    bell: Notify,
    /// Something was pushed here.
    pushed: Notify,
}

/// How it stands to what etcd has.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// What was taken last. Without it there is nothing to serve yet.
    mark: Option<Arc<Mark>>,
    /// Why it never will be.
    refused: Option<String>,
    /// Since when etcd says nothing.
    away: Option<Outage>,
    /// Since when what it says cannot be taken.
    trouble: Option<Outage>,
    heard: Option<SystemTime>,
}

/// What etcd has, and when it was written.
struct Seen {
    state: Option<State>,
    written_at: i64,
}

/// Why it cannot be gone on with.
#[derive(Debug, thiserror::Error)]
enum ShareError {
    #[error("etcd is away: {0}")]
    Etcd(String),
    #[error("etcd does not take it: {0}")]
    NotTaken(String),
    #[error("{0}")]
    Unfit(String),
    /// A pack was taken out of etcd: another one has taken its place.
    #[error("a pack is not in etcd any more")]
    Replaced,
    #[error("git {0} does not work")]
    Git(&'static str),
    #[error("what is in the packs does not belong together")]
    Unconnected,
    #[error("the repository cannot be written")]
    Unwritable,
    #[error("those who list references take too long")]
    Listed,
}

impl From<Fault> for ShareError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => Self::NotTaken(reason),
            fault => Self::Etcd(fault.to_string()),
        }
    }
}

impl Share {
    /// Of a repository at a path. What a first commit is made of is used if there is nothing in etcd.
    pub fn new(cluster: Cluster, name: &str, path: &Path, seed: Option<&Path>) -> Arc<Self> {
        let keys = Keys::new(&cluster.address.prefix, name);
        let mark = mark::read(path, &cluster.address.prefix).map(Arc::new);
        let standing = Standing { mark, ..Standing::default() };
        Arc::new(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            seed: seed.map(Path::to_owned),
            keys,
            cluster,
            connection: Mutex::default(),
            standing: watch::Sender::new(standing),
            bell: Notify::new(),
            pushed: Notify::new(),
        })
    }

    /// The repository as a source that has nothing before it was heard of.
    pub fn source(self: &Arc<Self>, git: Arc<GitSource>) -> SharedSource {
        SharedSource::new(Arc::clone(self), git)
    }

    /// Waits until there is something to serve, or it is known that there is nothing for now.
    ///
    /// # Errors
    /// When this repository cannot be shared: what is in it is not what is shared.
    pub(super) async fn begun(&self, wait_max: Duration) -> Result<(), String> {
        let mut standing = self.standing.subscribe();
        let is_settled = |standing: &Standing| {
            standing.mark.is_some() || standing.refused.is_some() || standing.outage().is_some()
        };
        // One that is not settled in time is served once it is.
        let _ = timeout(wait_max, standing.wait_for(is_settled)).await;
        match &self.standing.borrow().refused {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Whether there is something to serve.
    pub(super) fn is_heard(&self) -> bool {
        self.standing.borrow().mark.is_some()
    }

    /// Sees to it, not for long, that what was acknowledged anywhere is here.
    pub(super) async fn catch_up(&self, wait_max: Duration) {
        if self.away_for().is_some() {
            return;
        }
        let caught_up = async {
            let Ok(Seen { state: Some(state), .. }) = self.look().await else { return };
            if self.relation(&state) == Some(Relation::Same) {
                return;
            }
            self.bell.notify_one();
            let mut standing = self.standing.subscribe();
            let is_here = |standing: &Standing| {
                standing.mark.as_ref().is_some_and(|mark| mark.sequence >= state.sequence)
            };
            // It ends with the server.
            let _ = standing.wait_for(is_here).await;
        };
        if timeout(wait_max, caught_up).await.is_err() {
            tracing::debug!(repository = self.name, "it is gone on with what is here");
        }
    }

    /// For how long etcd has been away, if it is no use to ask it.
    fn away_for(&self) -> Option<Duration> {
        let standing = self.standing.borrow();
        let away = standing.away.as_ref().map(|outage| outage.since.elapsed());
        away.filter(|away| *away >= AWAY_MIN)
    }

    fn mark(&self) -> Option<Arc<Mark>> {
        self.standing.borrow().mark.clone()
    }

    /// How a state stands to what is here. Nothing if nothing is.
    fn relation(&self, state: &State) -> Option<Relation> {
        self.mark().map(|mark| state.relation(&mark))
    }

    /// What etcd has, as its members agree on it.
    async fn look(&self) -> Result<Seen, ShareError> {
        let key = self.keys.state();
        let found = self.read(&key).await?;
        let state = match &found.bytes {
            Some(bytes) => {
                Some(State::parse(bytes).map_err(|reason| ShareError::Unfit(reason.to_owned()))?)
            }
            None => None,
        };
        self.has_heard();
        Ok(Seen { state, written_at: found.written_at })
    }

    async fn read(&self, key: &str) -> Result<headwater_etcd::Value, Fault> {
        let mut asked_count = 1;
        loop {
            let question = async { self.connection().await?.read(&[key]).await };
            match self.unless_away(question).await {
                Ok(found) => return Ok(found.into_iter().next().unwrap_or_default()),
                Err(fault) => {
                    self.forget_connection();
                    if asked_count == QUESTION_COUNT_MAX {
                        return Err(fault);
                    }
                    asked_count += 1;
                }
            }
        }
    }

    /// Writes what may be written twice; whether all was as it was seen.
    async fn write(&self, transaction: impl Fn() -> Transaction) -> Result<bool, Fault> {
        let mut asked_count = 1;
        loop {
            let question = async { self.connection().await?.commit(transaction()).await };
            match self.unless_away(question).await {
                Err(fault) if !matches!(fault, Fault::Refused(_)) => {
                    self.forget_connection();
                    if asked_count == QUESTION_COUNT_MAX {
                        return Err(fault);
                    }
                    asked_count += 1;
                }
                written => return written,
            }
        }
    }

    /// Asks, but no longer once it is known from elsewhere that etcd is away: it may say nothing for long.
    async fn unless_away<T>(
        &self,
        question: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::select! {
            biased;
            answer = question => answer,
            reason = self.is_known_away() => Err(Fault::Other(reason)),
        }
    }

    /// Returns once etcd has been away for so long that it is no use to ask it, with the reason.
    async fn is_known_away(&self) -> String {
        let mut standing = self.standing.subscribe();
        loop {
            let away = standing.wait_for(|standing| standing.away.is_some()).await;
            let away = away.ok().and_then(|standing| standing.away.clone());
            // It ends with the server.
            let Some(away) = away else { return std::future::pending().await };
            let is_back = standing.wait_for(|standing| standing.away.is_none());
            let end = (away.since + AWAY_MIN).into();
            if tokio::time::timeout_at(end, is_back).await.is_err() {
                return format!("nothing was heard for {} s", away.since.elapsed().as_secs());
            }
        }
    }

    /// The one that is kept open, or a new one.
    async fn connection(&self) -> Result<Connection, Fault> {
        if let Some(connection) = lock(&self.connection).clone() {
            return Ok(connection);
        }
        let connection = self.cluster.connect().await?;
        *lock(&self.connection) = Some(connection.clone());
        Ok(connection)
    }

    fn forget_connection(&self) {
        *lock(&self.connection) = None;
    }

    fn has_heard(&self) {
        self.standing.send_modify(|standing| standing.heard = Some(SystemTime::now()));
    }

    /// What this state says is here, durable and published.
    fn has_taken(&self, state: &State) {
        let mark = Arc::new(state.mark(&self.cluster.address.prefix));
        self.standing.send_modify(|standing| standing.mark = Some(mark));
    }

    /// What etcd has cannot be taken, or can again.
    fn set_trouble(&self, trouble: Option<String>) {
        let is_news =
            self.standing.send_if_modified(|standing| match (&standing.trouble, trouble) {
                (None, None) => false,
                (Some(before), Some(message)) if before.message == message => false,
                (before, Some(message)) => {
                    let since = before.as_ref().map_or_else(Instant::now, |outage| outage.since);
                    standing.trouble = Some(Outage { since, message });
                    true
                }
                (Some(_), None) => {
                    standing.trouble = None;
                    true
                }
            });
        if is_news {
            match &self.standing.borrow().trouble {
                Some(trouble) => {
                    let reason = &trouble.message;
                    tracing::error!(
                        repository = self.name,
                        reason,
                        "what is in etcd is not served"
                    );
                }
                None => tracing::info!(repository = self.name, "what is in etcd is served again"),
            }
        }
    }
}

impl Standing {
    /// What is wrong, the worse first.
    fn outage(&self) -> Option<&Outage> {
        self.trouble.as_ref().or(self.away.as_ref())
    }
}
