//! The one function through which a label moves, whoever moves it: where audit, rollback and staged rollout will stand.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Store;
use super::live::{Live, Published};
use super::moves::{Effect, Noted};
use crate::snapshot::Snapshot;
use crate::source::SourceError;

/// Who moves a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Whoever changed the source; it was noticed there.
    Source,
    /// Whoever pushed to this server, by the name given with the push token, if there was one.
    Push(Option<Arc<str>>),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Push(None) => f.write_str("push"),
            Self::Push(Some(who)) => write!(f, "push by {who}"),
        }
    }
}

/// A label, what it will stand for, and who says so. What it stood for is its present view.
pub(super) struct Move<'a> {
    pub(super) live: &'a Arc<Live>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) actor: &'a Actor,
}

/// Moves a label.
///
/// # Errors
/// When a tree cannot be read; the label stays where it was.
pub(super) async fn publish(store: &Arc<Store>, to: Move<'_>) -> Result<(), SourceError> {
    let Move { live, snapshot, actor } = to;
    let begun = Instant::now();
    let revision = snapshot.revision.clone();
    let (moved, additions) = (Arc::clone(live), Arc::clone(&store.additions));
    let to = Arc::clone(&snapshot);
    let published = blocking(actor, move || moved.publish(snapshot, &additions)).await;
    let Published { from, made, differences } = match published {
        Some(Ok(published)) => published,
        Some(Err(error)) => return Err(SourceError::from_tree(store.source_name(), &error)),
        None => {
            return Err(SourceError::Unavailable {
                name: store.source_name().to_owned(),
                message: "publishing failed".to_owned(),
            });
        }
    };
    let refreshed = made.len();
    store.counters.publish_count.fetch_add(1, Ordering::Relaxed);
    store.counters.refreshed_count.fetch_add(refreshed as u64, Ordering::Relaxed);
    store.turned.send_replace(());
    tracing::info!(
        label = %live.label,
        source = store.source_name(),
        %actor,
        from = %from.revision,
        %revision,
        refreshed,
        duration_ms = begun.elapsed().as_secs_f64() * 1e3,
        "revision published"
    );
    live.told.moved(&live.label, &made);
    store.moves.note(Noted {
        label: live.label.clone(),
        from: Some(from.revision.clone()),
        to: Some(to.revision.clone()),
        actor: actor.clone(),
        effect: Some(Effect { from, to, made, differences }),
    });
    Ok(())
}

/// Runs what may block. Nothing if it panicked.
async fn blocking<T: Send + 'static>(
    actor: &Actor,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match (actor, Handle::current().runtime_flavor()) {
        // Whoever follows a source has a task for each label. It stays on its thread, because the way to another one and
        // back takes as long as to publish.
        (Actor::Source, RuntimeFlavor::MultiThread) => {
            tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(work)).ok())
        }
        // A push moves all labels in one task.
        _ => tokio::task::spawn_blocking(work).await.ok(),
    }
}
