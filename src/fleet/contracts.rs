//! The contracts that builds of services have registered: which keys each of them reads.
//!
//! A contract stays as long as an instance names it, and for some time after the last one, so that services that run only
//! at night keep theirs. The table is bounded for each application and as a whole. It is kept in the data directory, so
//! that a restart of the server loses no contract.

mod files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use headwater_wire::{CONTRACT_BYTES_MAX, Contract, Outcome};
use jiff::{SignedDuration, Timestamp};

use super::instances::Instance;
use crate::model::Query;
use crate::sync::lock;
use files::{ContractFiles, StoredContract};

/// The most contracts of one application.
const APPLICATION_COUNT_MAX: usize = 16;
/// The most contracts of all applications.
const COUNT_MAX: usize = 2_000;
/// The most bytes of all contracts together.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most environments of one contract. Instances in further ones protect nothing.
const ENVIRONMENT_COUNT_MAX: usize = 64;
/// The time for which a contract stays that no instance names.
const UNNAMED_MAX: SignedDuration = SignedDuration::from_mins(10);
/// The time for which no other instance is asked for the same contract.
const ASK_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// The time after which a later `last_seen` is written, so that a restart does not take the contract for an old one.
const STORE_SEEN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The time after a start for which no restored contract is removed. The instances of a fleet return within it.
const RETURN_TIME: SignedDuration = SignedDuration::from_hours(1);

/// The registered contracts.
pub struct Contracts {
    table: Mutex<ContractTable>,
    files: Option<ContractFiles>,
    /// The time for which a contract stays after the last instance that named it.
    retention: SignedDuration,
}

#[derive(Default)]
struct ContractTable {
    /// By application and digest.
    contracts: BTreeMap<ContractKey, RegisteredContract>,
    byte_count: usize,
    /// The contracts that an instance was asked for, with the time.
    asked: HashMap<ContractKey, Timestamp>,
    /// The time until which no contract that instances have named is removed for its age.
    returning_until: Option<Timestamp>,
}

/// The application and the digest of a contract.
type ContractKey = (Arc<str>, Arc<str>);

struct RegisteredContract {
    contract: Arc<Contract>,
    byte_count: usize,
    last_seen: Timestamp,
    /// The value of `last_seen` in the file.
    stored_last_seen: Timestamp,
    /// The environments in which instances named the contract.
    environments: HashMap<Query, Usage>,
    /// True if the file does not have the present environments.
    is_changed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    /// True if an instance with this contract has accepted a configuration of the environment.
    is_accepted: bool,
    /// The number of connected instances at the last survey.
    instance_count: usize,
}

/// The reason for which a contract is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The application has too many contracts that instances name.
    #[error(
        "the application already has {APPLICATION_COUNT_MAX} contracts that running instances name"
    )]
    ApplicationFull,
    /// All applications together have too many contracts that instances name.
    #[error("the server already has {COUNT_MAX} contracts that instances name")]
    CountFull,
    /// The contracts that instances name have too many bytes.
    #[error("the contracts that instances name already have {} MiB", BYTES_MAX / (1024 * 1024))]
    BytesFull,
}

/// A build of a service in one environment, or a contract that no instance has named yet.
#[derive(Debug, Clone)]
pub struct SurveyedBuild {
    pub contract: Arc<Contract>,
    /// `None` if no instance has named the contract.
    pub query: Option<Query>,
    pub instance_count: usize,
    pub is_accepted: bool,
    pub last_seen: Timestamp,
}

/// The builds that run now or ran a short time ago, and the connected instances.
#[derive(Debug, Default)]
pub struct Survey {
    pub builds: Vec<SurveyedBuild>,
    /// By application: the number of connected instances, and of those whose contract is registered.
    pub reporting: HashMap<Arc<str>, (usize, usize)>,
}

impl Contracts {
    /// Reads the contracts of a directory. Without a directory, the contracts are lost at the end of the server.
    pub fn open(directory: Option<PathBuf>, retention: SignedDuration, now: Timestamp) -> Self {
        let files = directory.map(ContractFiles::new);
        let mut table =
            ContractTable { returning_until: Some(now + RETURN_TIME), ..ContractTable::default() };
        for stored in files.iter().flat_map(ContractFiles::read_all) {
            table.restore(stored);
        }
        Self { table: Mutex::new(table), files, retention }
    }

