//! The answers with opened values, made again after the keys of the server or a referenced value changed.
//!
//! One channel has the number of changes so far. One task follows it and publishes every live label again, so that changes in
//! quick succession count as one. A watcher wakes only if the digest of its answer differs.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::Store;
use super::live_label::LiveLabel;
use super::publish;

impl Store {
    /// Makes the answers with opened values again after each change of a number. The task ends with the store, or when the
    /// sender of the number is dropped.
    pub fn follow_opened_values(self: &Arc<Self>, mut changes: watch::Receiver<u64>) {
        let store: Weak<Self> = Arc::downgrade(self);
        self.runtime.spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(store) = store.upgrade() else { return };
                for live in store.labels.all() {
                    store.open_again(live).await;
                }
            }
        });
    }

    async fn open_again(self: &Arc<Self>, live: Arc<LiveLabel>) {
        let (label, builder) = (Arc::clone(&live), Arc::clone(&self.builder));
        let published = tokio::task::spawn_blocking(move || label.publish_again(&builder)).await;
        match published {
            Ok(Ok(completed)) => {
                let refreshed = completed.replaced.len();
                publish::record_refreshed(self, refreshed);
                live.problem_log.log_replaced(&live.label, &completed.replaced);
                tracing::info!(label = %live.label, refreshed, "sealed values opened again");
            }
            Ok(Err(error)) => {
                let label = &live.label;
                tracing::error!(%label, %error, "sealed values were not opened again: answers keep the previous ones");
            }
            // The panic is logged where it happens.
            Err(_) => {}
        }
    }
}
