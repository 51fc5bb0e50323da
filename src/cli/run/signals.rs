//! The signals of this process, which are the program's to answer.

use std::io;
use std::process::ExitCode;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// The signals that are forwarded to the program.
const HANDED_ON: [Signal; 9] = [
    Signal::TERM,
    Signal::INT,
    Signal::QUIT,
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::ALARM,
    Signal::CONT,
];
/// The signals that end the wait for a first configuration. The first process of a container ignores signals by default, so
/// they need a handler.
const ENDING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];

/// The signals that come in.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let listen =
            |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        HANDED_ON.into_iter().map(listen).collect::<io::Result<_>>().map(Self)
    }

    pub(super) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Waits for a signal that ends this process while there is no program. Returns the exit code in a shell's count.
    pub(super) async fn end(&mut self) -> ExitCode {
        loop {
            let signal = self.next().await;
            if ENDING.contains(&signal) {
                return ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX));
            }
        }
    }
}