    /// Returns true if the server should ask the instance of a request for its contract. The same contract is asked for
    /// once in a while, and not of every instance at the same time.
    pub fn wants(&self, application: &str, digest: &str, now: Timestamp) -> bool {
        let mut table = lock(&self.table);
        let key = (Arc::from(application), Arc::from(digest));
        if table.contracts.contains_key(&key) || table.room(application).is_err() {
            return false;
        }
        let is_asked = |at: &Timestamp| now.duration_since(*at) < ASK_AGAIN_AFTER;
        if table.asked.get(&key).is_some_and(is_asked) {
            return false;
        }
        // Asking too often is better than not asking at all.
        if table.asked.len() >= COUNT_MAX {
            table.asked.clear();
        }
        table.asked.insert(key, now);
        true
    }

    /// Returns true if a contract would take the place of known ones. A survey has to precede its registration, so that no
    /// contract of a running build makes room.
    pub fn is_full_for(&self, contract: &Contract) -> bool {
        let byte_count = contract.to_json().len();
        let displaced = lock(&self.table).displaced_by(&contract.application, byte_count);
        displaced.map_or(true, |displaced| !displaced.is_empty())
    }

    /// The hours for which a contract stays after the last instance that named it.
    pub fn retention_hours(&self) -> i64 {
        self.retention.as_hours()
    }

    /// Registers a contract. Blocking. Returns false if it was registered before.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn register(&self, contract: Contract, now: Timestamp) -> Result<bool, RegistrationError> {
        let key = (Arc::from(contract.application.as_str()), Arc::from(contract.digest.as_str()));
        let mut table = lock(&self.table);
        if let Some(known) = table.contracts.get_mut(&key) {
            known.last_seen = now;
            return Ok(false);
        }
        let byte_count = contract.to_json().len();
        let displaced = table.make_room(&key.0, byte_count)?;
        let registered = RegisteredContract {
            contract: Arc::new(contract),
            byte_count,
            last_seen: now,
            stored_last_seen: now,
            environments: HashMap::new(),
            is_changed: false,
        };
        let stored = registered.stored();
        table.asked.remove(&key);
        table.insert(key, registered);
        drop(table);
        if let Some(files) = &self.files {
            displaced.iter().for_each(|(_, digest)| files.remove(digest));
            files.write(&stored);
        }
        Ok(true)
    }

    /// Returns a contract.
    pub fn get(&self, application: &str, digest: &str) -> Option<Arc<Contract>> {
        let key = (Arc::from(application), Arc::from(digest));
        lock(&self.table).contracts.get(&key).map(|known| Arc::clone(&known.contract))
    }

    /// Compares the contracts with all instances that have reported to this server, and returns the builds that count.
    pub fn survey(&self, instances: &[Instance], now: Timestamp) -> Survey {
        let mut table = lock(&self.table);
        let reporting = table.update(instances, now);
        let builds = table.contracts.values().flat_map(|known| {
            let of = |query, usage: Usage| SurveyedBuild {
                contract: Arc::clone(&known.contract),
                query,
                instance_count: usage.instance_count,
                is_accepted: usage.is_accepted,
                last_seen: known.last_seen,
            };
            let unnamed = known.environments.is_empty().then(|| of(None, Usage::default()));
            let named = known.environments.iter();
            unnamed
                .into_iter()
                .chain(named.map(move |(query, usage)| of(Some(query.clone()), *usage)))
        });
        Survey { builds: builds.collect(), reporting }
    }

    /// Removes contracts that no instance has named for too long, and writes what has changed. Blocking.
    pub fn maintain(&self, instances: &[Instance], now: Timestamp) {
        let mut table = lock(&self.table);
        table.update(instances, now);
        let removed = table.expire(now, self.retention);
        let dirty = table.take_dirty(STORE_SEEN_AFTER);
        drop(table);
        if let Some(files) = &self.files {
            removed.iter().for_each(|(_, digest)| files.remove(digest));
            dirty.iter().for_each(|stored| files.write(stored));
        }
    }

    /// Writes everything that has changed, at the end of the server. Blocking.
    pub fn close(&self, instances: &[Instance], now: Timestamp) {
        let mut table = lock(&self.table);
        table.update(instances, now);
        let dirty = table.take_dirty(SignedDuration::ZERO);
        drop(table);
        if let Some(files) = &self.files {
            dirty.iter().for_each(|stored| files.write(stored));
        }
    }
}

