//! The table of instances that have reported to this server.
//!
//! An instance is a name and one of the environments that it follows. Its name survives a restart, and each of its runs
//! has an incarnation. A new incarnation replaces one that is no longer connected, which is a restart. Two incarnations
//! that are connected at the same time are two clients with one name: both stay in the table and are listed. Without that
//! distinction one of them would hide the other.
//!
//! The table is kept in memory for a while after the last request of an instance.

mod former;
mod named;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use headwater_wire::InstanceHealth;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::report::{Acknowledgement, Attributes, InstanceReport, Reason};
use super::trials::Trials;
use crate::model::Query;
use crate::sync::lock;
use former::FormerInstances;
use named::NamedInstance;
use shares::Shares;

/// The most instances that are kept. One application can have half of them, and less while others have many. Further
/// ones are ignored unless an entry of their application makes room.
const COUNT_MAX: usize = 20_000;
/// The time after its last request at which an instance expires.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// The time after its last request for which an instance counts as present. A client polls or reconnects within it.
const PRESENT_FOR: SignedDuration = SignedDuration::from_mins(1);
/// The shortest time between two searches for expired instances while the table is full.
const EXPIRY_INTERVAL: SignedDuration = SignedDuration::from_secs(1);
/// The longest application, profiles and label of an instance, together and in bytes.
const QUERY_BYTES_MAX: usize = 512;

/// The known instances.
#[derive(Default)]
pub struct Instances {
    table: Mutex<InstanceTable>,
    /// The number of changes, for those that wait for one.
    changes: watch::Sender<u64>,
    /// The instances that were connected when the server stopped, for a minute after its start.
    former: Mutex<FormerInstances>,
    trials: Arc<Trials>,
}

#[derive(Default)]
struct InstanceTable {
    instances: HashMap<InstanceKey, NamedInstance>,
    shares: Shares,
    /// The number of requests whose instances were ignored for which there was no room.
    left_out_count: u64,
    expired_at: Timestamp,
}

/// An instance and one of the environments that it follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct InstanceKey {
    name: Box<str>,
    query: Query,
}

/// One run of an instance, with everything that is known of it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The stable name.
    pub name: Box<str>,
    /// The environment that it follows.
    pub query: Query,
    /// The present run. `None` if the instance reports none.
    pub incarnation: Option<Box<str>>,
    /// Its attributes.
    pub attributes: Attributes,
    /// The last acknowledgement of this run.
    pub applied: Option<Acknowledgement>,
    /// The time of the first request with this acknowledgement.
    pub since: Timestamp,
    /// The reason of the last report, for a rejection or for `down`.
    pub reason: Option<Reason>,
    /// The digest of the contract that this run names.
    pub contract: Option<Arc<str>>,
    /// The reported health.
    pub health: Option<InstanceHealth>,
    /// The number of consecutive reports of `down`.
    pub down_count: u32,
    /// True if the instance, in any incarnation, has acknowledged that it uses a configuration.
    pub is_witness: bool,
    /// True while a stream of this run offers to try content that is not published.
    pub tries: bool,
    /// The number of restarts that this server has seen.
    pub restart_count: u32,
    /// The number of clients that have this name at the same time. All of them have the same bucket in a rollout.
    pub namesake_count: usize,
    /// The time of the first request of the instance.
    pub first_seen: Timestamp,
    /// The time of its last request. The present time while it is connected.
    pub last_seen: Timestamp,
    /// The time since which no request of it has been in progress. `None` while one is.
    pub disconnected_at: Option<Timestamp>,
}

/// A request in progress. Its instance counts as connected until the value is dropped.
pub struct InstanceRequest {
    instances: Arc<Instances>,
    key: InstanceKey,
    run: u64,
}

impl Instances {
    /// Records the instance that requests an environment, and its report. Returns `None` if the table is full or the
    /// names are too long.
    pub fn enter(
        self: &Arc<Self>,
        report: InstanceReport,
        query: &Query,
    ) -> Option<InstanceRequest> {
        if bytes(query) > QUERY_BYTES_MAX {
            return None;
        }
        let key = InstanceKey { name: report.name.clone(), query: query.clone() };
        let was_witness = lock(&self.former).was_witness(&key);
        let entered = {
            let mut table = lock(&self.table);
            let entered = table.enter(&key, report, Timestamp::now())?;
            if was_witness && let Some(named) = table.instances.get_mut(&key) {
                named.is_witness = true;
            }
            entered
        };
        if entered.has_changed {
            self.notify();
        }
        Some(InstanceRequest { instances: Arc::clone(self), key, run: entered.run })
    }

    /// Returns the streams of instances that offer to try content.
    pub fn trials(&self) -> &Arc<Trials> {
        &self.trials
    }

    /// Lists the instances that `is_wanted` selects by name and environment, in the order of their sort keys.
    pub fn list(&self, is_wanted: impl Fn(&str, &Query) -> bool) -> Vec<Instance> {
        let mut instances = self.snapshot(is_wanted);
        instances.sort_by_cached_key(Instance::sort_key);
        instances
    }

    /// Returns the instances that `is_wanted` selects by name and environment, in no particular order. Each run that is
    /// connected, or that is the only one of its name, is an entry. `is_wanted` is called for each instance under the lock
    /// of the table: decide what is expensive before, for the distinct [`Self::queries`].
    pub fn snapshot(&self, is_wanted: impl Fn(&str, &Query) -> bool) -> Vec<Instance> {
        let mut table = lock(&self.table);
        let now = Timestamp::now();
        table.expire(now);
        let wanted = table.instances.iter().filter(|(key, _)| is_wanted(&key.name, &key.query));
        let mut shown: Vec<Instance> =
            wanted.flat_map(|(key, named)| named.show(&key.name, &key.query, now)).collect();
        drop(table);
        self.trials.mark_offers(&mut shown);
        shown
    }

