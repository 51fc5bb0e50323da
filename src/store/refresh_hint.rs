//! Hints that a source may have changed. The first hint takes effect at once. Hints that follow it within
//! [`CHECK_PAUSE`] count as one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::source::Source;
use crate::sync::lock;

/// The pause between two checks of the source.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// The hints for one source.
pub(super) struct RefreshHints {
    source: Arc<dyn Source>,
    runtime: Handle,
    state: Mutex<HintState>,
}

/// The state of the task that handles hints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum HintState {
    /// No task runs. The next hint takes effect at once.
    #[default]
    Idle,
    /// The source has checked within [`CHECK_PAUSE`], and no hint has arrived since.
    Pausing,
    /// A hint has arrived since the last check, and the next check follows after the pause.
    CheckPending,
}

impl RefreshHints {
    pub(super) fn new(source: Arc<dyn Source>, runtime: Handle) -> Arc<Self> {
        Arc::new(Self { source, runtime, state: Mutex::default() })
    }

    /// Lets the source check for changes, now or after the pause.
    pub(super) fn send(self: &Arc<Self>) {
        let before = {
            let mut state = lock(&self.state);
            let before = *state;
            *state = match before {
                HintState::Idle => HintState::Pausing,
                HintState::Pausing | HintState::CheckPending => HintState::CheckPending,
            };
            before
        };
        if before != HintState::Idle {
            return;
        }
        let hints_of_task = Arc::downgrade(self);
        self.runtime.spawn(async move {
            loop {
                let Some(hints) = hints_of_task.upgrade() else { return };
                hints.source.look_again();
                drop(hints);
                tokio::time::sleep(CHECK_PAUSE).await;
                let Some(hints) = hints_of_task.upgrade() else { return };
                let mut state = lock(&hints.state);
                if *state == HintState::Pausing {
                    *state = HintState::Idle;
                    return;
                }
                *state = HintState::Pausing;
            }
        });
    }
}
