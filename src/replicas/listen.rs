//! The tasks that keep what is known: one follows the keys of all replicas, one looks at what this one serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use headwater_etcd::{Change, Cluster, Fault, Follower, News};

use super::known::REPLICA_COUNT_MAX;
use super::report::Report;
use super::{Replicas, keys};
use crate::sync::lock;

/// The longest id of a replica.
const ID_BYTES_MAX: usize = 64;

/// Follows the keys until it is aborted.
pub(super) async fn listen(replicas: Arc<Replicas>, cluster: Cluster) {
    let base = keys(&cluster);
    let mut follower = Follower::new(cluster, base.clone());
    let mut ear = Ear { replicas, base, coming: BTreeMap::new(), has_warned: false };
    loop {
        let news = follower.next().await;
        if !matches!(news, News::Whole | News::Changes(_)) {
            ear.hear(news);
            continue;
        }
        // Histories are read.
        let hearing = tokio::task::spawn_blocking(move || {
            ear.hear(news);
            ear
        });
        match hearing.await {
            Ok(heard) => ear = heard,
            Err(_) => return,
        }
    }
}

/// Looks at what this replica serves whenever that moves, until it is aborted: whoever lists the replicas is not to wait
/// for histories to be read.
pub(super) async fn look(replicas: Arc<Replicas>) {
    let mut turned = replicas.store.turned();
    loop {
        let looking = Arc::clone(&replicas);
        if tokio::task::spawn_blocking(move || looking.look()).await.is_err() {
            return;
        }
        if turned.changed().await.is_err() {
            return;
        }
    }
}

impl Replicas {
    /// Takes what this replica serves. Where it is not what is taken for the newest, the history of what is served says
    /// whether it comes after that; where there is no history, what nobody had before does. Blocking.
    fn look(&self) {
        let report = self.report();
        let (newer, unheard_of) = {
            let mut known = lock(&self.known);
            known.take(&self.id, report.clone(), &report.labels, Instant::now());
            (known.newer_than(&report), known.unheard_of(&report))
        };
        for (own, newest) in newer {
            let comes_after = self.was_at(&own, &newest).unwrap_or(unheard_of.contains(&own));
            if comes_after {
                lock(&self.known).advance(&own, Instant::now());
            }
        }
    }
}

struct Ear {
    replicas: Arc<Replicas>,
    base: String,
    /// What was read so far, while all is read.
    coming: BTreeMap<String, Report>,
    has_warned: bool,
}

impl Ear {
    fn hear(&mut self, news: News) {
        match news {
            News::Anew => {
                self.coming.clear();
                self.has_warned = false;
            }
            News::Keys(keys) => {
                keys.into_iter().for_each(|(key, value)| self.come(&key, &value));
            }
            News::Whole => self.replace(),
            News::Following => self.is_back(),
            News::Changes(changes) => {
                changes.into_iter().for_each(|change| self.change(change));
                lock(&self.replicas.ways).listening.is_used();
            }
            News::Alive => lock(&self.replicas.ways).listening.is_used(),
            News::Away(fault) => self.is_away(fault),
        }
    }

    fn come(&mut self, key: &[u8], value: &[u8]) {
        let Some((id, report)) = self.read(key, value) else { return };
        if self.coming.len() < REPLICA_COUNT_MAX && !report.is_leaving {
            self.coming.insert(id, report);
        }
    }

    /// Those that were read, and no others, are there.
    fn replace(&mut self) {
        let coming = std::mem::take(&mut self.coming);
        let ids: Vec<String> = coming.keys().cloned().collect();
        lock(&self.replicas.known).only(&ids, Instant::now());
        for (id, report) in coming {
            self.take(&id, report);
        }
    }

    fn change(&mut self, change: Change) {
        match change.value {
            Some(value) => {
                if let Some((id, report)) = self.read(&change.key, &value) {
                    self.take(&id, report);
                }
            }
            None => {
                let Some(id) = self.id(&change.key) else { return };
                if id == self.replicas.id {
                    self.replicas.lost.notify_one();
                }
                lock(&self.replicas.known).gone(&id, Instant::now());
            }
        }
    }

    /// What others say. What this one has said is known better here.
    fn take(&self, id: &str, report: Report) {
        if id != self.replicas.id {
            let older = self.replicas.older(&report);
            lock(&self.replicas.known).take(id, report, &older, Instant::now());
        }
    }

    /// Who says what in a key, unless it is none of ours.
    fn read(&mut self, key: &[u8], value: &[u8]) -> Option<(String, Report)> {
        let found = self.id(key).zip(Report::read(value));
        if found.is_none() && !std::mem::replace(&mut self.has_warned, true) {
            let key = String::from_utf8_lossy(key).escape_debug().to_string();
            tracing::warn!(
                key,
                "keys among those of the replicas are none of ours and are passed over"
            );
        }
        found
    }

    fn id(&self, key: &[u8]) -> Option<String> {
        let id = std::str::from_utf8(key).ok()?.strip_prefix(&self.base)?;
        let is_id = (1..=ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_id.then(|| id.to_owned())
    }

    fn is_back(&self) {
        if let Some(seconds) = lock(&self.replicas.ways).listening.works().map(|it| it.as_secs()) {
            tracing::info!(seconds, "the other replicas are heard of again");
        }
    }

    fn is_away(&self, fault: Fault) {
        let reason = fault.to_string();
        if lock(&self.replicas.ways).listening.fails(fault) {
            tracing::warn!(reason, "the other replicas are not heard of");
        }
    }
}
