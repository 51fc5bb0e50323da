//! The areas of the policy in force. A change of them is published at every label, like a new snapshot.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Store;
use super::live_label::LiveLabel;
use super::publish;
use crate::areas::Areas;

/// The longest time that a new policy waits for environments to be resolved again.
const NARROWING_MAX: Duration = Duration::from_secs(5);

/// The most labels that are renewed at a time.
const RENEWAL_COUNT_MAX: usize = 4;

impl Store {
    /// The areas of the policy in force.
    pub fn areas(&self) -> Areas {
        Areas::clone(&self.builder.areas.load())
    }

    /// Puts the areas of another policy in force. Every environment that they affect is resolved again, and its watchers
    /// wake.
    pub fn replace_areas(self: &Arc<Self>, areas: Areas) {
        self.renew(areas);
    }

    /// Permits only what the present areas and those of the next policy permit. Returns when the environments are resolved
    /// again, or after 5 s. Blocking, outside of a runtime.
    ///
    /// Invariant: no caller of one policy receives files that only the other policy permits.
    pub fn narrow_areas(self: &Arc<Self>, next: &Areas) {
        let present = self.areas();
        if present.are_same(next) {
            return;
        }
        let renewals = self.renew(present.narrowed_by(next));
        let all = async {
            for renewal in renewals {
                // A renewal that fails forgets its label.
                let _ = renewal.await;
            }
        };
        self.runtime.block_on(async { timeout(NARROWING_MAX, all).await.unwrap_or_default() });
    }

    fn renew(self: &Arc<Self>, areas: Areas) -> Vec<JoinHandle<()>> {
        // Areas with the same files can differ in the values that pushes have to seal.
        let before = self.builder.areas.swap(Arc::new(areas.clone()));
        if before.are_same(&areas) {
            return Vec::new();
        }
        let labels = self.labels.all();
        let shares = labels.chunks(labels.len().div_ceil(RENEWAL_COUNT_MAX).max(1));
        let renewal = |share: &[Arc<LiveLabel>]| {
            let (store, share) = (Arc::clone(self), share.to_vec());
            self.runtime.spawn(async move {
                for live in &share {
                    store.renew_areas(live).await;
                }
            })
        };
        shares.map(renewal).collect()
    }

    /// Puts the areas of the policy in force at a label. A label at which that fails is forgotten, because it would continue
    /// to serve the files of other areas.
    pub(super) async fn renew_areas(self: &Arc<Self>, live: &Arc<LiveLabel>) {
        if live.published.load().snapshot.has_areas(&self.builder.areas.load()) {
            return;
        }
        if let Err(error) = publish::publish_areas(self, live).await {
            let (label, source) = (&live.label, self.source_name());
            tracing::error!(
                %label,
                source,
                %error,
                "a label cannot be resolved under the policy in force, it is loaded anew"
            );
            self.labels.remove_gone(live);
            self.status_changed.send_replace(());
        }
    }
}
