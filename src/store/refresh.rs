//! The one loop that moves anything: follows a label's source and publishes what it finds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Store;
use super::live::Live;
use super::publish::{Actor, Move, publish};
use crate::model::Revision;
use crate::source::SourceError;

/// The first pause after a source failed; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Follows one label until it is forgotten or gone. A source that fails leaves what is served as it is.
pub(super) async fn follow(store: Weak<Store>, live: Weak<Live>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let Some(source) = store.upgrade().map(|store| Arc::clone(&store.source)) else {
            return;
        };
        let Some((label, seen)) = live.upgrade().map(|live| (live.label.clone(), revision(&live)))
        else {
            return;
        };
        // After a failure the source is asked at once: it may be back with nothing new to wait for.
        let is_stale = live.upgrade().is_some_and(|live| live.stale().is_some());
        let mut outcome = match is_stale {
            true => Ok(()),
            false => source.changed(&label, &seen).await,
        };
        let (Some(store), Some(live)) = (store.upgrade(), live.upgrade()) else {
            return;
        };
        if outcome.is_ok() {
            outcome = advance(&store, &live).await;
        }
        match outcome {
            Ok(()) => {
                if live.stale().is_some() {
                    tracing::info!(%label, source = source.name(), "source is back");
                }
                live.set_stale(None);
                backoff = BACKOFF_MIN;
            }
            Err(SourceError::UnknownLabel(_)) => {
                tracing::warn!(%label, source = source.name(), "label is gone");
                store.labels.gone(&live);
                return;
            }
            Err(error) => {
                store.counters.failure_count.fetch_add(1, Ordering::Relaxed);
                if live.stale().is_none() {
                    tracing::warn!(%label, source = source.name(), %error, "serving the last revision");
                }
                live.set_stale(Some(error.to_string()));
                drop((store, live));
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

fn revision(live: &Live) -> Revision {
    live.view.load().snapshot.revision.clone()
}

/// Loads what the label stands for now and publishes it if that is something else.
async fn advance(store: &Arc<Store>, live: &Arc<Live>) -> Result<(), SourceError> {
    let previous = Arc::clone(&live.view.load().snapshot);
    let snapshot = store.source.load(&live.label, Some(&previous)).await?;
    if snapshot.revision == previous.revision {
        return Ok(());
    }
    publish(store, Move { live, snapshot: Arc::new(snapshot), actor: Actor::Source }).await
}