impl ContractTable {
    fn insert(&mut self, key: ContractKey, registered: RegisteredContract) {
        self.byte_count += registered.byte_count;
        if let Some(replaced) = self.contracts.insert(key, registered) {
            self.byte_count -= replaced.byte_count;
        }
    }

    fn remove(&mut self, key: &ContractKey) {
        if let Some(removed) = self.contracts.remove(key) {
            self.byte_count -= removed.byte_count;
        }
    }

    fn restore(&mut self, stored: StoredContract) {
        let StoredContract { contract, last_seen, environments } = stored;
        let key = (Arc::from(contract.application.as_str()), Arc::from(contract.digest.as_str()));
        let byte_count = contract.to_json().len();
        if self.make_room(&key.0, byte_count).is_err() {
            return;
        }
        let environments = environments.into_iter().take(ENVIRONMENT_COUNT_MAX);
        let environments = environments.map(|environment| {
            let usage = Usage { is_accepted: environment.accepted, instance_count: 0 };
            (environment.query(&key.0), usage)
        });
        let registered = RegisteredContract {
            byte_count,
            last_seen,
            stored_last_seen: last_seen,
            environments: environments.collect(),
            contract: Arc::new(contract),
            is_changed: false,
        };
        self.insert(key, registered);
    }

    fn of_application(
        &self,
        application: &str,
    ) -> impl Iterator<Item = (&ContractKey, &RegisteredContract)> {
        let from = (Arc::from(application), Arc::from(""));
        let application: Arc<str> = Arc::clone(&from.0);
        self.contracts.range(from..).take_while(move |((name, _), _)| *name == application)
    }

    /// Returns the contract that has to make room for another one of the application, if one has to.
    ///
    /// Only a contract of the same application makes room, and only one that no connected instance names. A client
    /// therefore cannot remove the contracts of other applications or of running builds.
    fn room(&self, application: &str) -> Result<Option<ContractKey>, RegistrationError> {
        if self.of_application(application).count() < APPLICATION_COUNT_MAX {
            return Ok(None);
        }
        let idle = self.of_application(application).filter(|(_, known)| !known.is_running());
        // A contract that no instance accepted may be one that a client made up.
        let oldest = idle.min_by_key(|(_, known)| (known.is_accepted(), known.last_seen));
        oldest.map(|(key, _)| Some(key.clone())).ok_or(RegistrationError::ApplicationFull)
    }

    /// Returns the contracts that make room for one of an application.
    ///
    /// Beyond the limits of all applications, the oldest contracts that no instance has named make room. A client that may
    /// only register contracts therefore keeps out no contract of a build.
    fn displaced_by(
        &self,
        application: &str,
        byte_count: usize,
    ) -> Result<Vec<ContractKey>, RegistrationError> {
        let mut displaced: Vec<ContractKey> = self.room(application)?.into_iter().collect();
        let mut count = self.contracts.len() - displaced.len();
        let freed: usize = displaced.iter().map(|key| self.contracts[key].byte_count).sum();
        let mut bytes = self.byte_count - freed + byte_count;
        let is_full = |count, bytes| count >= COUNT_MAX || bytes > BYTES_MAX;
        if !is_full(count, bytes) {
            return Ok(displaced);
        }
        let unnamed = self.contracts.iter().filter(|(_, known)| known.environments.is_empty());
        let mut unnamed: Vec<_> = unnamed.filter(|(key, _)| !displaced.contains(key)).collect();
        unnamed.sort_by_key(|(_, known)| known.last_seen);
        for (key, known) in unnamed {
            count -= 1;
            bytes -= known.byte_count;
            displaced.push(key.clone());
            if !is_full(count, bytes) {
                return Ok(displaced);
            }
        }
        Err(match count >= COUNT_MAX {
            true => RegistrationError::CountFull,
            false => RegistrationError::BytesFull,
        })
    }

