//! Live labels for requests. The first request for a label loads it and starts the task that follows its source.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::Store;
use super::error::AnswerError;
use super::live_label::LiveLabel;
use super::refresh;
use crate::access::{Caller, Operation, Resource};
use crate::model::{Label, Query};
use crate::snapshot::Snapshot;

impl Store {
    /// Returns the live label of a query if the caller may perform the operation on the environment.
    pub(super) async fn authorized_label(
        self: &Arc<Self>,
        caller: &Caller,
        operation: Operation,
        query: &Query,
    ) -> Result<Arc<LiveLabel>, AnswerError> {
        if !self.may(caller, operation, Resource::Environment(query)) {
            // Under a policy, a denied environment is answered like one at an absent label.
            return Err(match caller {
                Caller::Identified(_) => AnswerError::UnknownLabel(query.label.clone()),
                _ => AnswerError::Forbidden,
            });
        }
        self.live_label(&query.label).await
    }

    /// Returns the live label, and loads it first if it is not live. Concurrent requests for a label share one load.
    pub(super) async fn live_label(
        self: &Arc<Self>,
        label: &Label,
    ) -> Result<Arc<LiveLabel>, AnswerError> {
        let cell = self.labels.get_or_insert(label);
        if let Some(live) = cell.get() {
            return Ok(Arc::clone(live));
        }
        let live = cell.get_or_try_init(|| self.load_label(label)).await;
        self.record_load(label, &live);
        if let Ok(live) = &live {
            // The areas may have changed between the load and the entry of the label in the map.
            self.renew_areas(live).await;
        }
        match &live {
            Ok(live) => {
                self.labels.limit_invented(live);
                self.status_changed.send_replace(());
            }
            Err(_) => self.labels.forget(&cell),
        }
        live.cloned()
    }

    async fn load_label(self: &Arc<Self>, label: &Label) -> Result<Arc<LiveLabel>, AnswerError> {
        let (source, wanted) = (Arc::clone(&self.source), label.clone());
        let loading = self.runtime.spawn(async move { source.load(&wanted, None).await });
        let snapshot: Snapshot =
            loading.await.map_err(|_| AnswerError::Unavailable("loading failed".to_owned()))??;
        let snapshot = self.builder.put_areas(Arc::new(snapshot));
        let live = Arc::new(LiveLabel::new(label.clone(), snapshot));
        let follower = refresh::follow(Arc::downgrade(self), Arc::downgrade(&live));
        let follower = AbortOnDropHandle::new(self.runtime.spawn(follower));
        live.follower.get_or_init(|| follower);
        Ok(live)
    }
}
