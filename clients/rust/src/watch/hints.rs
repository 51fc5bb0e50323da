//! Hints that a label of a server may have changed, for services that also read text files.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::fetch::{self, Attempt};
use crate::watch::connection::{ConnectionError, EventStream};
use crate::watch::follow::STABLE_AFTER;
use crate::watch::pace::Pace;

/// Hints that a label of a server may have changed, from [`Client::change_hints`]. Dropping it closes its connection.
#[derive(Debug)]
pub struct ChangeHints {
    hints: watch::Receiver<()>,
    /// Drives the connection. Dropping it closes the connection.
    _task: JoinSet<()>,
}

impl Client {
    /// Follows the changes of all labels of one of the servers (`/-/events`), for a service that reads
    /// [text files](Client::text). A changed text file is not a change of the environment, so that a
    /// [`Watch`](crate::Watch) does not report it.
    ///
    /// A hint means that the file may have changed and should be read again. Each new connection also causes a hint. There
    /// are no hints when the server or a proxy does not support them, so that a service should also read its files
    /// periodically.
    ///
    /// # Panics
    /// When called outside of a Tokio runtime.
    #[must_use = "hints end when this is dropped"]
    pub fn change_hints(&self) -> ChangeHints {
        let (sender, hints) = watch::channel(());
        let mut task = JoinSet::new();
        task.spawn(follow(self.clone(), sender));
        ChangeHints { hints, _task: task }
    }
}

impl ChangeHints {
    /// Waits for the next hint. Several hints since the last call are returned as one.
    ///
    /// Cancellation: dropping the future loses no hint.
    pub async fn next(&mut self) {
        if self.hints.changed().await.is_err() {
            // A server has rejected the request, so there are no hints.
            std::future::pending().await
        }
    }
}

/// Runs until it is dropped, or a server rejects the request.
async fn follow(client: Client, hints: watch::Sender<()>) {
    let mut pace = Pace::new(client.servers.len(), Instant::now());
    loop {
        let (server, at) = pace.next(Instant::now());
        sleep_until(at).await;
        let retry = match open(&client, server).await {
            Ok(mut stream) => {
                let opened = Instant::now();
                // Changes may have been missed before the connection.
                hints.send_replace(());
                while let Ok(events) = stream.next().await {
                    if !events.is_empty() {
                        hints.send_replace(());
                    }
                }
                if opened.elapsed() >= STABLE_AFTER {
                    pace.record_stable(Instant::now());
                }
                stream.retry
            }
            Err(ConnectionError::Attempt(Attempt::Final(_))) => return,
            Err(ConnectionError::Attempt(Attempt::Again { retry_after, .. })) => retry_after,
            Err(ConnectionError::NoStream | ConnectionError::Gone) => None,
        };
        pace.record_failure(server, retry, Instant::now());
    }
}

async fn open(client: &Client, server: usize) -> Result<EventStream, ConnectionError> {
    // An unreadable token file may be readable at the next attempt.
    let credentials =
        client.credentials.current_header().await.map_err(|_| ConnectionError::NoStream)?;
    let named = &client.servers[server];
    let request = client.http.get(named.url_below_base(&["-", "events"]));
    let request = fetch::authorized(request, named, credentials.as_ref(), "text/event-stream");
    EventStream::open(request, client, server).await
}
