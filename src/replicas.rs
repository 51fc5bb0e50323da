//! Who else there is: replicas know each other's liveness through leases in etcd.
//!
//! Each one holds a lease with a key, `<prefix>/replicas/v1/<id>`, in which it says what it serves (`report`); `speak`
//! keeps it. `listen` follows the keys of all, and `known` remembers them: a key that is gone is a replica that is gone.
//! Nothing is decided by what is known here; it is for the people who look.

mod known;
mod listen;
mod report;
mod speak;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use headwater_etcd::{Cluster, Fault};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

use crate::store::Store;
use crate::sync::lock;
use known::{Known, Seen};

pub use report::{At, Report, SourceReport};

/// How long a replica counts as live that is not heard of, in seconds: the time of its lease.
const LEASE_SECONDS: u16 = 10;
/// How long a replica that ends may take to say so.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// All replicas, as one of them knows them.
pub struct Replicas {
    /// A random name of this process.
    id: String,
    name: String,
    begun: Instant,
    store: Arc<Store>,
    /// Where they meet, if there are others.
    cluster: Option<Cluster>,
    runtime: Handle,
    address: OnceLock<String>,
    known: Mutex<Known>,
    ways: Mutex<Ways>,
    /// The own key is not there any more.
    lost: Notify,
    tasks: Mutex<Option<Tasks>>,
}

struct Tasks {
    stop: oneshot::Sender<()>,
    speaking: JoinHandle<()>,
    others: [AbortHandle; 2],
}

/// How this replica stands to etcd: whether it hears the others, and they hear it.
#[derive(Default)]
struct Ways {
    listening: Way,
    speaking: Way,
}

#[derive(Default)]
struct Way {
    heard: Option<Instant>,
    away: Option<(Instant, Fault)>,
}

/// What there is to tell of all replicas.
pub struct Listing {
    /// How it is with etcd; nothing where no replicas meet.
    pub share: Option<Share>,
    /// The replicas, in the order of their names.
    pub replicas: Vec<Listed>,
    /// How many reports came from replicas that there was no room for.
    pub left_out_count: u64,
}

/// How it is with the etcd through which replicas meet.
#[derive(Debug, Clone, Default)]
pub struct Share {
    /// How long ago the others were heard of, if they ever were.
    pub heard: Option<Duration>,
    /// For how long etcd has been away, and why.
    pub away: Option<(Duration, String)>,
}

/// One replica.
pub struct Listed {
    /// The random name of its process.
    pub id: String,
    /// Whether it is the one who tells.
    pub is_this: bool,
    /// What is known of its life.
    pub state: State,
    /// What it said last; its times go on.
    pub report: Report,
    /// How long ago it was known to live.
    pub heard: Option<Duration>,
    /// For each of its labels how long what it has of it has not been the newest that is known; empty unless it is live.
    pub lags: Vec<Duration>,
}

/// What is known of a replica's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It keeps its lease.
    Live,
    /// Its lease has ended, and it had not said that it would.
    Gone,
    /// Etcd has been away for longer than a lease lasts.
    Unknown,
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// How many replicas are live, this one among them.
    pub live_count: usize,
    /// The longest time that what this one has of a label has not been the newest.
    pub lag: Duration,
    /// For how long etcd has been away.
    pub away: Duration,
}

impl Replicas {
    /// A replica by that name; alone without a cluster. Nobody hears of it yet.
    pub fn new(
        name: String,
        store: Arc<Store>,
        cluster: Option<Cluster>,
        runtime: Handle,
    ) -> Arc<Self> {
        let id = format!("{:032x}", fastrand::u128(..));
        Arc::new(Self {
            known: Mutex::new(Known::new(id.clone())),
            id,
            name,
            begun: Instant::now(),
            store,
            cluster,
            runtime,
            address: OnceLock::new(),
            ways: Mutex::default(),
            lost: Notify::new(),
            tasks: Mutex::default(),
        })
    }

    /// Begins to tell the others that this replica is there, at a URL, and to hear of them.
    pub fn begin(self: &Arc<Self>, address: &str) {
        // It listens at one place, and begins once.
        let _ = self.address.set(address.to_owned());
        let Some(cluster) = &self.cluster else { return };
        let (stop, stopped) = oneshot::channel();
        let speaking = speak::speak(Arc::clone(self), cluster.clone(), stopped);
        let listening = listen::listen(Arc::clone(self), cluster.clone());
        *lock(&self.tasks) = Some(Tasks {
            stop,
            speaking: self.runtime.spawn(speaking),
            others: [
                self.runtime.spawn(listening).abort_handle(),
                self.runtime.spawn(listen::look(Arc::clone(self))).abort_handle(),
            ],
        });
    }

