//! The hot path: repeated requests for the same environments, answered before routing.
//!
//! Each worker remembers the answer that a path leads to, with the bytes and headers that it sent last. Only a plain
//! `GET` of a remembered path is answered here. All other requests continue to the application.
//!
//! Invariant: a remembered answer is never sent unchecked. Every request asks the store whether the label has moved
//! since.

mod request_headers;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_http::body::BoxBody;
use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_http::{HttpMessage, Method, Request, Response, StatusCode};
use actix_service::{Service, ServiceFactory};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::web;
use bytes::Bytes;
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};
use headwater_wire::headers;

use super::identity::{self, PresentedCredential};
use super::route::{self, Route};
use super::socket::ConnectionHandle;
use super::{Http, PRIVATE, audit, body, negotiate};
use crate::access::{
    Caller, Identity, IdentityKey, JwtVerification, Operation, Permission, Resource,
};
use crate::audit::{OpenedRead, OpenedReads, Ticket};
use crate::model::{Digest, LabelPosition, Query, Revision};
use crate::render::Representation;
use crate::reveal::Variant;
use crate::store::{AnswerAt, Body, CachedAnswer, RolloutAt, SequenceStamp, Side};
use request_headers::RequestHeaders;

/// The most paths that one worker remembers. When they are exceeded, the worker forgets all.
const PATH_COUNT_MAX: usize = 4_096;
/// The longest time that an answer is sent without reading it again. Reading marks it as used in the store.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The most principals that one path remembers as permitted. When they are exceeded, the path forgets all.
const PERMITTED_COUNT_MAX: usize = 8;
/// The header `Vary` of an answer.
const VARY: &str = "Accept";
/// The same under a policy.
const PRIVATE_VARY: &str = "Accept, Authorization, X-Config-Token";
const REVISION: HeaderName = HeaderName::from_static(headers::REVISION);
const EPOCH: HeaderName = HeaderName::from_static(headers::EPOCH);
const HELD_AT: HeaderName = HeaderName::from_static(headers::HELD_AT);
const ROLLOUT: HeaderName = HeaderName::from_static(headers::ROLLOUT);

/// An application behind the hot path.
pub struct Hot<A> {
    app: A,
    http: web::Data<Http>,
    reads: Option<Rc<OpenedReads>>,
}

impl<A> Hot<A> {
    /// Puts the hot path before an application.
    pub fn new(app: A, http: web::Data<Http>, reads: Option<Rc<OpenedReads>>) -> Self {
        Self { app, http, reads }
    }
}

impl<A> ServiceFactory<Request> for Hot<A>
where
    A: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<BoxBody>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    A::Service: 'static,
{
    type Response = Response<BoxBody>;
    type Error = actix_web::Error;
    type Config = AppConfig;
    type Service = HotService<A::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let app = self.app.new_service(config);
        let (http, reads) = (self.http.clone(), self.reads.clone());
        Box::pin(
            async move { Ok(HotService { app: app.await?, http, reads, paths: Rc::default() }) },
        )
    }
}

/// The hot path of one worker.
pub struct HotService<S> {
    app: S,
    http: web::Data<Http>,
    /// The counts of reads for the audit trail, if there is one.
    reads: Option<Rc<OpenedReads>>,
    paths: Rc<RefCell<Paths>>,
}

#[derive(Default)]
struct Paths(HashMap<Box<str>, Remembered>);

/// The environment that a request asks for, with its path.
struct AskedEnvironment {
    path: Box<str>,
    query: Query,
}

struct Remembered {
    query: Query,
    cached: CachedAnswer,
    ready: ReadyAnswers,
    /// The principals that the policy permits to read the environment, with the variant that each of them receives.
    permitted: Vec<(IdentityKey, Variant)>,
    /// The last counted read of opened values, which the next one nearly always equals.
    last_read: Option<LastRead>,
}

/// A counted read of opened values.
struct LastRead {
    key: IdentityKey,
    read: OpenedRead,
    ticket: Ticket,
}

