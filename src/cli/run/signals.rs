//! The signals of this process, which are the program's to answer.

use std::io;
use std::process::ExitCode;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// What is handed on.
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
/// What ends a wait for a first configuration, even for the first process of a container, which nothing ends by itself.
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

    /// Waits for a signal that ends a process which has nobody to hand it on to; gives the code that a shell would.
    pub(super) async fn end(&mut self) -> ExitCode {
        loop {
            let signal = self.next().await;
            if ENDING.contains(&signal) {
                return ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX));
            }
        }
    }
}
