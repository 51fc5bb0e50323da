//! The signals of commands that run until they are stopped.

use std::io;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The signals that do not stop a server. It listens to them before it opens its sources, so that none of them ends a server
/// that is starting.
pub(super) struct Reloads {
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Reloads {
    /// Listens from now on.
    pub(super) fn listen(runtime: &Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Requests a re-read of the files on each HUP.
    pub(super) async fn forward(mut self, reload: watch::Sender<()>) {
        loop {
            let ignored = tokio::select! {
                _ = self.hangup.recv() => {
                    reload.send_replace(());
                    continue;
                }
                _ = self.user_1.recv() => "USR1",
                _ = self.user_2.recv() => "USR2",
            };
            tracing::warn!(signal = ignored, "signal ignored");
        }
    }
}

/// Ends at the first TERM, INT or QUIT.
pub(super) fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
        tracing::info!("stopping");
    })
}
