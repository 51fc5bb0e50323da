//! Watching an environment: a long poll, or a stream of server-sent events.
//!
//! Both are level-triggered: a watcher is told the newest content and may miss what was there only between. It never sees an
//! older one after a newer one, and nothing at all while its own environment stays as it is. A connection pulls; one that
//! reads slowly gets fewer events, not a longer queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::Fault;
use super::{Http, environment, negotiate};
use crate::access::Caller;
use crate::model::Query;
use crate::store::{Gone, Reader, Reading};

/// The longest that a long poll waits.
const WAIT_MAX: Duration = Duration::from_secs(45);
/// How often a stream with nothing to say shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client that has seen a newer revision than this server is held.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// Between these a client is told to wait before it connects again, in milliseconds.
const RETRY_MILLISECONDS: std::ops::Range<u64> = 1_000..5_000;
/// The most watchers that a server has unless it is told otherwise.
pub const WATCHER_COUNT_MAX: usize = 20_000;

/// Who watches, counted and bounded, and whether the server is closing.
pub struct Watchers {
    count: Arc<AtomicUsize>,
    count_max: usize,
    closing: watch::Sender<bool>,
}

impl Watchers {
    /// At most so many at a time.
    pub fn new(count_max: usize) -> Self {
        Self { count: Arc::default(), count_max, closing: watch::Sender::new(false) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends every stream and long poll, so that clients move to another server at once.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    fn enter(&self) -> Result<Watching, Fault> {
        let watching = Watching(Arc::clone(&self.count));
        match self.count.fetch_add(1, Ordering::Relaxed) < self.count_max {
            true => Ok(watching),
            false => Err(Fault::TooManyWatchers),
        }
    }
}

/// One watcher; it is counted for as long as this is held.
struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long `Prefer: wait=<seconds>` asks to wait, as far as that is granted.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
    let seconds = preferences.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, seconds) = preference.split_once('=')?;
        let digits = seconds.split(';').next()?.trim().trim_matches('"');
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large to be one is a wish for the longest.
        (name.trim().eq_ignore_ascii_case("wait") && is_number)
            .then(|| digits.parse().unwrap_or(u64::MAX))
    })?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// Waits until what is there is not what the client knows, the time is up or the server closes; then there is a reading to
/// answer with.
pub(super) async fn poll(
    http: &Http,
    reader: &mut Reader,
    limit: Duration,
    is_known: impl Fn(&Reading) -> bool,
) -> Result<Reading, Fault> {
    let _watching = http.watchers.enter()?;
    let mut closing = http.watchers.closing.subscribe();
    let until = Instant::now() + limit;
    loop {
        let reading = reader.current();
        if !is_known(&reading) {
            return Ok(reading);
        }
        tokio::select! {
            changed = reader.changed() => changed.map_err(|Gone| Fault::UnknownLabel)?,
            () = sleep_until(until) => return Ok(reader.current()),
            _ = closing.wait_for(|closing| *closing) => return Ok(reader.current()),
        }
    }
}

/// The stream: the present environment at once, unless the client has it, then every other one.
pub(super) async fn stream(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
) -> Result<HttpResponse, Fault> {
    let watching = http.watchers.enter()?;
    let mut reader = http.store.answer(caller, query).await?;
    let last = last_event(request.headers());
    if let Some((revision, _)) = &last {
        timeout(BEHIND_MAX, reader.known(revision))
            .await
            .map_err(|_| Fault::Behind)?
            .map_err(|Gone| Fault::UnknownLabel)?;
    }
    environment::served(&reader.current())?;
    let stream = Stream {
        reader,
        told: last.map(|(_, digest)| digest),
        opening: true,
        closing: http.watchers.closing.subscribe(),
        _watching: watching,
    };
    Ok(HttpResponse::Ok()
        .content_type(negotiate::EVENT_STREAM)
        .insert_header(("Cache-Control", "no-cache"))
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header(("Vary", "Accept"))
        .streaming(stream::unfold(Some(stream), |stream| async {
            let mut stream = stream?;
            let (bytes, goes_on) = stream.next().await?;
            Some((Ok::<_, actix_web::Error>(bytes), goes_on.then_some(stream)))
        })))
}

/// The revision and the digest of `Last-Event-ID`.
fn last_event(headers: &HeaderMap) -> Option<(String, String)> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    let (revision, digest) = id.rsplit_once('.')?;
    Some((revision.to_owned(), digest.to_owned()))
}

struct Stream {
    reader: Reader,
    /// The digest of what the client was told last.
    told: Option<String>,
    opening: bool,
    closing: watch::Receiver<bool>,
    _watching: Watching,
}

impl Stream {
    /// What goes on the wire next, and whether anything comes after it; `None` when the server closes.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        if std::mem::take(&mut self.opening) {
            let retry = format!("retry: {}\n\n", fastrand::u64(RETRY_MILLISECONDS));
            return Some((retry.into(), true));
        }
        loop {
            if let Some(event) = self.news() {
                return Some((event, true));
            }
            tokio::select! {
                changed = self.reader.changed() => if changed.is_err() {
                    return Some((Bytes::from_static(b"event: gone\ndata:\n\n"), false));
                },
                () = sleep(HEARTBEAT) => return Some((Bytes::from_static(b":\n\n"), true)),
                _ = self.closing.wait_for(|closing| *closing) => return None,
            }
        }
    }

    /// The event for the present environment, unless the client was told of it.
    fn news(&mut self) -> Option<Bytes> {
        let reading = self.reader.current();
        let served = reading.answer.served()?;
        let digest = served.digest.to_string();
        if self.told.as_ref() == Some(&digest) {
            return None;
        }
        self.told = Some(digest);
        Some(served.event(&reading.revision))
    }
}

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(prefer: &'static str, expected: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("prefer"), HeaderValue::from_static(prefer));
        assert_eq!(wait(&headers), expected.map(Duration::from_secs), "{prefer}");
    }

    #[test]
    fn a_wait_is_granted_up_to_the_longest() {
        check("wait=10", Some(10));
        check("respond-async, wait=10", Some(10));
        check("Wait = 10; x=y", Some(10));
        check("wait=\"7\"", Some(7));
        check("wait=3155760000", Some(45));
        check("wait=99999999999999999999999999", Some(45));
        check("wait=0", Some(0));
        check("wait=-1", None);
        check("wait", None);
        check("waiting=5", None);
    }
}