/// The ready answers of a path, by representation.
#[derive(Default)]
struct ReadyAnswers {
    /// The answers of callers that may open values. Without a policy, all callers receive them.
    opened: [Option<ReadyAnswer>; 2],
    /// The answers of other callers.
    sealed: Option<Box<[Option<ReadyAnswer>; 2]>>,
}

/// The bytes and headers of one representation at one revision.
struct ReadyAnswer {
    stamp: Option<SequenceStamp>,
    read_at: Instant,
    sequence: u64,
    position: LabelPosition,
    etag: HeaderValue,
    revision_header: HeaderValue,
    /// Only of a label that was rewound, or of an application that a rollout holds.
    epoch_header: Option<HeaderValue>,
    /// Only of an application that a rollout holds.
    held: Option<Box<HeldHeaders>>,
    body: Body,
    /// The digest of an answer with opened values.
    opened_digest: Option<Digest>,
}

/// The headers of an application that a rollout holds.
struct HeldHeaders {
    tip: Revision,
    rollout: RolloutAt,
    /// Only on the stable side.
    tip_header: Option<HeaderValue>,
    rollout_header: HeaderValue,
}

impl HeldHeaders {
    fn new(current: &AnswerAt) -> Option<Option<Box<Self>>> {
        let Some(rollout) = &current.rollout else { return Some(None) };
        Some(Some(Box::new(Self {
            tip: current.tip.clone(),
            rollout: rollout.clone(),
            tip_header: match rollout.side {
                Side::Stable => Some(HeaderValue::from_str(current.tip.as_str()).ok()?),
                Side::Candidate => None,
            },
            rollout_header: HeaderValue::from_str(&rollout.id).ok()?,
        })))
    }

    /// Returns true if the headers are those of an answer.
    fn are_of(held: Option<&Self>, current: &AnswerAt) -> bool {
        match (held, &current.rollout) {
            (None, None) => true,
            (Some(held), Some(rollout)) => held.tip == current.tip && held.rollout == *rollout,
            _ => false,
        }
    }
}

impl<S> Service<Request> for HotService<S>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>,
    S::Future: 'static,
{
    type Response = Response<BoxBody>;
    type Error = actix_web::Error;
    type Future = Either<
        Ready<Result<Self::Response, Self::Error>>,
        LocalBoxFuture<'static, Result<Self::Response, Self::Error>>,
    >;

    actix_service::forward_ready!(app);

    fn call(&self, request: Request) -> Self::Future {
        let asked = match self.answer(&request) {
            Ok(response) => return Either::Left(ready(Ok(response))),
            Err(asked) => asked,
        };
        let answered = self.app.call(request);
        let (http, paths) = (self.http.clone(), Rc::clone(&self.paths));
        Either::Right(Box::pin(async move {
            let response = answered.await?;
            if let Some(AskedEnvironment { path, query }) = asked
                && matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED)
                && let Some(cached) = http.store.cached_answer(&query)
            {
                paths.borrow_mut().remember(path, query, cached);
            }
            Ok(response.into())
        }))
    }
}

