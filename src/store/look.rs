//! Hints that something may have changed, from whoever sends them: the first one counts at once, those that follow it soon
//! are one.

use std::sync::Arc;
use std::time::Duration;

use super::Store;
use crate::sync::lock;

/// How long after a look the next one is.
const SPACING: Duration = Duration::from_secs(1);

/// What is to be done about hints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Looking {
    /// Nobody has sent one lately.
    #[default]
    Idle,
    /// The source has just looked.
    Resting,
    /// The same, and there was a hint since.
    Again,
}

/// Lets the source look, now or soon.
pub(super) fn look_again(store: &Arc<Store>) {
    let before = {
        let mut looking = lock(&store.looking);
        let before = *looking;
        *looking = if before == Looking::Idle { Looking::Resting } else { Looking::Again };
        before
    };
    if before != Looking::Idle {
        return;
    }
    let store_of_task = Arc::downgrade(store);
    store.runtime.spawn(async move {
        loop {
            let Some(store) = store_of_task.upgrade() else { return };
            store.source.look_again();
            drop(store);
            tokio::time::sleep(SPACING).await;
            let Some(store) = store_of_task.upgrade() else { return };
            let mut looking = lock(&store.looking);
            if *looking == Looking::Resting {
                *looking = Looking::Idle;
                return;
            }
            *looking = Looking::Resting;
        }
    });
}
