//! The other servers of a fleet: replicas learn of each other through leases in etcd.
//!
//! Each replica holds a lease with one key, `<prefix>/replicas/v1/<id>`, whose value is its `report`. `announce` keeps
//! the lease and the key. `discover` follows the keys of all replicas, and `membership` remembers them: a replica whose
//! key disappears is gone. Operators see this information. The rollouts of a shared repository need the evidence of every
//! live replica. The server decides nothing else by it.

mod announce;
mod discover;
mod faults;
mod membership;
mod report;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use headwater_etcd::Cluster;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::access::Guard;
use crate::outage::{Connectivity, Outage};
use crate::store::Store;
use crate::sync::lock;
use membership::{KnownReplica, Membership};

pub use report::{LabelRevision, PolicyReport, ReplicaReport, SourceReport};

/// The time to live of a lease, in seconds. A silent replica counts as live for so long.
const LEASE_SECONDS: u16 = 10;
/// The time that a stopping replica has to give up its lease.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// All replicas of the fleet, from the point of view of this one.
pub struct Replicas {
    /// A random identifier of this process.
    id: String,
    name: String,
    started: Instant,
    store: Arc<Store>,
    /// The policy in force, if there is one.
    guard: Option<Arc<Guard>>,
    /// The etcd cluster that the fleet shares. `None` for a server without a fleet.
    cluster: Option<Cluster>,
    runtime: Handle,
    address: OnceLock<String>,
    /// The shared repositories whose rollouts this replica follows.
    repositories: OnceLock<Vec<String>>,
    membership: Mutex<Membership>,
    links: Mutex<Links>,
    /// Signalled when another writer has removed the key of this replica.
    key_removed: Notify,
    tasks: Mutex<Option<Tasks>>,
}

struct Tasks {
    stop: oneshot::Sender<()>,
    announcing: AbortOnDropHandle<()>,
    /// The tasks that keep the membership current.
    background: [AbortOnDropHandle<()>; 2],
}

/// The two connections to etcd: one reads the keys of the others, one writes the own key.
#[derive(Default)]
struct Links {
    discovery: Link,
    announcement: Link,
}

/// One connection to etcd.
#[derive(Default)]
struct Link {
    last_contact: Option<Instant>,
    connectivity: Connectivity,
}

/// Everything that `/-/replicas` shows.
pub struct ReplicaList {
    /// The state of the shared etcd. `None` for a server without a fleet.
    pub etcd: Option<EtcdStatus>,
    /// The replicas in the order of their names.
    pub replicas: Vec<ReplicaStatus>,
    /// The number of reports that were ignored because the list of replicas was full.
    pub left_out_count: u64,
}

/// The state of the etcd cluster that the fleet shares.
#[derive(Debug, Clone, Default)]
pub struct EtcdStatus {
    /// The time since etcd last reported on the other replicas. `None` if it never did.
    pub last_contact: Option<Duration>,
    /// The length and the reason of the present outage.
    pub outage: Option<(Duration, String)>,
}

/// One replica as `/-/replicas` shows it.
pub struct ReplicaStatus {
    /// The random identifier of its process.
    pub id: String,
    /// True for the replica that answers.
    pub is_this: bool,
    /// The state of its lease.
    pub liveness: Liveness,
    /// Its last report, with the ages in it brought up to the present.
    pub report: ReplicaReport,
    /// The time since the replica was last known to live.
    pub last_contact: Option<Duration>,
    /// The time that each of its labels has been behind the newest known revision. Empty unless the replica is live.
    pub lags: Vec<Duration>,
}

/// A live replica, as far as the rollouts of shared repositories need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveReplica {
    /// The random identifier of its process.
    pub id: String,
    /// Its configured name.
    pub name: String,
    /// The shared repositories whose rollouts it follows. `None` for a version without rollouts.
    pub rollouts: Option<Vec<String>>,
}

/// The state of a replica's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The replica keeps its lease.
    Live,
    /// The lease has ended, and the replica had not announced that it would stop.
    Gone,
    /// Etcd has been unreachable for longer than the lease lasts.
    Unknown,
}