    /// Removes the contracts that make room for one of an application, and returns their keys.
    fn make_room(
        &mut self,
        application: &str,
        byte_count: usize,
    ) -> Result<Vec<ContractKey>, RegistrationError> {
        let displaced = self.displaced_by(application, byte_count)?;
        displaced.iter().for_each(|key| self.remove(key));
        Ok(displaced)
    }

    /// Records which instances name which contracts. Returns, by application, the number of connected instances and of
    /// those whose contract is registered.
    fn update(
        &mut self,
        instances: &[Instance],
        now: Timestamp,
    ) -> HashMap<Arc<str>, (usize, usize)> {
        for known in self.contracts.values_mut() {
            known.environments.values_mut().for_each(|usage| usage.instance_count = 0);
        }
        let mut reporting = HashMap::<Arc<str>, (usize, usize)>::new();
        for instance in instances {
            let application = &instance.query.application;
            let key = instance.contract.as_ref();
            let key = key.map(|digest| (Arc::clone(application), Arc::clone(digest)));
            let known = key.and_then(|key| self.contracts.get_mut(&key));
            if instance.is_connected() {
                let counts = reporting.entry(Arc::clone(application)).or_default();
                counts.0 += 1;
                counts.1 += usize::from(known.is_some());
            }
            if let Some(known) = known {
                known.record(instance, now);
            }
        }
        reporting
    }

    /// Returns the contracts whose files are out of date by their environments, or by their `last_seen` for longer than
    /// `delay`. The caller writes them.
    fn take_dirty(&mut self, delay: SignedDuration) -> Vec<StoredContract> {
        let dirty = self.contracts.values_mut().filter(|known| {
            known.is_changed || known.last_seen.duration_since(known.stored_last_seen) > delay
        });
        dirty
            .map(|known| {
                known.is_changed = false;
                known.stored_last_seen = known.last_seen;
                known.stored()
            })
            .collect()
    }

    /// Removes the contracts that no instance has named for too long, and returns their keys.
    fn expire(&mut self, now: Timestamp, retention: SignedDuration) -> Vec<ContractKey> {
        let is_returning = self.returning_until.is_some_and(|until| now < until);
        let is_old = |known: &RegisteredContract| {
            let is_named = !known.environments.is_empty();
            let limit = if is_named { retention } else { retention.min(UNNAMED_MAX) };
            !(is_named && is_returning) && now.duration_since(known.last_seen) >= limit
        };
        let old = self.contracts.iter().filter(|(_, known)| !known.is_running() && is_old(known));
        let old: Vec<ContractKey> = old.map(|(key, _)| key.clone()).collect();
        old.iter().for_each(|key| self.remove(key));
        old
    }
}

impl RegisteredContract {
    fn is_accepted(&self) -> bool {
        self.environments.values().any(|usage| usage.is_accepted)
    }

    fn is_running(&self) -> bool {
        self.environments.values().any(|usage| usage.instance_count > 0)
    }

    /// Records an instance that names the contract.
    fn record(&mut self, instance: &Instance, now: Timestamp) {
        let seen = if instance.is_connected() { now } else { instance.last_seen };
        self.last_seen = self.last_seen.max(seen);
        let is_new = !self.environments.contains_key(&instance.query);
        if is_new && self.environments.len() >= ENVIRONMENT_COUNT_MAX {
            return;
        }
        let usage = self.environments.entry(instance.query.clone()).or_default();
        usage.instance_count += usize::from(instance.is_connected());
        let has_accepted =
            instance.applied.as_ref().is_some_and(|it| it.outcome == Outcome::Applied);
        self.is_changed |= is_new || has_accepted && !usage.is_accepted;
        usage.is_accepted |= has_accepted;
    }

    fn stored(&self) -> StoredContract {
        let environments = self
            .environments
            .iter()
            .map(|(query, usage)| files::StoredEnvironment::new(query, usage.is_accepted));
        StoredContract {
            contract: Contract::clone(&self.contract),
            last_seen: self.last_seen,
            environments: environments.collect(),
        }
    }
}

/// The most bytes of a file: a contract and its environments.
const FILE_BYTES_MAX: u64 = 2 * CONTRACT_BYTES_MAX as u64;
