//! The HTTP interface: it turns a request into a query to the store, and the answer into a response.
//!
//! Spring's paths overlap and are greedy, so there is one handler behind the pure function [`route`], and no router.
//! The hot path (`hot`) answers repeated requests for the same environment before they reach this handler.

mod admission;
mod answers;
mod audit;
mod audit_query;
mod body;
mod contracts;
mod encryption;
mod environment;
mod error;
mod faults;
mod file;
mod flat;
mod fleet;
mod git;
mod git_error;
mod health;
mod hot;
mod identity;
mod instances;
mod key_refresh;
mod metrics;
mod monitor;
mod negotiate;
mod overview;
mod read_timer;
mod reader;
mod renderings;
mod replicas;
mod rollouts;
pub mod route;
mod socket;
mod token;
mod trials;
mod watch;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, web};

use crate::access::{Caller, Guard, Operation, Resource};
use crate::audit::{Audit, OpenedReads};
use crate::conduct::RolloutFigures;
use crate::fleet::{Contracts, History, Instances};
use crate::push::{BuildSource, Hosts};
use crate::replicas::Replicas;
use crate::store::Store;
use admission::Admission;
use error::HttpError;
use identity::ListFilter;
use read_timer::ReadTimer;
use route::{Route, RouteError, ServerRoute};

pub use audit::opened_reads;
pub use encryption::{Encryption, KeyFiles};
pub use hot::Hot;
pub use identity::{CredentialLimits, SharedIdentities};
pub use key_refresh::{KeyRefresh, KeyRequests};
pub use metrics::Metrics;
pub use monitor::Monitor;
#[cfg(feature = "fuzzing")]
pub use monitor::fuzzing;
pub use renderings::Renderings;
pub use rollouts::{RolloutControl, RolloutControlError};
pub use socket::{ConnectionHandle, Io, Socket};
pub use token::Token;
pub use watch::{IpNetwork, WatchLimits, WatcherGroups, Watchers};

const V1_TYPE: &str = "application/json";
const V2_TYPE: &str = "application/vnd.spring-cloud.config-server.v2+json";
/// The headers whose credentials decide about a response under a policy.
const PRIVATE_VARY: &str = "Authorization, X-Config-Token";
/// Keeps shared caches from storing a response.
const PRIVATE: &str = "private";

/// The state that all worker threads share.
pub struct Http {
    /// The labels and their answers.
    pub store: Arc<Store>,
    /// The prefix of all paths except health, metrics and `/monitor`. Empty, or `/…` without a trailing slash.
    pub prefix: String,
    /// The read token, if reading needs one.
    pub token: Option<Token>,
    /// The policy, if one decides in place of the tokens.
    pub guard: Option<Arc<Guard>>,
    /// The limits on bad credentials, under a policy.
    pub credential_limits: CredentialLimits,
    /// The keys of issuers that are being read.
    pub key_refresh: KeyRefresh,
    /// The push token, if pushing needs one.
    pub push_token: Option<Token>,
    /// The keys for `/encrypt`, `/decrypt` and `/key`.
    pub encryption: Encryption,
    /// The hosted repositories.
    pub hosts: Option<Hosts>,
    /// The webhook for pushes to other git hosts.
    pub monitor: Monitor,
    /// The texts that are being rendered or sent.
    pub renderings: Renderings,
    /// The count and the limits of watchers.
    pub watchers: Watchers,
    /// The instances of services that have reported their name.
    pub instances: Arc<Instances>,
    /// The contracts that the builds of services have registered.
    pub contracts: Arc<Contracts>,
    /// The builds that run or ran a short time ago.
    pub builds: Arc<dyn BuildSource>,
    /// What the instances ran in the past, if this is recorded.
    pub history: Option<Arc<History>>,
    /// The rollouts of hosted repositories, if this server has any.
    pub rollouts: Option<Arc<dyn RolloutControl>>,
    /// The figures of rollouts.
    pub rollout_figures: Arc<RolloutFigures>,
    /// The replicas of the fleet.
    pub replicas: Arc<Replicas>,
    /// The metrics.
    pub metrics: Metrics,
    /// The audit trail, if there is one.
    pub audit: Option<Arc<Audit>>,
}

impl Http {
    /// Identifies the caller by the read token.
    fn caller(&self, headers: &actix_http::header::HeaderMap) -> Caller {
        match &self.token {
            Some(token) if token.is_in(headers) => Caller::Reader,
            _ => Caller::Anonymous,
        }
    }
}

