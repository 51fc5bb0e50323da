//! Hints that something has moved, for whoever keeps what no environment tells of, such as texts.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::fetch::{self, Attempt};
use crate::watch::connection::{Stream, Trouble};
use crate::watch::follow::PROVED_AFTER;
use crate::watch::pace::Pace;

/// Tells that labels of a server have moved, or may have: [`Client::moves`]. It ends when it is dropped.
#[derive(Debug)]
pub struct Moves {
    moved: watch::Receiver<()>,
    /// It ends when this is dropped.
    _task: JoinSet<()>,
}

impl Client {
    /// Follows the moves of all labels of one of the servers (`/-/events`), for whoever asks for [texts](Client::text): a
    /// text that changes alone is no change of the environment, so that no [`Watch`](crate::Watch) tells of it.
    ///
    /// A hint says only that it is worth asking again. There are too many rather than too few, as after each new
    /// connection, and none at all where servers or whatever stands between do not give them: ask now and then anyway.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use = "moves are followed until this is dropped"]
    pub fn moves(&self) -> Moves {
        let (sender, moved) = watch::channel(());
        let mut task = JoinSet::new();
        task.spawn(follow(self.clone(), sender));
        Moves { moved, _task: task }
    }
}

impl Moves {
    /// Waits for the next hint; several that came meanwhile are one. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) {
        if self.moved.changed().await.is_err() {
            // A server has refused: no hint will come.
            std::future::pending().await
        }
    }
}

/// Goes on until it is dropped, or a server refuses.
async fn follow(client: Client, moved: watch::Sender<()>) {
    let mut pace = Pace::new(client.servers.len(), Instant::now());
    loop {
        let (server, at) = pace.next(Instant::now());
        sleep_until(at).await;
        let retry = match open(&client, server).await {
            Ok(mut stream) => {
                let opened = Instant::now();
                // Nobody knows what has moved before.
                moved.send_replace(());
                while let Ok(events) = stream.next().await {
                    if !events.is_empty() {
                        moved.send_replace(());
                    }
                }
                if opened.elapsed() >= PROVED_AFTER {
                    pace.proved(Instant::now());
                }
                stream.retry
            }
            Err(Trouble::Attempt(Attempt::Final(_))) => return,
            Err(Trouble::Attempt(Attempt::Again { retry_after, .. })) => retry_after,
            Err(Trouble::NoStream | Trouble::Gone) => None,
        };
        pace.failed(server, retry, Instant::now());
    }
}

async fn open(client: &Client, server: usize) -> Result<Stream, Trouble> {
    // A token file may be there again the next time.
    let credentials = client.credentials.current_header().await.map_err(|_| Trouble::NoStream)?;
    let named = &client.servers[server];
    let request = client.http.get(named.own_url(&["-", "events"]));
    let request = fetch::addressed(request, named, credentials.as_ref(), "text/event-stream");
    Stream::open(request, client, server).await
}
