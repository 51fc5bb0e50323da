//! The keys that the reads of one client have requested, and the contract made of them.

use std::any::type_name;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_wire::{CONTRACT_KEYS_MAX, Contract, ContractKey, ValueType};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::explore::{self, RecordedKeys};
use super::recorder::Recorder;
use crate::configuration::Configuration;
use crate::names;

/// The most different reads that are distinguished. With more of them, the service may read every key.
const READ_COUNT_MAX: usize = 1_000;

/// The reads of one client and its clones.
#[derive(Debug)]
pub(crate) struct Reads {
    application: String,
    version: Option<String>,
    recorded: Mutex<Recorded>,
    /// The number of additions to the recorded keys.
    additions: watch::Sender<u64>,
    /// The contract that requests name.
    contract: watch::Sender<Option<Arc<Contract>>>,
}

#[derive(Debug, Default)]
struct Recorded {
    /// The keys by their relaxed spelling.
    keys: BTreeMap<String, ContractKey>,
    open: BTreeSet<String>,
    /// The prefixes of the recorded reads of each type.
    known: HashMap<&'static str, HashSet<String>>,
    known_count: usize,
    /// Set after the log has a line about a contract that is too large.
    is_reported: bool,
}

impl Reads {
    pub(crate) fn new(application: String, version: Option<String>) -> Arc<Reads> {
        Arc::new(Reads {
            application,
            version,
            recorded: Mutex::default(),
            additions: watch::Sender::default(),
            contract: watch::Sender::default(),
        })
    }

    /// Returns the contract that requests name. `None` before the first one, and for a service whose reads say nothing.
    pub(crate) fn contract(&self) -> Option<Arc<Contract>> {
        self.contract.borrow().clone()
    }

    pub(crate) fn contracts(&self) -> watch::Receiver<Option<Arc<Contract>>> {
        self.contract.subscribe()
    }

    pub(super) fn additions(&self) -> watch::Receiver<u64> {
        self.additions.subscribe()
    }

    /// Explores `T`, which a [`Live`](crate::Live) reads, and publishes the contract. It reads `T` many times and belongs on
    /// a blocking thread.
    pub(crate) fn record_live<T: DeserializeOwned>(
        &self,
        configuration: &Configuration,
        prefix: &str,
    ) {
        let read = |recorder: &Recorder| {
            configuration.read_recorded::<T>(prefix, recorder).map(|value| drop(value))
        };
        // A deserializer of the service may panic.
        let explored = catch_unwind(AssertUnwindSafe(|| explore::explore(prefix, read)));
        match explored {
            Ok(Some(keys)) => self.add(keys),
            Ok(None) | Err(_) => {
                tracing::debug!(
                    prefix,
                    read = type_name::<T>(),
                    "the keys of this type are not known"
                );
                self.record_all();
            }
        }
        self.publish();
    }

    /// Returns whether the reads of a type below a prefix are recorded already.
    pub(crate) fn is_known(&self, prefix: &str, name: &'static str) -> bool {
        let recorded = self.recorded();
        recorded.is_open() || recorded.known.get(name).is_some_and(|it| it.contains(prefix))
    }

    /// Adds the keys of one read, as not required and of any type.
    pub(crate) fn observe(&self, prefix: &str, name: &'static str, recorder: &Recorder) {
        self.recorded().mark_known(prefix, name);
        self.add(explore::observed(recorder, prefix));
    }

    /// Adds one key that the service has looked up.
    pub(crate) fn observe_key(&self, key: &str) {
        if !key.is_empty() && !self.is_known(key, "") {
            self.recorded().mark_known(key, "");
            let key =
                ContractKey { key: key.to_owned(), value_type: ValueType::Any, required: false };
            self.add(RecordedKeys { keys: vec![key], open: Vec::new() });
        }
    }

    /// Records that the service may read every key.
    pub(crate) fn record_all(&self) {
        if !self.recorded().is_open() {
            self.add(RecordedKeys { keys: Vec::new(), open: vec![String::new()] });
        }
    }

    fn add(&self, added: RecordedKeys) {
        let mut guard = self.recorded();
        let recorded = &mut *guard;
        for key in added.keys {
            let known = recorded.keys.entry(names::relaxed_key(&key.key));
            known.and_modify(|known| merge(known, &key)).or_insert(key);
        }
        recorded.open.extend(added.open);
        let is_full = recorded.known_count > READ_COUNT_MAX
            || recorded.keys.len() > CONTRACT_KEYS_MAX
            || recorded.open.len() > CONTRACT_KEYS_MAX;
        if is_full {
            recorded.open.insert(String::new());
        }
        drop(guard);
        self.additions.send_modify(|count| *count += 1);
    }

    /// Makes the recorded keys the contract that requests name from now on.
    pub(crate) fn publish(&self) {
        let contract = self.build();
        self.contract.send_if_modified(|current| {
            let differs = *current != contract;
            *current = contract;
            differs
        });
    }

    fn build(&self) -> Option<Arc<Contract>> {
        let mut recorded = self.recorded();
        if recorded.keys.is_empty() {
            return None;
        }
        let keys: Vec<_> = recorded.keys.values().cloned().collect();
        let open = recorded.open.iter().cloned().collect();
        match Contract::new(self.application.clone(), self.version.clone(), keys, open) {
            Ok(contract) => Some(Arc::new(contract)),
            Err(error) => {
                if !std::mem::replace(&mut recorded.is_reported, true) {
                    let application = &self.application;
                    tracing::warn!(application, %error, "the service has no contract");
                }
                None
            }
        }
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    /// Returns whether the service may read every key.
    fn is_open(&self) -> bool {
        self.open.contains("")
    }

    fn mark_known(&mut self, prefix: &str, name: &'static str) {
        self.known.entry(name).or_default().insert(prefix.to_owned());
        self.known_count += 1;
    }
}

/// Merges two reads of one key. The more specific type stays.
fn merge(known: &mut ContractKey, other: &ContractKey) {
    known.required |= other.required;
    known.value_type = match (known.value_type, other.value_type) {
        (ValueType::Any | ValueType::Text, specific) if specific != ValueType::Any => specific,
        (known, _) => known,
    };
}
