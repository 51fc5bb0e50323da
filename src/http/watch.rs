//! Watching an environment, by a long poll or by a stream of server-sent events.
//!
//! Both are level-triggered. A watcher receives the newest content and may miss content that was served only between
//! two events. It never receives older content after newer, and receives nothing while its own environment is
//! unchanged. A client that reads slowly gets fewer events instead of a longer queue.

mod admission;
mod connection;
mod environment;
mod feed;
mod group;
mod groups;
mod moves;
mod wire;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_http::header::{HeaderMap, HeaderName};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use headwater_wire::headers;
use tokio::time::{Instant, sleep_until, timeout};

use super::error::HttpError;
use super::identity::{Lease, LeaseSubject};
use super::route::RouteError;
use super::socket::ConnectionHandle;
use super::{Http, answers, instances, negotiate, reader, trials};
use crate::access::Caller;
use crate::model::{Digest, LabelPosition, Query, Revision, is_hex};
use crate::store::{AnswerAt, AnswerError, AnswerHandle, LabelGoneError, RolloutAt, Side};
use environment::EnvironmentCursor;
use feed::StreamEnd;
use wire::Framing;

pub use admission::{IpNetwork, WatchLimits, Watchers};
pub use groups::WatcherGroups;

/// The longest time of a long poll.
const WAIT_MAX: Duration = Duration::from_secs(45);
/// The longest revision in a request, in bytes.
const REVISION_BYTES_MAX: usize = 4 * 1024;
/// The lengths of an id in hexadecimal: SHA-1 (git, and digests of directories cut to it) and SHA-256 (git, etcd).
const ID_LENGTHS: [usize; 2] = [40, 64];
/// The header with the newest revision that a client has seen.
pub(super) const MIN_REVISION: HeaderName = HeaderName::from_static(headers::MIN_REVISION);
/// The revision that stands for a label without one, as git writes the target of a missing reference.
const NO_REVISION: &str = "0000000000000000000000000000000000000000";
/// The longest time that a request waits until this server receives the requested revision.
const BEHIND_MAX: Duration = Duration::from_secs(5);

/// Returns the time of `Prefer: wait=<seconds>`, limited to [`WAIT_MAX`].
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
    let seconds = preferences.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, seconds) = preference.split_once('=')?;
        let digits = seconds.split(';').next()?.trim().trim_matches('"');
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large to parse means the longest time.
        (name.trim().eq_ignore_ascii_case("wait") && is_number)
            .then(|| digits.parse().unwrap_or(u64::MAX))
    })?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// Waits until the content differs from the client's, the time is up or the server stops. Returns the present answer.
pub(super) async fn poll(
    request: &HttpRequest,
    http: &Http,
    handle: &AnswerHandle,
    limit: Duration,
    is_known: impl Fn(&AnswerAt) -> bool,
) -> Result<AnswerAt, HttpError> {
    let _permits = (http.watchers.admit(request.headers(), peer(request))?, handle.count_watcher());
    let group = groups(request).environment(handle);
    let until = Instant::now() + limit;
    loop {
        let mut changed = std::pin::pin!(group.changed().notified());
        // Enabled before the content is read, so that no change between the two is missed.
        changed.as_mut().enable();
        let current = handle.current();
        match group.end() {
            Some(StreamEnd::LabelDeleted) => return Err(HttpError::UnknownLabel),
            Some(StreamEnd::ServerStopping) => return Ok(current),
            None if !is_known(&current) => return Ok(current),
            None => {}
        }
        tokio::select! {
            () = changed => {}
            () = sleep_until(until) => return Ok(handle.current()),
        }
    }
}

