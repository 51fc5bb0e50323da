//! The one task that keeps the keys of a source in memory, as etcd tells of them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use headwater_etcd::{Fault, Follower, News};

use super::Inner;
use super::held::Held;
use crate::source::Outage;
use crate::sync::lock;

/// How long keys may go on changing before it is looked at what is wrong with them.
const JUDGE_AFTER_MAX: Duration = Duration::from_secs(5);

/// Follows etcd until it is aborted.
pub(super) async fn keep(inner: Arc<Inner>) {
    let mut follower = Follower::new(inner.cluster.clone(), inner.keys.all().to_owned());
    let mut coming = Held::default();
    let mut changed_since: Option<Instant> = None;
    loop {
        let news = follower.next().await;
        if let News::Away(fault) = &news {
            inner.is_away(fault);
            continue;
        }
        let is_over = matches!(news, News::Whole | News::Alive);
        let is_change = matches!(news, News::Whole | News::Changes(_));
        if let Err(reason) = inner.take(news, &mut coming) {
            inner.is_away(&Fault::Other(reason));
            follower.forget();
            continue;
        }
        if is_change {
            changed_since.get_or_insert_with(Instant::now);
        }
        if changed_since.is_some_and(|since| is_over || since.elapsed() > JUDGE_AFTER_MAX) {
            inner.judge().await;
            changed_since = None;
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
                self.state.send_modify(|state| state.heard = Some(SystemTime::now()));
            }
            News::Alive => self.is_alive(),
            News::Away(_) => {}
        }
        Ok(())
    }

    /// All keys are others now.
    fn replace(&self, held: Held) {
        *lock(&self.held) = held;
        self.state.send_modify(|state| state.is_read = true);
    }

    /// That nothing changed wakes nobody.
    fn is_alive(&self) {
        self.state.send_if_modified(|state| {
            state.heard = Some(SystemTime::now());
            false
        });
    }

    fn is_back(&self) {
        self.state.send_modify(|state| {
            if let Some(outage) = state.outage.take() {
                let seconds = outage.since.elapsed().as_secs();
                tracing::info!(source = self.name(), seconds, "etcd is back");
            }
            state.heard = Some(SystemTime::now());
        });
    }

    fn is_away(&self, fault: &Fault) {
        let message = fault.to_string();
        self.state.send_modify(|state| {
            state.failed_count += 1;
            if state.outage.is_none() {
                tracing::warn!(source = self.name(), error = message, "etcd is away");
                state.outage = Some(Outage { since: Instant::now(), message });
            }
        });
    }
}