    /// Tells the others that this replica ends, so that they need not wait for its lease to end.
    pub async fn leave(&self) {
        let Some(Tasks { stop, speaking, others }) = lock(&self.tasks).take() else { return };
        others.iter().for_each(AbortHandle::abort);
        // One that has ended needs no telling.
        let _ = stop.send(());
        let ending = speaking.abort_handle();
        if tokio::time::timeout(LEAVE_MAX, speaking).await.is_err() {
            ending.abort();
        }
    }

    /// All replicas. Answered from memory.
    pub fn list(&self) -> Listing {
        let report = self.report();
        let now = Instant::now();
        let share = self.cluster.is_some().then(|| lock(&self.ways).at(now));
        let mut known = lock(&self.known);
        let own = report.labels.clone();
        known.take(&self.id, report, &own, now);
        known.forget(now);
        let heard = share.as_ref().and_then(|share| share.heard);
        let mut replicas: Vec<Listed> =
            known.all().map(|(id, seen)| self.listed(&known, id, seen, heard, now)).collect();
        let left_out_count = known.left_out_count;
        drop(known);
        replicas.sort_by(|a, b| (&a.report.name, &a.id).cmp(&(&b.report.name, &b.id)));
        Listing { share, replicas, left_out_count }
    }

    fn listed(
        &self,
        known: &Known,
        id: &str,
        seen: &Seen,
        heard: Option<Duration>,
        now: Instant,
    ) -> Listed {
        let is_this = id == self.id;
        let heard = match seen.gone {
            _ if is_this => Some(Duration::ZERO),
            Some(gone) => Some(now.duration_since(gone)),
            None => heard,
        };
        let is_recent = heard.is_some_and(|heard| heard.as_secs() <= LEASE_SECONDS.into());
        let state = match seen.gone {
            Some(_) => State::Gone,
            None if is_recent => State::Live,
            None => State::Unknown,
        };
        let labels = seen.report.labels.iter().filter(|_| state == State::Live);
        let lags = labels.map(|at| known.lag(seen, at, now)).collect();
        let since = seen.gone.unwrap_or(now).duration_since(seen.reported).as_secs();
        let mut report = seen.report.clone();
        report.age_seconds = report.age_seconds.saturating_add(since);
        for source in report.sources.iter_mut().filter(|source| source.failure.is_some()) {
            source.heard_seconds = source.heard_seconds.map(|it| it.saturating_add(since));
        }
        Listed { id: id.to_owned(), is_this, state, report, heard, lags }
    }

    /// What is counted, from memory.
    pub fn figures(&self) -> Figures {
        let listing = self.list();
        let live = listing.replicas.iter().filter(|replica| replica.state == State::Live);
        let own = listing.replicas.iter().find(|replica| replica.is_this);
        let away = listing.share.and_then(|share| share.away);
        Figures {
            live_count: live.count(),
            lag: own.and_then(|own| own.lags.iter().max().copied()).unwrap_or_default(),
            away: away.map_or(Duration::ZERO, |(since, _)| since),
        }
    }

    /// What this replica says of itself.
    fn report(&self) -> Report {
        Report {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.get().cloned().unwrap_or_default(),
            ..Report::of(&self.store, self.begun.elapsed())
        }
    }

    /// What the own sources know to be older than what is served, of what a report says of labels that nobody was at.
    /// Blocking.
    fn older(&self, report: &Report) -> Vec<At> {
        let unheard_of = lock(&self.known).unheard_of(report);
        let is_older = |at: &At| self.was_at(at, &at.revision) == Some(true);
        unheard_of.into_iter().filter(is_older).collect()
    }

    /// Whether what is served of a label has a revision in its history; nothing where that cannot be told. Blocking.
    fn was_at(&self, of: &At, revision: &str) -> Option<bool> {
        self.store.was_at(&of.label(), revision).ok().flatten()
    }
}

impl Ways {
    fn at(&self, now: Instant) -> Share {
        let away = [&self.listening, &self.speaking].into_iter().filter_map(|it| it.away.as_ref());
        let first = away.min_by_key(|(since, _)| *since);
        Share {
            heard: self.listening.heard.map(|heard| now.duration_since(heard)),
            away: first.map(|(since, fault)| (now.duration_since(*since), fault.to_string())),
        }
    }
}

impl Way {
    /// It works; for how long it did not, if it did not.
    fn works(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.heard = Some(now);
        self.away.take().map(|(since, _)| now.duration_since(since))
    }

    /// It works on, if it does.
    fn is_used(&mut self) {
        if self.away.is_none() {
            self.heard = Some(Instant::now());
        }
    }

    /// It does not work; whether that is new.
    fn fails(&mut self, fault: Fault) -> bool {
        let is_new = self.away.is_none();
        if is_new {
            self.away = Some((Instant::now(), fault));
        }
        is_new
    }
}

/// What the keys of all replicas begin with.
fn keys(cluster: &Cluster) -> String {
    format!("{}/replicas/v1/", cluster.address.prefix)
}