/// Serves an event stream: the present environment at once, unless the client has it, and then each change. Returns
/// only errors, because the connection of a stream is detached.
pub(super) async fn stream(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
) -> Result<HttpResponse, HttpError> {
    let permit = http.watchers.admit(request.headers(), peer(request))?;
    let mut handle = handle(request, http, caller, query).await?;
    let last = last_event(request.headers());
    if let Some((seen, _)) = &last {
        wait_for_position(http, &mut handle, seen).await?;
    }
    let current = handle.current();
    answers::check(request, http, caller, query, &current)?;
    http.record_opened_read(request, caller, query, current.served(), &current.revision)?;
    let group = groups(request).environment(&handle);
    group.subject().refresh();
    let cursor =
        EnvironmentCursor { digest: last.and_then(|(_, digest)| digest), reader: handle.reader() };
    let framing = Framing::of(request.version());
    let instance = instances::enter(http, request.headers(), query);
    let inbox = instance
        .as_ref()
        .and_then(|_| trials::offer(http, request.headers(), caller, query, handle.variant()));
    let permits = (permit, handle.count_watcher(), instance);
    drop(handle);
    let lease = Lease::of(request, http, caller, LeaseSubject::Environment(query.clone()));
    http.metrics.count_stream("environment");
    let stream = |io| group.stream(io, framing, cursor, lease, inbox, permits);
    match connection(request).detach(stream).await {}
}

/// Serves the event stream of all moves, from the newest on or after the last one that the client has received.
pub(super) async fn moves(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
) -> Result<HttpResponse, HttpError> {
    if request.method() == Method::HEAD {
        return Ok(HttpResponse::Ok().content_type(negotiate::EVENT_STREAM).finish());
    }
    let permit = http.watchers.admit(request.headers(), peer(request))?;
    let cursor = request.headers().get("last-event-id").map_or_else(
        || http.store.events.newest(),
        // An id that is not a number comes from another server or is invalid. It means before the first move.
        |id| id.to_str().ok().and_then(|id| id.parse().ok()).unwrap_or_default(),
    );
    let group = groups(request).moves();
    let framing = Framing::of(request.version());
    let lease = Lease::of(request, http, caller, LeaseSubject::Moves);
    http.metrics.count_stream("own");
    let stream = |io| group.stream(io, framing, cursor, lease, None, permit);
    match connection(request).detach(stream).await {}
}

/// Returns a handle to the answer for the instance of a request. If the request names a revision, waits until the answer is
/// not older than it.
pub(super) async fn handle(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
) -> Result<AnswerHandle, HttpError> {
    let instance = reader::instance(request.headers(), query);
    let Some(seen) = min_revision(request.headers())? else {
        return Ok(http.store.answer(caller, query).await?.for_instance(instance));
    };
    let mut handle = match http.store.answer(caller, query).await {
        // The client has seen a revision of the label, so another server has it and this one is behind.
        Err(AnswerError::UnknownLabel(_)) => return Err(absent()),
        handle => handle?.for_instance(instance),
    };
    if request.method() != Method::HEAD {
        wait_for_position(http, &mut handle, &seen).await?;
    } else if !handle.has_reached(&seen).await {
        return Err(behind(&handle));
    }
    Ok(handle)
}

/// Returns true if a request names a revision that the answer must not be older than.
pub(super) fn wants_revision(headers: &HeaderMap) -> bool {
    headers.contains_key(MIN_REVISION)
}

/// Returns the error for an absent label in a request that names a revision.
pub(super) fn absent_at_revision(headers: &HeaderMap) -> HttpError {
    match min_revision(headers) {
        Ok(_) => absent(),
        Err(error) => error,
    }
}

fn min_revision(headers: &HeaderMap) -> Result<Option<LabelPosition>, HttpError> {
    let mut values = headers.get_all(MIN_REVISION);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let seen = value.to_str().ok().and_then(position);
            seen.map(Some).ok_or(HttpError::Route(RouteError::Invalid))
        }
        _ => Err(HttpError::Route(RouteError::Invalid)),
    }
}