/// Creates the application of one worker thread.
pub fn app(
    http: web::Data<Http>,
    groups: Rc<WatcherGroups>,
    reads: Option<Rc<OpenedReads>>,
) -> App<
    impl actix_web::dev::ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new().app_data(http).app_data(groups).app_data(reads).default_service(web::to(handle))
}

async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    http: web::Data<Http>,
) -> HttpResponse {
    let timer = ReadTimer::start(&request);
    // The credential is examined before the path, so that the answer to a bad one shows nothing of the path.
    let identity = match http.identity(&request).await {
        Ok(identity) => identity,
        Err(error) => return finish(&request, &http, None, error.response(&request, None)),
    };
    let use_default_label = has_parameter(&request, "useDefaultLabel");
    let mut route = route::route(request.uri().path(), &http.prefix, use_default_label);
    if let Some(identity) = &identity {
        match admission::admit(&http, &request, identity, route.as_ref()) {
            Admission::Continued => {}
            Admission::Hidden => route = Err(RouteError::NotFound),
            Admission::CredentialNeeded => {
                let response = HttpError::Rejected.response(&request, None);
                return finish(&request, &http, None, response);
            }
        }
    }
    let caller = identity.map(Caller::Identified);
    let kind = route.as_ref().ok().and_then(read_timer::kind);
    let response = match &route {
        Ok(route) => match answer(&request, payload, &http, caller, route).await {
            Ok(response) => response,
            Err(error) => {
                http.record_unauthorized(&request, &error);
                error.response(&request, Some(route))
            }
        },
        Err(error) => HttpError::Route(*error).response(&request, None),
    };
    timer.end(kind, response.status());
    finish(&request, &http, route.as_ref().ok(), response)
}

/// Counts a response, keeps shared caches from storing it under a policy, and ends the connection after an unread body.
fn finish(
    request: &HttpRequest,
    http: &Http,
    route: Option<&Route>,
    mut response: HttpResponse,
) -> HttpResponse {
    http.metrics.count(route, response.status());
    if http.guard.is_some() {
        mark_private(&mut response);
    }
    if !is_environment(route, response.status()) {
        forbid_interpretation(&mut response);
    }
    if is_read(request, response.status()) { response } else { close_after(request, response) }
}

/// Marks a response as one that depends on the credential of its request.
fn mark_private(response: &mut HttpResponse) {
    let headers = response.headers_mut();
    let vary = headers.get(header::VARY).and_then(|value| value.to_str().ok());
    let vary =
        vary.map_or_else(|| PRIVATE_VARY.to_owned(), |vary| format!("{vary}, {PRIVATE_VARY}"));
    if let Ok(vary) = HeaderValue::from_str(&vary) {
        headers.insert(header::VARY, vary);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(PRIVATE));
    }
}

/// Returns true for the answers that the hot path repeats, which all have the same headers.
fn is_environment(route: Option<&Route>, status: StatusCode) -> bool {
    matches!(route, Some(Route::Environment(_)))
        && matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED)
}

/// Keeps a browser from taking a response for a page or a script, whatever its content.
fn forbid_interpretation(response: &mut HttpResponse) {
    const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    }
}