/// The figures for the metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct FleetFigures {
    /// The number of live replicas, this one included.
    pub live_count: usize,
    /// The longest time that a label of this replica has been behind the newest known revision.
    pub lag: Duration,
    /// The length of the present outage of etcd.
    pub outage: Duration,
}

impl Replicas {
    /// Creates the view of a replica that has not announced itself yet. Without a cluster it stays alone.
    pub fn new(
        name: String,
        store: Arc<Store>,
        guard: Option<Arc<Guard>>,
        cluster: Option<Cluster>,
        runtime: Handle,
    ) -> Arc<Self> {
        let id = format!("{:032x}", fastrand::u128(..));
        Arc::new(Self {
            membership: Mutex::new(Membership::new(id.clone())),
            id,
            name,
            started: Instant::now(),
            store,
            guard,
            cluster,
            runtime,
            address: OnceLock::new(),
            repositories: OnceLock::new(),
            links: Mutex::default(),
            key_removed: Notify::new(),
            tasks: Mutex::default(),
        })
    }

    /// The name of this replica.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The random identifier of this process.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sets the shared repositories whose rollouts this replica follows, before it is announced.
    pub fn announce_rollouts(&self, repositories: Vec<String>) {
        // A server has one set of repositories.
        let _ = self.repositories.set(repositories);
    }

    /// Returns the other live replicas. `None` while etcd does not report on them.
    pub fn live_others(&self) -> Option<Vec<LiveReplica>> {
        let last_contact = lock(&self.links).discovery.last_contact?;
        if last_contact.elapsed().as_secs() > LEASE_SECONDS.into() {
            return None;
        }
        let membership = lock(&self.membership);
        let others = membership.members().filter(|(id, member)| {
            *id != self.id && member.gone_since.is_none() && !member.report.is_leaving
        });
        let others = others.map(|(id, member)| LiveReplica {
            id: id.to_owned(),
            name: member.report.name.clone(),
            rollouts: member.report.rollouts.clone(),
        });
        Some(others.collect())
    }

    /// Starts to announce this replica at a URL, and to follow the others.
    pub fn start(self: &Arc<Self>, address: &str) {
        // A server has one address and starts once.
        let _ = self.address.set(address.to_owned());
        let Some(cluster) = &self.cluster else { return };
        let (stop, stopped) = oneshot::channel();
        let announcing = announce::run(Arc::clone(self), cluster.clone(), stopped);
        let discovery = discover::run(Arc::clone(self), cluster.clone());
        let own_revisions = discover::record_own_revisions(Arc::clone(self));
        *lock(&self.tasks) = Some(Tasks {
            stop,
            announcing: AbortOnDropHandle::new(self.runtime.spawn(announcing)),
            background: [
                AbortOnDropHandle::new(self.runtime.spawn(discovery)),
                AbortOnDropHandle::new(self.runtime.spawn(own_revisions)),
            ],
        });
    }

    /// Announces that this replica stops, so that the others need not wait until its lease ends.
    pub async fn leave(&self) {
        let Some(Tasks { stop, announcing, background }) = lock(&self.tasks).take() else { return };
        drop(background);
        // The send fails only if the task has already ended.
        let _ = stop.send(());
        // A task that is late is aborted with its handle.
        let _ = tokio::time::timeout(LEAVE_MAX, announcing).await;
    }

    /// Lists all replicas from memory.
    pub fn list(&self) -> ReplicaList {
        let report = self.report();
        let now = Instant::now();
        let etcd = self.cluster.is_some().then(|| lock(&self.links).status(now));
        let mut membership = lock(&self.membership);
        let own_labels = report.labels.clone();
        membership.record(&self.id, report, &own_labels, now);
        membership.expire(now);
        let last_contact = etcd.as_ref().and_then(|etcd| etcd.last_contact);
        let mut replicas: Vec<ReplicaStatus> = membership
            .members()
            .map(|(id, member)| self.status(&membership, id, member, last_contact, now))
            .collect();
        let left_out_count = membership.left_out_count;
        drop(membership);
        replicas.sort_by(|a, b| (&a.report.name, &a.id).cmp(&(&b.report.name, &b.id)));
        ReplicaList { etcd, replicas, left_out_count }
    }