/// The position in a text that can be one of some source: a revision, and the epochs of its publication.
pub(super) fn position(text: &str) -> Option<LabelPosition> {
    let position = (text.len() <= REVISION_BYTES_MAX).then(|| LabelPosition::parse(text))??;
    is_revision(position.revision.as_str()).then_some(position)
}

/// Returns true for a text that can be a revision of any source: ids, joined by commas for several sources or labels.
/// The kind of the own source does not matter, because a client may have seen the revision before the operator replaced
/// the source.
fn is_revision(text: &str) -> bool {
    text.len() <= REVISION_BYTES_MAX && text.split(',').all(is_id)
}

/// Returns true for a git commit id, for the digest of a directory and for the id of a state of etcd.
fn is_id(text: &str) -> bool {
    ID_LENGTHS.iter().any(|length| is_hex(text, *length))
}

/// Waits until this server has had a position. A source that copies a remote repository fetches meanwhile.
async fn wait_for_position(
    http: &Http,
    handle: &mut AnswerHandle,
    seen: &LabelPosition,
) -> Result<(), HttpError> {
    if handle.has_reached(seen).await {
        return Ok(());
    }
    http.store.hint_refresh();
    let reached = timeout(BEHIND_MAX, handle.wait_for_position(seen)).await;
    reached.map_err(|_| behind(handle))?.map_err(|LabelGoneError| HttpError::UnknownLabel)
}

fn behind(handle: &AnswerHandle) -> HttpError {
    let AnswerAt { revision, tip, rollout, .. } = handle.current();
    match rollout {
        // The reader does not receive the tip.
        Some(RolloutAt { id, side: Side::Stable }) => {
            HttpError::Behind { newest: revision, rollout: Some(id) }
        }
        rollout => HttpError::Behind { newest: tip, rollout: rollout.map(|rollout| rollout.id) },
    }
}

/// Returns the error for a label that this server does not have, and of which the client has seen a revision.
fn absent() -> HttpError {
    HttpError::Behind { newest: Revision::new(NO_REVISION), rollout: None }
}

/// The position and the digest of `Last-Event-ID`. Text after the revision that gives no epochs is part of the revision:
/// no server knows that one.
fn last_event(headers: &HeaderMap) -> Option<(LabelPosition, Option<Digest>)> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    let (seen, digest) = id.rsplit_once('.')?;
    let position =
        LabelPosition::parse(seen).unwrap_or_else(|| LabelPosition::from(&Revision::new(seen)));
    Some((position, Digest::parse(digest)))
}

fn peer(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|address| address.ip())
}

fn groups(request: &HttpRequest) -> Rc<WatcherGroups> {
    let groups = request.app_data::<Rc<WatcherGroups>>();
    Rc::clone(groups.expect("the application of every worker has its groups"))
}

/// Returns the handle of a request's connection.
pub(super) fn connection(request: &HttpRequest) -> ConnectionHandle {
    let connection = request.conn_data::<ConnectionHandle>();
    connection.expect("every connection has a handle").clone()
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
        let (commit, digest) = ("0123456789abcdef0123456789abcdef01234567", "a".repeat(64));
        for revision in [commit, &digest, &format!("{commit},{digest}"), NO_REVISION] {
            assert!(is_revision(revision), "{revision}");
        }
        let long = vec![commit; REVISION_BYTES_MAX / commit.len()].join(",");
        for text in [
            "",
            ",",
            "r",
            "7",
            "4f3a",
            "a b",
            "main~1",
            "refs/heads/main",
            "\u{e4}",
            &long,
            &commit.to_uppercase(),
            &commit[1..],
            &format!("{commit},"),
            &format!(",{commit}"),
            &format!("{commit} "),
            &format!("{commit}0"),
            &"g".repeat(40),
            &format!("{commit},,{commit}"),
        ] {
            assert!(!is_revision(text), "{text}");
        }
    }

    #[test]
    fn a_wait_is_limited() {
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
