//! The hot path: environments that are asked for over and over, answered before there is any routing.
//!
//! Each worker remembers which paths lead to which answer and keeps the last bytes and headers it sent for each. Whatever
//! is not plainly a GET of a remembered path goes on to the application, which knows everything. What is remembered is a
//! door to the store, never an answer on its own: every request asks the store whether the label has moved since.

use std::cell::RefCell;
use std::collections::HashMap;
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

use super::instances::INSTANCE;
use super::route::{self, Route};
use super::watch::MIN_REVISION;
use super::{Http, V1_TYPE, V2_TYPE, negotiate};
use crate::access::{Action, Target};
use crate::model::{Query, Revision};
use crate::render::Representation;
use crate::store::{Door, Moment};

/// The most paths that one worker remembers; then it begins anew.
const PATH_COUNT_MAX: usize = 4_096;
/// How long an answer goes out before its door is used again, which tells the store that it is still asked for.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);
const PREFER: HeaderName = HeaderName::from_static("prefer");
const REVISION: HeaderName = HeaderName::from_static("headwater-revision");

/// The application with the hot path before it.
pub struct Hot<A> {
    app: A,
    http: web::Data<Http>,
}

impl<A> Hot<A> {
    /// Puts the hot path before an application.
    pub fn new(app: A, http: web::Data<Http>) -> Self {
        Self { app, http }
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
        let http = self.http.clone();
        Box::pin(async move { Ok(HotService { app: app.await?, http, paths: Rc::default() }) })
    }
}

/// One worker's hot path.
pub struct HotService<S> {
    app: S,
    http: web::Data<Http>,
    paths: Rc<RefCell<Paths>>,
}

#[derive(Default)]
struct Paths(HashMap<Box<str>, Remembered>);

struct Remembered {
    query: Query,
    door: Door,
    ready: [Option<ReadyAnswer>; 2],
}

/// The bytes and headers of one representation at one revision.
struct ReadyAnswer {
    moment: Option<Moment>,
    read_at: Instant,
    sequence: u64,
    revision: Revision,
    etag: HeaderValue,
    revision_header: HeaderValue,
    bytes: Bytes,
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
        if let Some(response) = self.answer(&request) {
            return Either::Left(ready(Ok(response)));
        }
        let asked = self.worth_remembering(&request);
        let caller = self.http.caller(request.headers());
        let answered = self.app.call(request);
        let (http, paths) = (self.http.clone(), Rc::clone(&self.paths));
        Either::Right(Box::pin(async move {
            let response = answered.await?;
            if let Some((path, query)) = asked
                && matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED)
                && let Some(door) = http.store.door(&caller, &query)
            {
                paths.borrow_mut().remember(path, query, door);
            }
            Ok(response.into())
        }))
    }
}

impl<S> HotService<S> {
    /// The whole hot path: a look-up, the question to the store, four headers.
    fn answer(&self, request: &Request) -> Option<Response<BoxBody>> {
        let uri = request.uri();
        if request.method() != Method::GET
            || uri.query().is_some()
            || !asks_for_bytes(request.headers())
        {
            return None;
        }
        let mut paths = self.paths.borrow_mut();
        let remembered = paths.0.get_mut(uri.path())?;
        let representation = plain_representation(request.headers())?;
        let caller = self.http.caller(request.headers());
        let target = Target::Environment(&remembered.query);
        let may = self.http.store.may(&caller, Action::ReadEnvironment, target);
        if !may || !remembered.door.is_for(&caller, &remembered.query) {
            return None;
        }
        let ready = remembered.ready(representation)?;
        if request.headers().contains_key(header::IF_NONE_MATCH)
            && negotiate::has_already(request.headers(), ready.etag.to_str().ok()?)
        {
            self.http.metrics.hot_unchanged.inc();
            let mut response = Response::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()));
            ready.add_headers(response.headers_mut());
            return Some(response);
        }
        self.http.metrics.hot_full.inc();
        let mut response = Response::with_body(StatusCode::OK, BoxBody::new(ready.bytes.clone()));
        let headers = response.headers_mut();
        ready.add_headers(headers);
        let content_type = HeaderValue::from_static(representation.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
        Some(response)
    }

    fn worth_remembering(&self, request: &Request) -> Option<(Box<str>, Query)> {
        let uri = request.uri();
        if request.method() != Method::GET || uri.query().is_some() {
            return None;
        }
        match route::route(uri.path(), &self.http.prefix, false) {
            Ok(Route::Environment(query)) => Some((uri.path().into(), query)),
            _ => None,
        }
    }
}

/// Whether a request says nothing that asks for more than the present bytes: it may have to wait for its answer, tell who it is
/// from, or have a body of unknown length. One pass is cheaper than a look-up for each name.
fn asks_for_bytes(headers: &HeaderMap) -> bool {
    headers.keys().all(|name| {
        *name != PREFER
            && *name != MIN_REVISION
            && *name != INSTANCE
            && *name != header::TRANSFER_ENCODING
    })
}

/// The representation of the `Accept` headers that nearly every client sends.
fn plain_representation(headers: &HeaderMap) -> Option<Representation> {
    let mut values = headers.get_all(header::ACCEPT);
    match (values.next().map(HeaderValue::as_bytes), values.next()) {
        (None, _) => Some(Representation::V1),
        (Some(accept), None) if accept == b"*/*" || accept == V1_TYPE.as_bytes() => {
            Some(Representation::V1)
        }
        (Some(accept), None) if accept == V2_TYPE.as_bytes() => Some(Representation::V2),
        _ => None,
    }
}

impl Paths {
    fn remember(&mut self, path: Box<str>, query: Query, door: Door) {
        if self.0.len() >= PATH_COUNT_MAX {
            self.0.clear();
        }
        self.0.insert(path, Remembered { query, door, ready: [None, None] });
    }
}

impl Remembered {
    /// The present bytes and headers. What is held back or broken has more to say than fits here.
    fn ready(&mut self, representation: Representation) -> Option<&ReadyAnswer> {
        let ready = match representation {
            Representation::V1 => &mut self.ready[0],
            Representation::V2 => &mut self.ready[1],
        };
        if !ready.as_ref().is_some_and(|ready| ready.is_present(&self.door)) {
            *ready = Some(ReadyAnswer::read(&self.door, representation, ready.take())?);
        }
        ready.as_ref()
    }
}

impl ReadyAnswer {
    /// Goes through the door; `before` is used again if it is what is there still.
    fn read(door: &Door, representation: Representation, before: Option<Self>) -> Option<Self> {
        let (moment, read_at) = (door.moment(), Instant::now());
        let reading = door.current()?;
        let sequence = reading.answer.sequence();
        if let Some(before) = before
            && (before.sequence, &before.revision) == (sequence, &reading.revision)
        {
            return Some(Self { moment, read_at, ..before });
        }
        if reading.answer.held().next().is_some() {
            return None;
        }
        let served = reading.answer.served()?;
        Some(Self {
            moment,
            read_at,
            sequence,
            etag: HeaderValue::from_str(served.etag(representation)).ok()?,
            revision_header: HeaderValue::from_str(reading.revision.as_str()).ok()?,
            // Counted for this worker alone: a count that all workers change is slow for each of them.
            bytes: Bytes::from_owner(served.json(representation, &reading.revision)),
            revision: reading.revision,
        })
    }

    fn is_present(&self, door: &Door) -> bool {
        self.moment.is_some_and(|moment| door.unmoved_since(moment))
            && self.read_at.elapsed() < READ_AGAIN_AFTER
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(REVISION, self.revision_header.clone());
    }
}