impl<S> HotService<S> {
    /// Answers from memory: a look-up, the check of the store, and four headers. A request that needs more is an error, with
    /// its environment if it asks for one.
    ///
    /// The policy decides about each request for an environment once, whether the path is remembered or not. Otherwise a
    /// caller that it denies could tell by the time of its answer whether another caller reads the path.
    fn answer(&self, request: &Request) -> Result<Response<BoxBody>, Option<AskedEnvironment>> {
        let uri = request.uri();
        if request.method() != Method::GET || uri.query().is_some() {
            return Err(None);
        }
        let mut paths = self.paths.borrow_mut();
        let remembered = paths.0.get_mut(uri.path());
        let Some(headers) = RequestHeaders::of(request.headers()) else {
            return Err(self.asked(request));
        };
        let Some(remembered) = remembered else {
            let asked = self.asked(request);
            if let Some(asked) = &asked
                && self.http.guard.is_some()
            {
                black_box(self.with_caller(request, headers.credential, |caller| {
                    headers.representation()?;
                    decide(&self.http, caller, &asked.query)
                }));
            }
            return Err(asked);
        };
        let (mut asked, mut has_moved) = (None, false);
        let response = self.with_caller(request, headers.credential, |caller| {
            let representation = headers.representation()?;
            let variant = match remembered.known_variant(&self.http, caller) {
                Some(variant) => variant,
                None => {
                    let asked = asked.insert(self.asked(request)?);
                    let (key, variant) = decide(&self.http, caller, &asked.query)?;
                    remembered.permit(key, variant);
                    variant
                }
            };
            let form = (variant, representation);
            self.respond_from(remembered, request, &headers, caller, form, &mut has_moved)
        });
        let Some(response) = response else {
            return Err(asked.or_else(|| self.asked(request)));
        };
        if has_moved {
            paths.drop_outdated();
        }
        Ok(response)
    }

    /// Answers a caller from the memory of a path. Sets `has_moved` if the label has moved since the last answer.
    fn respond_from(
        &self,
        remembered: &mut Remembered,
        request: &Request,
        headers: &RequestHeaders<'_>,
        caller: &Caller,
        (variant, representation): (Variant, Representation),
        has_moved: &mut bool,
    ) -> Option<Response<BoxBody>> {
        let Remembered { query, cached, ready, last_read, .. } = remembered;
        let ready = ready.get_mut(variant, representation);
        let now = Instant::now();
        if !ready.as_ref().is_some_and(|ready| ready.is_present(cached, now)) {
            *has_moved = ready.as_ref().is_some_and(|ready| ready.has_moved(cached));
            // An answer that a problem holds back, or that is broken, needs further headers.
            *ready = Some(ReadyAnswer::read(cached, variant, representation, ready.take())?);
        }
        let ready = ready.as_ref()?;
        let response = self.respond(request, headers.has_etags, representation, ready)?;
        if response.status() == StatusCode::OK {
            self.record_opened_read(request, caller, query, ready, last_read, now)?;
        }
        Some(response)
    }

    /// Passes the caller of a request on. Returns `None` as [`HotService::caller`] does. A caller that the connection
    /// remembers is not copied, because the count of its references would be changed twice.
    fn with_caller<T>(
        &self,
        request: &Request,
        credential: PresentedCredential<'_>,
        then: impl FnOnce(&Caller) -> Option<T>,
    ) -> Option<T> {
        if let Some(guard) = &self.http.guard
            && let Some(connection) = request.conn_data::<ConnectionHandle>()
            && let Some(known) = &*connection.identity().borrow()
            && let Some(caller) = known.caller(guard, credential)
        {
            return then(caller);
        }
        then(&self.caller(request)?)
    }

    /// Identifies the caller. Returns `None` for a bad credential, which the application rejects, and for a JWT that is
    /// still to be verified.
    fn caller(&self, request: &Request) -> Option<Caller> {
        let Some(guard) = &self.http.guard else {
            return Some(self.http.caller(request.headers()));
        };
        let connection = request.conn_data::<ConnectionHandle>();
        let deferred = JwtVerification::Deferred;
        let identity = identity::identify(guard, connection, request.headers(), deferred);
        identity.ok().map(Caller::Identified)
    }

