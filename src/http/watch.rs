//! Watching an environment: a long poll, or a stream of server-sent events.
//!
//! Both are level-triggered: a watcher is told the newest content and may miss what was there only between. It never sees an
//! older one after a newer one, and nothing at all while its own environment stays as it is. A connection pulls; one that
//! reads slowly gets fewer events, not a longer queue.

mod admission;
mod connection;
mod environment;
mod list;
mod lists;
mod moves;
mod wire;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_http::header::{HeaderMap, HeaderName};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::Fault;
use super::route::Refusal;
use super::socket::Exit;
use super::{Http, environment as answers, negotiate};
use crate::access::Caller;
use crate::model::{Digest, Query, Revision};
use crate::store::{AnswerError, Gone, Reader, Reading};
use list::End;
use wire::Framing;

pub use admission::{Limits, Network, Watchers};
pub use lists::Lists;

/// The longest that a long poll waits.
const WAIT_MAX: Duration = Duration::from_secs(45);
/// The longest revision that may be asked for, in bytes.
const REVISION_BYTES_MAX: usize = 4 * 1024;
/// The header that says what a client has seen.
pub(super) const MIN_REVISION: HeaderName = HeaderName::from_static("headwater-min-revision");
/// Where a server is with a label that it does not have: as git writes what a reference without a commit points to.
const NO_REVISION: &str = "0000000000000000000000000000000000000000";
/// How long a client that has seen a newer revision than this server is held.
const BEHIND_MAX: Duration = Duration::from_secs(5);

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
    request: &HttpRequest,
    http: &Http,
    reader: &Reader,
    limit: Duration,
    is_known: impl Fn(&Reading) -> bool,
) -> Result<Reading, Fault> {
    let _watching = (http.watchers.enter(request.headers(), peer(request))?, reader.watched());
    let list = lists(request).environment(reader);
    let until = Instant::now() + limit;
    loop {
        let mut changed = std::pin::pin!(list.changed().notified());
        // Listened to before it is looked: what changes between is not missed.
        changed.as_mut().enable();
        let reading = reader.current();
        match list.end() {
            Some(End::Gone) => return Err(Fault::UnknownLabel),
            Some(End::Closing) => return Ok(reading),
            None if !is_known(&reading) => return Ok(reading),
            None => {}
        }
        tokio::select! {
            () = changed => {}
            () = sleep_until(until) => return Ok(reader.current()),
        }
    }
}

/// The stream: the present environment at once, unless the client has it, then every other one. Gives an answer only where
/// there is no stream.
pub(super) async fn stream(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
) -> Result<HttpResponse, Fault> {
    let watching = http.watchers.enter(request.headers(), peer(request))?;
    let mut reader = reader(request, http, caller, query).await?;
    let last = last_event(request.headers());
    if let Some((revision, _)) = &last {
        known(&mut reader, revision).await?;
    }
    answers::served(&reader.current())?;
    let list = lists(request).environment(&reader);
    list.subject().look();
    let told = last.and_then(|(_, digest)| digest);
    let framing = Framing::of(request.version());
    let present = http.instances.enter(request.headers(), query);
    let watching = (watching, reader.watched(), present);
    drop(reader);
    http.metrics.count_stream("environment");
    match exit(request).leave(|io| list.stream(io, framing, told, watching)).await {}
}

/// The moves of all labels, from the newest on or from where the client was.
pub(super) async fn moves(request: &HttpRequest, http: &Http) -> Result<HttpResponse, Fault> {
    if request.method() == Method::HEAD {
        return Ok(HttpResponse::Ok().content_type(negotiate::EVENT_STREAM).finish());
    }
    let watching = http.watchers.enter(request.headers(), peer(request))?;
    let told = request.headers().get("last-event-id").map_or_else(
        || http.store.moves.newest(),
        // Whatever else a client says that it has seen, it has not seen it here.
        |id| id.to_str().ok().and_then(|id| id.parse().ok()).unwrap_or_default(),
    );
    let list = lists(request).moves();
    let framing = Framing::of(request.version());
    http.metrics.count_stream("own");
    match exit(request).leave(|io| list.stream(io, framing, told, watching)).await {}
}

/// A reader of an answer that is not older than the revision that the request names, if it names one: for that this waits.
pub(super) async fn reader(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
) -> Result<Reader, Fault> {
    let Some(revision) = min_revision(request.headers())? else {
        return Ok(http.store.answer(caller, query).await?);
    };
    let mut reader = match http.store.answer(caller, query).await {
        // Whoever has seen a revision of a label that is unknown here has seen something newer.
        Err(AnswerError::UnknownLabel(_)) => return Err(Fault::Behind(Revision::new(NO_REVISION))),
        reader => reader?,
    };
    if request.method() != Method::HEAD {
        known(&mut reader, revision).await?;
    } else if !reader.knows(revision).await {
        return Err(behind(&reader));
    }
    Ok(reader)
}

/// Whether a request wants nothing older than a revision.
pub(super) fn wants_revision(headers: &HeaderMap) -> bool {
    headers.contains_key(MIN_REVISION)
}

fn min_revision(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(MIN_REVISION);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let revision = value.to_str().ok().filter(|text| is_revision(text));
            revision.map(Some).ok_or(Fault::Refused(Refusal::Invalid))
        }
        _ => Err(Fault::Refused(Refusal::Invalid)),
    }
}

/// Ids, joined by commas where there are several sources.
pub(super) fn is_revision(text: &str) -> bool {
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= REVISION_BYTES_MAX && text.split(',').all(is_id)
}

/// Waits until this server has had a revision.
async fn known(reader: &mut Reader, revision: &str) -> Result<(), Fault> {
    let known = timeout(BEHIND_MAX, reader.known(revision)).await;
    known.map_err(|_| behind(reader))?.map_err(|Gone| Fault::UnknownLabel)
}

fn behind(reader: &Reader) -> Fault {
    Fault::Behind(reader.current().tip)
}

/// The revision and the digest of `Last-Event-ID`.
fn last_event(headers: &HeaderMap) -> Option<(String, Option<Digest>)> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    let (revision, digest) = id.rsplit_once('.')?;
    Some((revision.to_owned(), Digest::parse(digest)))
}

fn peer(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|address| address.ip())
}

fn lists(request: &HttpRequest) -> Rc<Lists> {
    let lists = request.app_data::<Rc<Lists>>();
    Rc::clone(lists.expect("every worker's application has its lists"))
}

fn exit(request: &HttpRequest) -> Exit {
    let exit = request.conn_data::<Exit>();
    exit.expect("every connection has its way out").clone()
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
    fn a_revision_is_a_list_of_ids() {
        for revision in ["0123456789abcdef0123456789abcdef01234567", "4f3a", "ab,cd", "7"] {
            assert!(is_revision(revision), "{revision}");
        }
        let long = "a".repeat(REVISION_BYTES_MAX + 1);
        for text in ["", ",", "ab,", "a b", "main~1", "refs/heads/main", "\u{e4}", &long] {
            assert!(!is_revision(text), "{text}");
        }
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
