//! The one task that keeps the keys of a source in memory: read at one revision, then followed from the next one on.
//!
//! A connection that says nothing for a while is given up for one to another member, which goes on where it ended. If etcd
//! does not know any more what came next, all keys are read again: there is never a gap.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::connection::{Changes, Connection, Fault, Heard, Position};
use super::held::Held;
use crate::source::Outage;
use crate::sync::lock;

/// How often a member is asked whether it is there, on a watch that says nothing.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a watch may say nothing at all before another member is tried.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// The first pause after all members failed once, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How many keys that do not belong are named.
const NAMED_COUNT_MAX: usize = 3;

/// Follows etcd until it is aborted.
pub(super) async fn keep(inner: Arc<Inner>) {
    let endpoints = &inner.address.endpoints;
    let mut at = fastrand::usize(..endpoints.len());
    let mut failed_count = 0;
    let mut pause = PAUSE_MIN;
    loop {
        let mut has_followed = false;
        let fault = follow(&inner, &endpoints[at], &mut has_followed).await;
        if has_followed {
            (failed_count, pause) = (0, PAUSE_MIN);
        }
        if fault == Fault::Compacted {
            tracing::info!(source = inner.name(), "etcd has compacted what came next, reading all");
            lock(&inner.held).position = None;
            continue;
        }
        inner.is_away(&fault);
        at = (at + 1) % endpoints.len();
        failed_count += 1;
        if failed_count % endpoints.len() == 0 {
            // Not all replicas at the same time.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Reads what is new on one connection, for as long as it lasts.
async fn follow(inner: &Inner, endpoint: &str, has_followed: &mut bool) -> Fault {
    match begin(inner, endpoint).await {
        Ok(changes) => {
            *has_followed = true;
            inner.is_back();
            listen(inner, changes).await
        }
        Err(fault) => fault,
    }
}

/// A watch that goes on where the last one ended; all keys are read first if there was none, or if it was of another
/// cluster or another life of this one.
async fn begin(inner: &Inner, endpoint: &str) -> Result<Changes, Fault> {
    let keys = &inner.keys;
    let (mut connection, now) = Connection::open(&inner.access, endpoint, keys.all()).await?;
    let known = lock(&inner.held).position;
    let known =
        known.filter(|known| known.cluster == now.cluster && known.revision <= now.revision);
    let from = match known {
        Some(known) => known.revision,
        None => {
            let held = read(inner, &mut connection, now).await?;
            inner.replace(held);
            now.revision
        }
    };
    connection.watch(keys.all(), from + 1).await
}

/// All keys as they were at one revision.
async fn read(inner: &Inner, connection: &mut Connection, at: Position) -> Result<Held, Fault> {
    let keys = &inner.keys;
    let mut held = Held::default();
    held.position = Some(at);
    let mut from = keys.all().as_bytes().to_vec();
    loop {
        let page = connection.page(&from, keys.all(), at.revision).await?;
        for (key, value) in page.keys {
            held.put(keys, &key, value).map_err(Fault::Other)?;
        }
        match page.next {
            Some(next) => from = next,
            None => return Ok(held),
        }
    }
}

async fn listen(inner: &Inner, mut changes: Changes) -> Fault {
    let mut heard_at = Instant::now();
    loop {
        let heard = match timeout_at(Instant::now() + ASK_EVERY, changes.next()).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(fault)) => return fault,
            Err(_) if heard_at.elapsed() > SILENCE_MAX => {
                return Fault::Other("the member says nothing any more".to_owned());
            }
            Err(_) => match changes.ask().await {
                Ok(()) => continue,
                Err(fault) => return fault,
            },
        };
        heard_at = Instant::now();
        if let Heard::Changes { revision, changes } = heard {
            let mut held = lock(&inner.held);
            if let Err(reason) = held.apply(&inner.keys, changes) {
                held.position = None;
                return Fault::Other(reason);
            }
            if let Some(position) = &mut held.position {
                position.revision = revision;
            }
        }
        inner.has_heard();
    }
}

impl Inner {
    /// All keys are others now.
    fn replace(&self, held: Held) {
        let strangers: Vec<String> = held
            .strangers()
            .take(NAMED_COUNT_MAX)
            .map(|key| String::from_utf8_lossy(key).escape_debug().to_string())
            .collect();
        if !strangers.is_empty() {
            tracing::warn!(
                source = self.name(),
                count = held.strangers().len(),
                "keys below the prefix are none of ours and are passed over, such as {}",
                strangers.join(", ")
            );
        }
        *lock(&self.held) = held;
        self.state.send_modify(|state| state.is_read = true);
    }

    fn has_heard(&self) {
        self.state.send_modify(|state| state.heard = Some(SystemTime::now()));
    }

    fn is_back(&self) {
        self.state.send_modify(|state| {
            if let Some(outage) = state.outage.take() {
                let seconds = outage.since.elapsed().as_secs();
                tracing::info!(source = self.name(), "etcd is back after {seconds} s");
            }
            state.heard = Some(SystemTime::now());
        });
    }

    fn is_away(&self, fault: &Fault) {
        let message = fault.to_string();
        self.state.send_modify(|state| {
            state.failed_count += 1;
            if state.outage.is_none() {
                tracing::warn!(source = self.name(), "etcd is away: {message}");
                state.outage = Some(Outage { since: std::time::Instant::now(), message });
            }
        });
    }
}