    /// Records a read of opened values. Returns `None` if the trail is required and cannot be written.
    fn record_opened_read(
        &self,
        request: &Request,
        caller: &Caller,
        query: &Query,
        ready: &ReadyAnswer,
        last_read: &mut Option<LastRead>,
        now: Instant,
    ) -> Option<()> {
        let (Some(reads), Some(digest)) = (&self.reads, ready.opened_digest) else {
            return Some(());
        };
        reads.is_permitted().then_some(())?;
        let address = self.http.watchers.client_of(request);
        let revision = &ready.position.revision;
        let key = match caller {
            Caller::Identified(identity) => Some(identity.key()),
            _ => None,
        };
        if let Some(last) = last_read
            && Some(last.key) == key
            && (last.read.digest, last.read.address) == (digest, address)
            && reads.record_again(last.ticket, now)
        {
            return Some(());
        }
        let read = audit::opened_read(caller, address, query, digest);
        let ticket = audit::count_opened_read(reads, caller, &read, revision);
        *last_read = key.zip(ticket).map(|(key, ticket)| LastRead { key, read, ticket });
        Some(())
    }

    fn respond(
        &self,
        request: &Request,
        has_etags: bool,
        representation: Representation,
        ready: &ReadyAnswer,
    ) -> Option<Response<BoxBody>> {
        if has_etags && negotiate::has_already(request.headers(), ready.etag.to_str().ok()?) {
            self.http.metrics.hot_unchanged.inc();
            let mut response = Response::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()));
            ready.add_headers(response.headers_mut(), self.http.guard.is_some());
            return Some(response);
        }
        self.http.metrics.hot_full.inc();
        let mut response =
            Response::with_body(StatusCode::OK, body::of_environment(ready.body.clone()));
        let headers = response.headers_mut();
        ready.add_headers(headers, self.http.guard.is_some());
        let content_type = HeaderValue::from_static(representation.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
        Some(response)
    }

    /// Returns the environment that a request asks for.
    fn asked(&self, request: &Request) -> Option<AskedEnvironment> {
        let path = request.uri().path();
        match route::route(path, &self.http.prefix, false) {
            Ok(Route::Environment(query)) => Some(AskedEnvironment { path: path.into(), query }),
            _ => None,
        }
    }
}

impl Paths {
    fn remember(&mut self, path: Box<str>, query: Query, cached: CachedAnswer) {
        if self.0.len() >= PATH_COUNT_MAX {
            self.0.clear();
        }
        // The permissions depend on the path and not on the answer.
        let permitted = self.0.remove(&path).map(|known| known.permitted).unwrap_or_default();
        let ready = ReadyAnswers::default();
        self.0.insert(path, Remembered { query, cached, ready, permitted, last_read: None });
    }

    /// Drops outdated bytes. Otherwise the worker would hold them until each of its paths is requested again. Called
    /// once for each move that a request meets.
    fn drop_outdated(&mut self) {
        for Remembered { cached, ready, .. } in self.0.values_mut() {
            ready.drop_outdated(cached);
        }
    }
}

impl Remembered {
    /// Returns the variant that a caller receives, if that was decided before. Under a policy, a repeated caller costs
    /// comparisons of numbers.
    fn known_variant(&self, http: &Http, caller: &Caller) -> Option<Variant> {
        let Caller::Identified(identity) = caller else {
            let target = Resource::Environment(&self.query);
            let may = http.store.may(caller, Operation::ReadEnvironment, target);
            return may.then_some(Variant::Opened);
        };
        let key = identity.key();
        self.permitted.iter().find(|(known, _)| *known == key).map(|(_, variant)| *variant)
    }

    /// Remembers a permitted caller. One that the policy would deny is not remembered, so that each of its requests is
    /// recorded.
    fn permit(&mut self, key: IdentityKey, variant: Variant) {
        if self.permitted.len() >= PERMITTED_COUNT_MAX {
            self.permitted.clear();
        }
        self.permitted.push((key, variant));
    }
}

/// Decides which variant a principal of the policy receives. Returns `None` for other callers.
fn decide(http: &Http, caller: &Caller, query: &Query) -> Option<(IdentityKey, Variant)> {
    let Caller::Identified(identity) = caller else { return None };
    Some((identity.key(), permitted_variant(http, identity, query)?))
}