    /// Returns the distinct environments that instances follow, of one application or of all.
    pub fn queries(&self, application: Option<&str>) -> HashSet<Query> {
        let table = lock(&self.table);
        let queries = table.instances.keys().map(|key| &key.query);
        let is_wanted =
            |query: &&Query| application.is_none_or(|wanted| *query.application == *wanted);
        let mut distinct = HashSet::new();
        for query in queries.filter(is_wanted) {
            if !distinct.contains(query) {
                distinct.insert(query.clone());
            }
        }
        distinct
    }

    /// Returns the number of requests whose instances were ignored because the table was full.
    pub fn left_out_count(&self) -> u64 {
        lock(&self.table).left_out_count
    }

    /// Returns the same number for each application of which requests were ignored.
    pub fn left_out(&self) -> Vec<(Arc<str>, u64)> {
        lock(&self.table).shares.left_out()
    }

    /// Returns a receiver that is notified after each change: a new instance, a restart, an acknowledgement, another
    /// health, other attributes, and the begin and the end of a connection. Subscribe before a snapshot is read, so that
    /// no change in between is missed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn notify(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The result of [`InstanceTable::enter`].
struct Entered {
    run: u64,
    has_changed: bool,
}

impl InstanceTable {
    /// Records a request. Returns `None` without room for its instance.
    fn enter(
        &mut self,
        key: &InstanceKey,
        report: InstanceReport,
        now: Timestamp,
    ) -> Option<Entered> {
        let application = &key.query.application;
        let adds_run = self.instances.get(key).is_none_or(|known| known.adds_run(&report));
        if adds_run && !self.make_room(application, now) {
            self.leave_out(application);
            return None;
        }
        let named = self.instances.entry(key.clone()).or_default();
        if let Some(turn) = named.idle.take() {
            self.shares.remove_idle(application, turn);
        }
        let count_before = named.run_count();
        let entered = named.enter(report, now);
        self.shares.record(application, count_before, named.run_count());
        if entered.is_none() {
            self.note_idle(key, now);
            self.leave_out(application);
        }
        entered
    }

    /// Records the end of a request. Returns true if the instance is no longer connected.
    fn leave(&mut self, key: &InstanceKey, run: u64, now: Timestamp) -> bool {
        let is_gone = self.instances.get_mut(key).is_some_and(|named| named.leave(run, now));
        if is_gone {
            self.note_idle(key, now);
        }
        is_gone
    }

    /// Makes room for an incarnation of an application. Returns false if there is none. Searches the table for expired
    /// instances once in an interval at most.
    fn make_room(&mut self, application: &str, now: Timestamp) -> bool {
        if self.shares.has_room(application) {
            return true;
        }
        if now.duration_since(self.expired_at) >= EXPIRY_INTERVAL {
            self.expire(now);
        }
        if self.shares.has_room(application) {
            return true;
        }
        // An application that has more than its share, because others came later, keeps its number.
        let Some(key) = self.shares.take_oldest(application) else { return false };
        let Some(named) = self.instances.remove(&key) else { return false };
        self.shares.record(&key.query.application, named.run_count(), 0);
        true
    }

    /// Records that an entry can make room, unless it is connected or an acknowledgement of it is known.
    fn note_idle(&mut self, key: &InstanceKey, now: Timestamp) {
        if let Some(named) = self.instances.get_mut(key)
            && named.can_make_room()
            && named.idle.is_none()
        {
            named.idle = Some(self.shares.add_idle(key, now));
        }
    }

    fn leave_out(&mut self, application: &Arc<str>) {
        self.left_out_count += 1;
        self.shares.leave_out(application);
    }

    fn expire(&mut self, now: Timestamp) {
        self.expired_at = now;
        let shares = &mut self.shares;
        self.instances.retain(|key, named| {
            let count_before = named.run_count();
            let is_current = named.retain_current(now, EXPIRES_AFTER);
            shares.record(&key.query.application, count_before, named.run_count());
            if !is_current && let Some(turn) = named.idle {
                shares.remove_idle(&key.query.application, turn);
            }
            is_current
        });
        shares.remove_unused();
    }
}

impl Instance {
    /// True while a request of the instance is in progress, such as an event stream.
    pub fn is_connected(&self) -> bool {
        self.disconnected_at.is_none()
    }

    /// True if the instance is connected, or made a request not long ago, as one that polls or reconnects does.
    pub fn is_present(&self, now: Timestamp) -> bool {
        self.disconnected_at.is_none_or(|at| now.duration_since(at) < PRESENT_FOR)
    }

    /// The place of the instance in lists: application, profiles, label, name and incarnation, which contain no NUL.
    pub fn sort_key(&self) -> String {
        let Query { application, profiles, label } = &self.query;
        let label = label.name().unwrap_or_default();
        let incarnation = self.incarnation.as_deref().unwrap_or_default();
        format!("{application}\0{profiles}\0{label}\0{}\0{incarnation}", self.name)
    }
}

impl Drop for InstanceRequest {
    fn drop(&mut self) {
        let is_gone = lock(&self.instances.table).leave(&self.key, self.run, Timestamp::now());
        if is_gone {
            self.instances.notify();
        }
    }
}

fn bytes(query: &Query) -> usize {
    query.application.len() + query.profiles.len() + query.label.name().map_or(0, str::len)
}
