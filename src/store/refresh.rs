//! The loop that follows a label's source and publishes its changes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::Store;
use super::live_label::LiveLabel;
use super::move_event::{Actor, PendingMove};
use super::publish::publish;
use crate::backoff::Backoff;
use crate::model::{Label, LabelPosition, Revision};
use crate::source::SourceError;
use crate::sync::lock;

/// The first pause after a failure of the source.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest pause after a failure of the source.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The limit on labels that one push publishes concurrently.
const REFRESHING_COUNT_MAX: usize = 8;

/// A reference that a push has changed in the source.
pub struct PushedReference {
    /// The labels by which requests name the reference, its own name last.
    pub labels: Vec<Label>,
    /// The revision before the push. None if the reference is new.
    pub from: Option<Revision>,
    /// The revision after the push. None if the reference was deleted.
    pub to: Option<Revision>,
}

impl Store {
    /// Publishes the present content of the source for every live label, and returns when that is done. The push that
    /// moved the source is answered afterwards. A label that cannot be moved keeps its snapshot, and its task continues
    /// to follow it. Moves that no live label shows are reported to the subscribers of [`Store::events`] alone.
    pub async fn refresh_labels(self: &Arc<Self>, actor: &Actor, pushed: Vec<PushedReference>) {
        let mut lives = self.labels.all();
        // The default label has the most watchers.
        lives.sort_by_key(|live| live.label != Label::Default);
        stream::iter(&lives)
            .for_each_concurrent(REFRESHING_COUNT_MAX, |live| refresh_now(self, live, actor))
            .await;
        let is_shown = |pushed: &PushedReference| {
            let mut live = lives.iter().map(|live| &live.label);
            pushed.to.is_some() && live.any(|label| pushed.labels.contains(label))
        };
        for PushedReference { mut labels, from, to } in
            pushed.into_iter().filter(|it| !is_shown(it))
        {
            let (Some(label), actor) = (labels.pop(), actor.clone()) else { continue };
            self.events.record(PendingMove { label, from, to, actor, publication: None });
        }
    }
}

/// Follows one label until it is forgotten or gone. While the source fails, the label keeps its snapshot.
pub(super) async fn follow(store: Weak<Store>, live: Weak<LiveLabel>) {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
    loop {
        let Some(source) = store.upgrade().map(|store| Arc::clone(&store.source)) else {
            return;
        };
        let Some((label, seen)) = live.upgrade().map(|live| (live.label.clone(), position(&live)))
        else {
            return;
        };
        // After a failure the source is loaded at once, because it may be back without a change to wait for.
        let is_unreachable =
            live.upgrade().is_some_and(|live| lock(&live.connectivity).outage().is_some());
        let mut outcome = if is_unreachable { Ok(()) } else { source.changed(&label, &seen).await };
        let (Some(store), Some(live)) = (store.upgrade(), live.upgrade()) else {
            return;
        };
        if outcome.is_ok() {
            outcome = refresh(&store, &live, &Actor::Source).await;
        }
        match record_outcome(&store, &live, outcome) {
            RefreshOutcome::UpToDate => backoff.reset(),
            RefreshOutcome::Gone => return,
            RefreshOutcome::Stale => {
                drop((store, live));
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

fn position(live: &LiveLabel) -> LabelPosition {
    live.published.load().snapshot.position()
}

/// Moves one label for a push. Returns when the present content of the source is published or the attempt has failed.
async fn refresh_now(store: &Arc<Store>, live: &Arc<LiveLabel>, actor: &Actor) {
    let outcome = refresh(store, live, actor).await;
    record_outcome(store, live, outcome);
}

/// The state of a label after an attempt to move it.
enum RefreshOutcome {
    /// The label serves the present content of its source.
    UpToDate,
    /// The source no longer has the label.
    Gone,
    /// The source failed, and the label keeps its snapshot.
    Stale,
}

/// Records the outcome of an attempt to move a label, and logs each change of state once.
fn record_outcome(
    store: &Store,
    live: &Arc<LiveLabel>,
    outcome: Result<(), SourceError>,
) -> RefreshOutcome {
    let (label, source) = (&live.label, store.source_name());
    match outcome {
        Ok(()) => {
            let ended = lock(&live.connectivity).record_success();
            if ended.is_some() {
                tracing::info!(%label, source, "source is back");
            }
            RefreshOutcome::UpToDate
        }
        Err(SourceError::UnknownLabel(_)) => {
            if !*live.gone.borrow() {
                tracing::warn!(%label, source, "label is gone");
                store.record_move(label, &position(live).revision, None, &Actor::Source);
                store.labels.remove_gone(live);
                store.status_changed.send_replace(());
            }
            RefreshOutcome::Gone
        }
        Err(error) => {
            store.counters.failure_count.fetch_add(1, Ordering::Relaxed);
            if record_failure(live, &error) {
                tracing::warn!(%label, source, %error, "serving the last revision");
            }
            RefreshOutcome::Stale
        }
    }
}

/// Records a failed attempt and returns true if it begins an outage. The message of the latest error is kept.
fn record_failure(live: &LiveLabel, error: &SourceError) -> bool {
    let mut connectivity = lock(&live.connectivity);
    let begins = connectivity.outage().is_none();
    connectivity.record_reason(error.to_string());
    begins
}

/// Loads the present snapshot of a label and publishes it if its position or its holds differ from the served ones.
///
/// Locking: `refresh_lock` is held from before the load until after the publication, so that an older snapshot never
/// replaces a newer one.
async fn refresh(
    store: &Arc<Store>,
    live: &Arc<LiveLabel>,
    actor: &Actor,
) -> Result<(), SourceError> {
    let _refreshing = live.refresh_lock.lock().await;
    let previous = Arc::clone(&live.published.load().snapshot);
    let snapshot = store.source.load(&live.label, Some(&previous)).await?;
    if snapshot.is_same_publication(&previous) {
        return Ok(());
    }
    publish(store, live, Arc::new(snapshot), actor).await
}