/// Returns true if the request has no body or its body was read. A body of known length needs no care here: HTTP closes
/// the connection itself if less arrives.
fn is_read(request: &HttpRequest, status: StatusCode) -> bool {
    let is_taken = request.method() == Method::POST && status.is_success();
    is_taken || !request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// Makes a response the last one on its connection.
fn close_after(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    if let Some(connection) = request.conn_data::<socket::ConnectionHandle>() {
        connection.close_later();
    }
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    http: &web::Data<Http>,
    identified: Option<Caller>,
    route: &Route,
) -> Result<HttpResponse, HttpError> {
    if request.method() == Method::OPTIONS {
        return Ok(options(request, route));
    }
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let is_allowed = match *request.method() {
        Method::POST => route.allows_post(),
        Method::PUT => route.allows_put(),
        _ => reads && route.allows_get(),
    };
    if !is_allowed {
        return Err(HttpError::MethodNotAllowed);
    }
    let is_decided = identified.is_some();
    let caller = identified.unwrap_or_else(|| match route {
        Route::Git(..)
        | Route::Crypto(_)
        | Route::Rollout(_)
        | Route::Server(ServerRoute::Rollouts) => http.git_caller(request),
        _ => http.caller(request.headers()),
    });
    if !is_decided && !http.store.may(&caller, route.action(), Resource::Server) {
        return Err(match route {
            Route::Git(..) => http.git_permission_error(&caller),
            Route::Rollout(_) | Route::Server(ServerRoute::Rollouts) => {
                http.rollout_token_error(request.method())
            }
            _ => HttpError::Unauthorized,
        });
    }
    match route {
        Route::Environment(query)
            if request.method() == Method::GET && negotiate::wants_events(request.headers()) =>
        {
            watch::stream(request, http, &caller, query).await
        }
        Route::Environment(query) => environment::get(request, http, &caller, query).await,
        Route::Flat(query, format) => flat::get(request, http, &caller, query, *format).await,
        Route::File(query, path) => file::get(request, http, &caller, query, path).await,
        Route::NoFile => Err(HttpError::NoFile),
        Route::Crypto(route) => encryption::answer(request, payload, http, &caller, *route).await,
        Route::Git(repository, operation) => {
            git::answer(request, payload, http, &caller, repository, *operation).await
        }
        Route::Monitor => monitor::post(request, payload, http).await,
        Route::Contract(route) => contracts::answer(request, payload, http, &caller, route).await,
        Route::Rollout(id) => rollouts::answer(request, payload, http, &caller, id).await,
        Route::Server(route) => server_resource(request, http, &caller, *route).await,
    }
}

async fn server_resource(
    request: &HttpRequest,
    http: &web::Data<Http>,
    caller: &Caller,
    route: ServerRoute,
) -> Result<HttpResponse, HttpError> {
    let filter = || ListFilter::of(caller);
    match route {
        ServerRoute::Index => Ok(overview::index(http)),
        ServerRoute::OpenApi => Ok(overview::open_api(&http.prefix)),
        ServerRoute::Environments => overview::environments(request, http, filter()).await,
        ServerRoute::Problems => Ok(overview::problems(http, filter())),
        ServerRoute::Instances => instances::list(request, http, filter()),
        ServerRoute::Fleet => fleet::get(request, http, caller, filter()).await,
        ServerRoute::FleetHistory => fleet::history(request, http, filter()).await,
        ServerRoute::Contracts => Ok(contracts::list(http, filter(), None)),
        ServerRoute::Rollouts => Ok(rollouts::list(http, filter())),
        ServerRoute::Replicas => Ok(replicas::list(http)),
        ServerRoute::Audit => audit_query::page(request, http).await,
        ServerRoute::Events => watch::moves(request, http, caller).await,
        ServerRoute::Metrics => Ok(http.metrics.response(http, request.headers())),
        ServerRoute::Live => Ok(health::up()),
        ServerRoute::Ready => Ok(health::ready(http).await),
        ServerRoute::ActuatorReady => Ok(health::actuator_ready(http).await),
        ServerRoute::Health => {
            let is_detailed = http.store.may(caller, Operation::ReadOverview, Resource::Server);
            Ok(health::health(http, is_detailed).await)
        }
    }
}

/// Answers `OPTIONS` with the methods of a route (docs/protocol.md#21-methods). Preflight requests are rejected: pages
/// of other origins must not use the server.
fn options(request: &HttpRequest, route: &Route) -> HttpResponse {
    let headers = request.headers();
    if headers.contains_key("Origin") && headers.contains_key("Access-Control-Request-Method") {
        return HttpResponse::Forbidden()
            .insert_header((
                "Vary",
                "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            ))
            .body("Invalid CORS request");
    }
    let allow = match route {
        route if route.allows_post() && route.allows_get() => "GET,HEAD,POST,OPTIONS",
        route if route.allows_post() => "POST,OPTIONS",
        route if route.allows_put() => "GET,HEAD,PUT,OPTIONS",
        _ => "GET,HEAD,OPTIONS",
    };
    HttpResponse::Ok().insert_header(("Allow", allow)).insert_header(("Accept-Patch", "")).finish()
}

/// Returns the header `Allow` of a 405.
fn allowed(route: Option<&Route>) -> &'static str {
    match route {
        Some(route) if route.allows_post() && route.allows_get() => "GET,POST",
        Some(route) if route.allows_post() => "POST",
        Some(route) if route.allows_put() => "GET,PUT",
        _ => "GET",
    }
}

/// Returns true if the query string has a parameter, with or without a value.
fn has_parameter(request: &HttpRequest, name: &str) -> bool {
    parameter(request, name).is_some()
}

/// Returns the raw value of a parameter of the query string.
fn parameter<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.query_string().split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// Returns false if the parameter `resolvePlaceholders` turns the resolution of placeholders off.
fn resolves_placeholders(request: &HttpRequest) -> Result<bool, HttpError> {
    let Some(value) = parameter(request, "resolvePlaceholders") else {
        return Ok(true);
    };
    match value.to_ascii_lowercase().as_str() {
        "" | "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(HttpError::Route(RouteError::Invalid)),
    }
}
