//! The keys of issuers that a server reads, and the requests that wait for them.
//!
//! A request never reads keys itself. A JWT with an unknown key requests that the keys of its issuer are read again, and
//! waits until they are, for a bounded time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::access::KeySource;
use crate::sync::lock;

/// The shortest time between two readings that JWTs with unknown keys cause.
const REQUEST_SPACING: Duration = Duration::from_secs(30);
/// The longest time that a request waits for keys.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The keys of all issuers with a URL, and the task that reads them.
#[derive(Default)]
pub struct KeyRefresh {
    requests: Arc<KeyRequests>,
    reader: Option<AbortOnDropHandle<()>>,
}

/// The requests for keys, between the requests of clients and the task that reads keys.
#[derive(Default)]
pub struct KeyRequests {
    sources: Mutex<HashMap<KeySource, SourceState>>,
    /// Wakes the reading task.
    wake: Notify,
    /// Changes at the end of each reading.
    finished: watch::Sender<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct SourceState {
    is_requested: bool,
    is_being_read: bool,
    /// The beginning of the last reading.
    begun: Option<Instant>,
}

impl KeyRefresh {
    /// Keeps the reading task alive.
    pub fn new(requests: Arc<KeyRequests>, reader: JoinHandle<()>) -> Self {
        Self { requests, reader: Some(AbortOnDropHandle::new(reader)) }
    }

    /// The requests, for a policy that is replaced.
    pub fn requests(&self) -> Arc<KeyRequests> {
        Arc::clone(&self.requests)
    }

    /// Waits until no reading is due or under way. Returns false if there was none to wait for.
    pub(super) async fn finished(&self) -> bool {
        if self.reader.is_none() || !self.requests.has_pending() {
            return false;
        }
        let mut finished = self.requests.finished.subscribe();
        let wait = finished.wait_for(|()| !self.requests.has_pending());
        // After a timeout the keys may have arrived nevertheless, for another issuer.
        let _ = timeout(WAIT_MAX, wait).await;
        true
    }
}

impl KeyRequests {
    /// Requests a reading, unless the last one began a short time ago.
    pub fn request(&self, source: &KeySource) {
        let mut sources = lock(&self.sources);
        let Some(state) = sources.get_mut(source) else { return };
        let is_spaced = state.begun.is_none_or(|begun| begun.elapsed() >= REQUEST_SPACING);
        if is_spaced && !state.is_being_read && !state.is_requested {
            state.is_requested = true;
            self.wake.notify_one();
        }
    }

    /// Requests that the keys are read as the present policy names them.
    pub fn update(&self) {
        self.wake.notify_one();
    }

    /// Requests that all keys are read again, for an operator.
    pub fn request_all(&self) {
        for state in lock(&self.sources).values_mut() {
            state.is_requested = true;
        }
        self.wake.notify_one();
    }

    /// Waits until a reading is requested, or the policy may name other sources.
    pub async fn requested(&self) {
        self.wake.notified().await;
    }

    /// Sets the sources that are read. A new one is requested at once. Others keep their state.
    pub fn set_sources(&self, named: &[KeySource]) {
        let mut sources = lock(&self.sources);
        sources.retain(|source, _| named.contains(source));
        for source in named {
            let requested = SourceState { is_requested: true, ..SourceState::default() };
            sources.entry(source.clone()).or_insert(requested);
        }
    }

    /// Returns the sources that are to be read now, the requested ones and those that are due. Marks them as being read.
    pub fn begin(&self, is_due: impl Fn(&KeySource) -> bool) -> Vec<KeySource> {
        let mut sources = lock(&self.sources);
        let mut begun = Vec::new();
        for (source, state) in sources.iter_mut() {
            if !state.is_being_read && (state.is_requested || is_due(source)) {
                *state = SourceState {
                    is_requested: false,
                    is_being_read: true,
                    begun: Some(Instant::now()),
                };
                begun.push(source.clone());
            }
        }
        begun
    }

    /// Records the end of a reading.
    pub fn finish(&self, source: &KeySource) {
        if let Some(state) = lock(&self.sources).get_mut(source) {
            state.is_being_read = false;
        }
        self.finished.send_replace(());
    }

    fn has_pending(&self) -> bool {
        lock(&self.sources).values().any(|state| state.is_requested || state.is_being_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> KeySource {
        KeySource::Url { url: "https://issuer/keys".to_owned(), ca_file: None }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_causes_one_reading_in_its_time() {
        let requests = KeyRequests::default();
        // No policy names the source.
        requests.request(&source());
        assert!(!requests.has_pending());
        requests.set_sources(&[source()]);
        assert_eq!(requests.begin(|_| false), [source()]);
        requests.request(&source());
        assert!(requests.begin(|_| true).is_empty(), "it is being read");
        requests.finish(&source());
        requests.request(&source());
        assert!(!requests.has_pending());
        tokio::time::advance(REQUEST_SPACING).await;
        requests.request(&source());
        requests.request(&source());
        assert_eq!(requests.begin(|_| false), [source()]);
        requests.finish(&source());
        assert!(requests.begin(|_| false).is_empty());
        assert_eq!(requests.begin(|_| true), [source()]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_the_end_of_a_reading_and_not_longer() {
        let requests = Arc::new(KeyRequests::default());
        assert!(!KeyRefresh::default().finished().await);
        let refresh = KeyRefresh::new(Arc::clone(&requests), tokio::spawn(std::future::pending()));
        assert!(!refresh.finished().await);
        requests.set_sources(&[source()]);
        requests.begin(|_| false);
        let begun = Instant::now();
        assert!(refresh.finished().await);
        assert_eq!(begun.elapsed(), WAIT_MAX);
        let (waited, ()) = tokio::join!(refresh.finished(), async { requests.finish(&source()) });
        assert!(waited);
        assert_eq!(begun.elapsed(), WAIT_MAX);
    }
}
