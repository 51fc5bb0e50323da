//! The one task that keeps the keys of a source in memory, as etcd tells of them.

use std::sync::Arc;
use std::time::SystemTime;

use headwater_etcd::{Fault, Follower, News};

use super::Inner;
use super::held::Held;
use crate::source::Outage;
use crate::sync::lock;

/// How many keys that do not belong are named.
const NAMED_COUNT_MAX: usize = 3;

/// Follows etcd until it is aborted.
pub(super) async fn keep(inner: Arc<Inner>) {
    let mut follower = Follower::new(inner.cluster.clone(), inner.keys.all().to_owned());
    let mut coming = Held::default();
    loop {
        let news = follower.next().await;
        if let News::Away(fault) = &news {
            inner.is_away(fault);
            continue;
        }
        if let Err(reason) = inner.take(news, &mut coming) {
            inner.is_away(&Fault::Other(reason));
            follower.forget();
        }
    }
}

impl Inner {
    fn take(&self, news: News, coming: &mut Held) -> Result<(), String> {
        match news {
            News::Anew => *coming = Held::default(),
            News::Keys(keys) => {
                for (key, value) in keys {
                    coming.put(&self.keys, &key, value)?;
                }
            }
            News::Whole => self.replace(std::mem::take(coming)),
            News::Following => self.is_back(),
            News::Changes(changes) => {
                lock(&self.held).apply(&self.keys, changes)?;
                self.has_heard();
            }
            News::Alive => self.has_heard(),
            News::Away(_) => {}
        }
        Ok(())
    }

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
