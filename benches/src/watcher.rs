//! Someone who watches an environment: a stream of server-sent events, each with the moment at which it was there.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long an event may take.
const EVENT_MAX: Duration = Duration::from_secs(30);

/// One connection that is read by a thread of its own.
pub(crate) struct Watcher {
    events: Receiver<(Instant, String)>,
}

impl Watcher {
    /// Returns once the present environment was told.
    pub(crate) fn start(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let (seen, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let now = Instant::now();
                let Ok(line) = line else { return };
                // The revision, a full stop, and the digest of the content.
                let revision = line.strip_prefix("id: ").and_then(|id| id.split_once('.'));
                let Some((revision, _)) = revision else { continue };
                if seen.send((now, revision.to_owned())).is_err() {
                    return;
                }
            }
        });
        let watcher = Self { events };
        watcher.events.recv_timeout(EVENT_MAX).context("the watcher was told nothing")?;
        Ok(watcher)
    }

    /// When the event of a revision was there.
    pub(crate) fn told(&self, revision: &str) -> anyhow::Result<Instant> {
        let (at, told) = self
            .events
            .recv_timeout(EVENT_MAX)
            .with_context(|| format!("no event of {revision}"))?;
        if told != revision {
            bail!("told of {told} in place of {revision}");
        }
        Ok(at)
    }
}
