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
            outcome = advance(&store, &live, &Actor::Source).await;
        }
        match settle(&store, &live, outcome) {
            Settled::Follows => backoff = BACKOFF_MIN,
            Settled::Gone => return,
            Settled::Stale => {
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

/// Moves one label now, on behalf of whoever moved its source. Returns when what the source has is published.
pub(super) async fn advance_now(store: &Arc<Store>, live: &Arc<Live>, actor: &Actor) {
    let outcome = advance(store, live, actor).await;
    settle(store, live, outcome);
}

/// What became of a label.
enum Settled {
    /// It is what its source has.
    Follows,
    /// Its source has it no more.
    Gone,
    /// It stays what it was.
    Stale,
}

/// Remembers how an attempt to move a label ended, and says so the first time.
fn settle(store: &Store, live: &Arc<Live>, outcome: Result<(), SourceError>) -> Settled {
    let (label, source) = (&live.label, store.source_name());
    match outcome {
        Ok(()) => {
            if live.stale().is_some() {
                tracing::info!(%label, source, "source is back");
            }
            live.set_stale(None);
            Settled::Follows
        }
        Err(SourceError::UnknownLabel(_)) => {
            if !*live.gone.borrow() {
                tracing::warn!(%label, source, "label is gone");
                store.labels.gone(live);
                store.turned.send_replace(());
            }
            Settled::Gone
        }
        Err(error) => {
            store.counters.failure_count.fetch_add(1, Ordering::Relaxed);
            if live.stale().is_none() {
                tracing::warn!(%label, source, %error, "serving the last revision");
            }
            live.set_stale(Some(error.to_string()));
            Settled::Stale
        }
    }
}

/// Loads what the label stands for now and publishes it if that is something else. One at a time for each label, from
/// before it is loaded until it is published: what was loaded earlier never takes the place of what was loaded later.
async fn advance(store: &Arc<Store>, live: &Arc<Live>, actor: &Actor) -> Result<(), SourceError> {
    let _one_at_a_time = live.advancing.lock().await;
    let previous = Arc::clone(&live.view.load().snapshot);
    let snapshot = store.source.load(&live.label, Some(&previous)).await?;
    if snapshot.revision == previous.revision {
        return Ok(());
    }
    publish(store, Move { live, snapshot: Arc::new(snapshot), actor }).await
}
