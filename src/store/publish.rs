//! The single function that moves a label, for pushes and followed sources alike. Audit, rollback and staged rollout
//! have their place here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Store;
use super::live_label::LiveLabel;
use super::move_event::{Actor, PendingMove};
use super::publication::CompletedPublication;
use crate::snapshot::Snapshot;
use crate::source::SourceError;
use crate::telemetry;
use crate::tree::TreeError;

/// Moves a label to a snapshot.
///
/// # Errors
/// When a tree cannot be read. The label then keeps its snapshot.
pub(super) async fn publish(
    store: &Arc<Store>,
    live: &Arc<LiveLabel>,
    snapshot: Arc<Snapshot>,
    actor: &Actor,
) -> Result<(), SourceError> {
    let started = Instant::now();
    let (label, builder) = (Arc::clone(live), Arc::clone(&store.builder));
    let published = run_blocking(actor, move || label.publish(snapshot, &builder)).await;
    let completed = outcome(store, published)?;
    finish(store, live, actor, started, completed);
    Ok(())
}

/// Puts the areas of the policy in force at a label, without reading its source.
///
/// # Errors
/// As for [`publish`].
pub(super) async fn publish_areas(
    store: &Arc<Store>,
    live: &Arc<LiveLabel>,
) -> Result<(), SourceError> {
    let started = Instant::now();
    let (label, builder) = (Arc::clone(live), Arc::clone(&store.builder));
    let published = run_blocking(&Actor::Source, move || label.publish_areas(&builder)).await;
    if let Some(completed) = outcome(store, published)? {
        finish(store, live, &Actor::Source, started, completed);
    }
    Ok(())
}

fn outcome<T>(store: &Store, published: Option<Result<T, TreeError>>) -> Result<T, SourceError> {
    let name = store.source_name();
    match published {
        Some(Ok(completed)) => Ok(completed),
        Some(Err(error)) => Err(SourceError::from_tree(name, &error)),
        None => Err(SourceError::Unavailable {
            name: name.to_owned(),
            message: "publishing failed".to_owned(),
        }),
    }
}

/// Reports a publication that took effect.
fn finish(
    store: &Arc<Store>,
    live: &Arc<LiveLabel>,
    actor: &Actor,
    started: Instant,
    completed: CompletedPublication,
) {
    telemetry::record_publication(started.elapsed());
    let revision = completed.publication.target.snapshot.revision.clone();
    let (previous, refreshed) = (&completed.previous.revision, completed.replaced.len());
    store.counters.publish_count.fetch_add(1, Ordering::Relaxed);
    record_refreshed(store, refreshed);
    tracing::info!(
        label = %live.label,
        source = store.source_name(),
        %actor,
        from = %previous,
        %revision,
        refreshed,
        duration_ms = started.elapsed().as_secs_f64() * 1e3,
        "revision published"
    );
    live.problem_log.log_replaced(&live.label, &completed.replaced);
    // Another epoch, other areas or other holds of the same revision are not reported, because the revision did not change.
    if *previous == revision {
        return;
    }
    store.record_move(&live.label, previous, Some(&revision), actor);
    store.events.record(PendingMove {
        label: live.label.clone(),
        from: Some(previous.clone()),
        to: Some(revision),
        actor: actor.clone(),
        publication: Some(completed),
    });
}

/// Counts answers that were made again, reports the change, and keeps the answers within their memory.
pub(super) fn record_refreshed(store: &Store, count: usize) {
    store.counters.refreshed_count.fetch_add(count as u64, Ordering::Relaxed);
    store.status_changed.send_replace(());
    store.eviction.make_room();
}

/// Runs blocking work. None if it panicked.
async fn run_blocking<T: Send + 'static>(
    actor: &Actor,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match (actor, Handle::current().runtime_flavor()) {
        // Each followed label has a task of its own. It stays on its thread, because a switch to another thread and
        // back takes as long as the publication.
        (Actor::Source, RuntimeFlavor::MultiThread) => {
            tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(work)).ok())
        }
        // A push moves all labels in one task. Blocking it would move one label after the other.
        _ => tokio::task::spawn_blocking(work).await.ok(),
    }
}