/// Decides which variant a principal receives. Returns `None` if the policy does not allow it to read the environment, or
/// if it would receive opened values only because the policy is not enforced.
fn permitted_variant(http: &Http, identity: &Identity, query: &Query) -> Option<Variant> {
    let target = Resource::Environment(query);
    if identity.permission(Operation::ReadEnvironment, target) != Permission::Allowed {
        return None;
    }
    if !http.store.opens_values() {
        return Some(Variant::Opened);
    }
    match identity.permission(Operation::OpenEnvironment, target) {
        Permission::Allowed => Some(Variant::Opened),
        Permission::Denied => Some(Variant::Sealed),
        Permission::WouldDeny => None,
    }
}

impl ReadyAnswers {
    fn get_mut(
        &mut self,
        variant: Variant,
        representation: Representation,
    ) -> &mut Option<ReadyAnswer> {
        let answers = match variant {
            Variant::Opened => &mut self.opened,
            Variant::Sealed => &mut **self.sealed.get_or_insert_default(),
        };
        &mut answers[representation as usize]
    }

    fn drop_outdated(&mut self, cached: &CachedAnswer) {
        let all = self.opened.iter_mut().chain(self.sealed.iter_mut().flat_map(|it| it.iter_mut()));
        all.for_each(|ready| drop(ready.take_if(|ready| ready.has_moved(cached))));
    }
}

/// Gives a body a reference count of its own, because a count that all workers change is slow for each of them.
fn own(Body { head, rest }: Body) -> Body {
    let own = |bytes: Bytes| if bytes.is_empty() { bytes } else { Bytes::from_owner(bytes) };
    Body { head: own(head), rest: own(rest) }
}

impl ReadyAnswer {
    /// Reads the cached answer in a variant. Uses `before`, which is of the same variant, again if the answer is unchanged.
    fn read(
        cached: &CachedAnswer,
        variant: Variant,
        representation: Representation,
        before: Option<Self>,
    ) -> Option<Self> {
        let (stamp, read_at) = (cached.stamp(), Instant::now());
        let current = cached.current(variant)?;
        let (sequence, position) = (current.answer.sequence(), current.position());
        if let Some(before) = before
            && (before.sequence, &before.position) == (sequence, &position)
            && HeldHeaders::are_of(before.held.as_deref(), &current)
        {
            return Some(Self { stamp, read_at, ..before });
        }
        if current.answer.held_revisions().next().is_some() {
            return None;
        }
        let served = current.served()?;
        Some(Self {
            stamp,
            read_at,
            sequence,
            etag: HeaderValue::from_str(served.etag(representation)).ok()?,
            revision_header: HeaderValue::from_str(current.revision.as_str()).ok()?,
            epoch_header: match &position.epochs {
                Some(epochs) => Some(HeaderValue::from_str(&epochs.to_string()).ok()?),
                None => None,
            },
            held: HeldHeaders::new(&current)?,
            body: own(served.body(representation, &position.revision)),
            opened_digest: served.has_opened_values().then_some(served.digest),
            position,
        })
    }

    fn is_present(&self, cached: &CachedAnswer, now: Instant) -> bool {
        !self.has_moved(cached) && now.saturating_duration_since(self.read_at) < READ_AGAIN_AFTER
    }

    fn has_moved(&self, cached: &CachedAnswer) -> bool {
        !self.stamp.is_some_and(|stamp| cached.is_current(stamp))
    }

    fn add_headers(&self, headers: &mut HeaderMap, is_private: bool) {
        headers.insert(header::ETAG, self.etag.clone());
        let vary = if is_private { PRIVATE_VARY } else { VARY };
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        if is_private {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(PRIVATE));
        }
        headers.insert(REVISION, self.revision_header.clone());
        if let Some(epoch) = &self.epoch_header {
            headers.insert(EPOCH, epoch.clone());
        }
        if let Some(held) = &self.held {
            if let Some(tip) = &held.tip_header {
                headers.insert(HELD_AT, tip.clone());
            }
            headers.insert(ROLLOUT, held.rollout_header.clone());
        }
    }
}
