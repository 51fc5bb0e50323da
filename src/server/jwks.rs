//! The keys of issuers with a URL: read at the start, every ten minutes, and when a JWT needs a key that is not known.
//!
//! No request reads keys. The keys that were read last stay in force for as long as an issuer is unreachable.

mod fetch;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::policy::PolicyFiles;
use crate::access::{Guard, KeySource};
use crate::faults::{FaultKind, Faults};
use crate::http::{KeyRefresh, KeyRequests};

/// The longest interval between two readings. Up to a fifth of it is taken off at random, so that the replicas of a fleet
/// do not read at the same time.
const INTERVAL: Duration = Duration::from_secs(600);
/// The shortest pause after a failure. Up to a third of it is added at random.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// The largest file of certificate authorities, in bytes.
const CA_BYTES_MAX: u64 = 1024 * 1024;
/// The longest time for which a start waits for the first readings.
const FIRST_READ_MAX: Duration = Duration::from_secs(5);

/// Starts to read the keys of the policy in force. Waits for the first readings, so that the first clients of a server
/// that was restarted are accepted.
pub(super) fn start(
    guard: &Arc<Guard>,
    files: Arc<dyn PolicyFiles>,
    faults: Arc<Faults>,
    runtime: &Handle,
) -> KeyRefresh {
    let requests = Arc::new(KeyRequests::default());
    let requested = Arc::clone(&requests);
    guard.on_missing_key(move |source| requested.request(source));
    let reader = Reader {
        guard: Arc::clone(guard),
        requests: Arc::clone(&requests),
        faults,
        files,
        next: HashMap::new(),
    };
    let (sender, first) = mpsc::channel();
    let task = runtime.spawn(reader.run(sender));
    // The channel is closed at the end of the first readings. After a timeout they continue.
    let _ = first.recv_timeout(FIRST_READ_MAX);
    KeyRefresh::new(requests, task)
}

/// The object of a fault of an issuer's keys.
pub(super) fn object(issuer: &str) -> String {
    format!("the issuer {issuer}")
}

struct Reader {
    guard: Arc<Guard>,
    requests: Arc<KeyRequests>,
    faults: Arc<Faults>,
    /// The files that the policy names.
    files: Arc<dyn PolicyFiles>,
    /// The time of the next reading of each source.
    next: HashMap<KeySource, Instant>,
}

/// Reads a file with certificate authorities, on a thread of its own because the file system may be slow.
async fn authorities(
    files: Arc<dyn PolicyFiles>,
    ca_file: Option<String>,
) -> Result<Option<Vec<u8>>, String> {
    let Some(name) = ca_file else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || files.read(&name, CA_BYTES_MAX)).await;
    read.unwrap_or_else(|_| Err("it cannot be read".to_owned())).map(Some)
}

type Reading = (KeySource, Result<Vec<u8>, String>);

impl Reader {
    async fn run(mut self, first: mpsc::Sender<()>) {
        let mut first = Some(first);
        let mut readings: JoinSet<Reading> = JoinSet::new();
        loop {
            self.begin(&mut readings);
            if readings.is_empty() {
                drop(first.take());
            }
            let next = self.next.values().min().copied();
            let next = next.unwrap_or_else(|| Instant::now() + INTERVAL);
            tokio::select! {
                Some(reading) = readings.join_next() => {
                    if let Ok((source, document)) = reading {
                        self.apply(&source, document);
                    }
                }
                () = self.requests.requested() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Begins the readings that are due.
    fn begin(&mut self, readings: &mut JoinSet<Reading>) {
        let mut sources = self.guard.key_sources();
        sources.retain(|source| matches!(source, KeySource::Url { .. }));
        self.requests.set_sources(&sources);
        self.next.retain(|source, _| sources.contains(source));
        let now = Instant::now();
        let is_due = |source: &KeySource| self.next.get(source).is_none_or(|next| *next <= now);
        for source in self.requests.begin(is_due) {
            self.next.insert(source.clone(), now + INTERVAL);
            let KeySource::Url { url, ca_file } = source.clone() else { continue };
            let files = Arc::clone(&self.files);
            readings.spawn(async move {
                let document = match authorities(files, ca_file).await {
                    Ok(authorities) => fetch::fetch(&url, authorities).await,
                    Err(reason) => Err(format!("ca_file: {reason}")),
                };
                (source, document)
            });
        }
    }

    /// Puts the keys of a reading in force, or reports why there are none.
    fn apply(&mut self, source: &KeySource, document: Result<Vec<u8>, String>) {
        let replaced = document.and_then(|document| {
            let replaced = self.guard.replace_keys(source, &document);
            replaced.map_err(|error| error.to_string())
        });
        let issuers = self.guard.issuers().into_iter().filter(|issuer| issuer.source == *source);
        for issuer in issuers.map(|issuer| issuer.name) {
            match &replaced {
                Ok(is_new) => {
                    if *is_new {
                        tracing::info!(issuer, "keys of an issuer in force");
                    }
                    self.faults.end(FaultKind::JwksUnreachable, &object(&issuer));
                }
                Err(reason) => {
                    self.faults.begin(FaultKind::JwksUnreachable, &object(&issuer), reason);
                }
            }
        }
        let pause = match replaced {
            Ok(_) => INTERVAL - INTERVAL.mul_f64(fastrand::f64() / 5.0),
            Err(_) => RETRY_AFTER + RETRY_AFTER.mul_f64(fastrand::f64() / 3.0),
        };
        if let Some(next) = self.next.get_mut(source) {
            *next = Instant::now() + pause;
        }
        self.requests.finish(source);
    }
}