    fn status(
        &self,
        membership: &Membership,
        id: &str,
        member: &KnownReplica,
        last_contact: Option<Duration>,
        now: Instant,
    ) -> ReplicaStatus {
        let is_this = id == self.id;
        let last_contact = match member.gone_since {
            _ if is_this => Some(Duration::ZERO),
            Some(gone) => Some(now.duration_since(gone)),
            None => last_contact,
        };
        let is_recent = last_contact.is_some_and(|age| age.as_secs() <= LEASE_SECONDS.into());
        let liveness = match member.gone_since {
            Some(_) => Liveness::Gone,
            None if is_recent => Liveness::Live,
            None => Liveness::Unknown,
        };
        let labels = member.report.labels.iter().filter(|_| liveness == Liveness::Live);
        let lags = labels.map(|label| membership.lag(member, label, now)).collect();
        let report_end = member.gone_since.unwrap_or(now);
        let report_age = report_end.duration_since(member.reported).as_secs();
        let report = member.report.aged(report_age);
        ReplicaStatus { id: id.to_owned(), is_this, liveness, report, last_contact, lags }
    }

    /// Reads the figures for the metrics from memory.
    pub fn figures(&self) -> FleetFigures {
        let list = self.list();
        let live = list.replicas.iter().filter(|replica| replica.liveness == Liveness::Live);
        let own = list.replicas.iter().find(|replica| replica.is_this);
        let outage = list.etcd.and_then(|etcd| etcd.outage);
        FleetFigures {
            live_count: live.count(),
            lag: own.and_then(|own| own.lags.iter().max().copied()).unwrap_or_default(),
            outage: outage.map_or(Duration::ZERO, |(length, _)| length),
        }
    }

    /// Makes the report of this replica.
    fn report(&self) -> ReplicaReport {
        ReplicaReport {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.get().cloned().unwrap_or_default(),
            policy: self.guard.as_deref().map(PolicyReport::of),
            rollouts: Some(self.repositories.get().cloned().unwrap_or_default()),
            ..ReplicaReport::of(&self.store, self.started.elapsed())
        }
    }

    /// Finds the revisions of a report that no replica has reported before and that the own sources know to be older
    /// than the served ones. Blocks while it reads histories.
    fn older_revisions(&self, report: &ReplicaReport) -> Vec<LabelRevision> {
        let unknown = lock(&self.membership).unknown_revisions(report);
        let is_older = |label: &LabelRevision| self.was_at(label, &label.revision) == Some(true);
        unknown.into_iter().filter(is_older).collect()
    }

    /// Returns true if the history of the revision served for this label contains `revision`, and `None` where the
    /// history cannot tell. Blocks while it reads the history.
    fn was_at(&self, label: &LabelRevision, revision: &str) -> Option<bool> {
        self.store.has_served(&label.label(), revision).ok().flatten()
    }
}

impl Links {
    /// The outage is the one that began first.
    fn status(&self, now: Instant) -> EtcdStatus {
        let outages = [&self.discovery, &self.announcement].into_iter();
        let outages = outages.filter_map(|link| link.connectivity.outage());
        let first = outages.min_by_key(|outage| outage.since);
        EtcdStatus {
            last_contact: self.discovery.last_contact.map(|contact| now.duration_since(contact)),
            outage: first
                .map(|Outage { since, message }| (now.duration_since(*since), message.clone())),
        }
    }
}

impl Link {
    /// Records that etcd answered. Returns the length of the outage that this ends, if there was one.
    fn record_success(&mut self) -> Option<Duration> {
        self.last_contact = Some(Instant::now());
        self.connectivity.record_success()
    }

    /// Records a message on an established connection. It does not end an outage.
    fn record_message(&mut self) {
        if self.connectivity.outage().is_none() {
            self.last_contact = Some(Instant::now());
        }
    }
}

/// The prefix of the keys of all replicas.
fn key_prefix(cluster: &Cluster) -> String {
    format!("{}/replicas/v1/", cluster.address.prefix)
}
