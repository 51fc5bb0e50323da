//! HTTP and nothing else: a request becomes a question to the store, the answer becomes bytes on a connection.
//!
//! The paths are Spring's and are greedy, so there is one handler behind a pure [`route`], not a router. The few
//! environments that are asked for over and over never get here: `hot` answers them before.

mod environment;
mod error;
mod file;
mod flat;
mod git;
mod health;
mod hot;
mod instances;
mod metrics;
mod monitor;
mod negotiate;
mod overview;
mod replicas;
pub mod route;
mod socket;
mod token;
mod watch;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::http::{ConnectionType, Method, StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, web};

use crate::access::{Action, Caller, Target};
use crate::push::Hosts;
use crate::replicas::Replicas;
use crate::store::Store;
use error::Fault;
use route::{Crypto, Own, Route};

pub use hot::Hot;
pub use instances::Instances;
pub use metrics::Metrics;
pub use monitor::Monitor;
pub use socket::{Io, Socket};
pub use token::Token;
pub use watch::{Limits, Lists, Network, Watchers};

const V1_TYPE: &str = "application/json";
const V2_TYPE: &str = "application/vnd.spring-cloud.config-server.v2+json";
/// The header that says which revision an answer is made from.
const REVISION_HEADER: &str = "Headwater-Revision";
/// The header that says that an answer is held back, and at which newest revision.
const HELD_AT_HEADER: &str = "Headwater-Held-At";

/// What every worker shares: built once, before the workers.
pub struct Http {
    /// Where the answers are.
    pub store: Arc<Store>,
    /// Stands before every path but health and metrics; empty, or `/…` without a trailing slash.
    pub prefix: String,
    /// The read token, if reading needs one.
    pub token: Option<Token>,
    /// The push token, if pushing needs one.
    pub push_token: Option<Token>,
    /// The repositories that are hosted here, if there are any.
    pub hosts: Option<Hosts>,
    /// Who may say that something was pushed.
    pub monitor: Monitor,
    /// Who watches.
    pub watchers: Watchers,
    /// Who runs with what.
    pub instances: Arc<Instances>,
    /// Who else serves the same.
    pub replicas: Arc<Replicas>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Http {
    /// Who sent these headers.
    fn caller(&self, headers: &actix_http::header::HeaderMap) -> Caller {
        match &self.token {
            Some(token) if token.is_in(headers) => Caller::Reader,
            _ => Caller::Anonymous,
        }
    }
}

/// The application of one worker: everything but the shared state is made anew for each.
pub fn app(
    http: web::Data<Http>,
    lists: Rc<Lists>,
) -> App<
    impl actix_web::dev::ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new().app_data(http).app_data(lists).default_service(web::to(handle))
}

async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    http: web::Data<Http>,
) -> HttpResponse {
    let use_default_label = has_parameter(&request, "useDefaultLabel");
    let route = route::route(request.uri().path(), &http.prefix, use_default_label);
    let response = match &route {
        Ok(route) => match answer(&request, payload, &http, route).await {
            Ok(response) => response,
            Err(fault) => fault.response(&request, Some(route)),
        },
        Err(refusal) => Fault::Refused(*refusal).response(&request, None),
    };
    http.metrics.count(route.as_ref().ok(), response.status());
    match is_read(&request, response.status()) {
        true => response,
        false => last(&request, response),
    }
}

/// Whether a request was read to its end: one without a body, or one whose body was taken. What has a length is closed by
/// itself where less of it comes.
fn is_read(request: &HttpRequest, status: StatusCode) -> bool {
    let is_taken = request.method() == Method::POST && status.is_success();
    is_taken || !request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// The last answer on its connection.
fn last(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    if let Some(exit) = request.conn_data::<socket::Exit>() {
        exit.close_in_a_while();
    }
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    http: &web::Data<Http>,
    route: &Route,
) -> Result<HttpResponse, Fault> {
    if request.method() == Method::OPTIONS {
        return Ok(options(request, route));
    }
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    if !(reads && !route.allows_post() || request.method() == Method::POST && route.allows_post()) {
        return Err(Fault::MethodNotAllowed);
    }
    let caller = match route {
        Route::Git(..) => http.git_caller(request),
        _ => http.caller(request.headers()),
    };
    if !http.store.may(&caller, route.action(), Target::Server) {
        return Err(match route {
            Route::Git(..) => http.git_refusal(&caller),
            _ => Fault::Unauthorized,
        });
    }
    match route {
        Route::Environment(query)
            if request.method() == Method::GET && negotiate::wants_events(request.headers()) =>
        {
            watch::stream(request, http, &caller, query).await
        }
        Route::Environment(query) => environment::get(request, http, &caller, query).await,
        Route::Flat(query, form) => flat::get(request, http, &caller, query, *form).await,
        Route::File(query, path) => file::get(request, http, &caller, query, path).await,
        Route::NoFile => Err(Fault::NoFile),
        Route::Crypto(crypto) => Ok(no_key(*crypto)),
        Route::Git(repository, asked) => {
            git::answer(request, payload, http, &caller, repository, *asked).await
        }
        Route::Monitor => monitor::post(request, payload, http).await,
        Route::Own(own) => own_resource(request, http, &caller, *own).await,
    }
}

async fn own_resource(
    request: &HttpRequest,
    http: &web::Data<Http>,
    caller: &Caller,
    own: Own,
) -> Result<HttpResponse, Fault> {
    let detailed = http.store.may(caller, Action::ReadOverview, Target::Server);
    match own {
        Own::Index => Ok(overview::index(http)),
        Own::OpenApi => Ok(overview::open_api()),
        Own::Environments => overview::environments(request, http).await,
        Own::Problems => Ok(overview::problems(http)),
        Own::Instances => Ok(overview::instances(http)),
        Own::Replicas => Ok(replicas::list(http)),
        Own::Events => watch::moves(request, http).await,
        Own::Metrics => Ok(http.metrics.response(http)),
        Own::Live => Ok(health::up()),
        Own::Ready => Ok(health::ready(http).await),
        Own::ActuatorReady => Ok(health::actuator_ready(http).await),
        Own::Health => Ok(health::health(http, detailed).await),
    }
}

/// Crypto answers as Spring does while no key is configured (specification, 16.6).
fn no_key(crypto: Crypto) -> HttpResponse {
    let body = match crypto {
        Crypto::Key => r#"{"description":"No public key available","status":"NOT_FOUND"}"#,
        Crypto::Status | Crypto::Post => {
            r#"{"description":"The encryption algorithm is not strong enough","status":"INVALID"}"#
        }
    };
    HttpResponse::NotFound().content_type(V1_TYPE).body(body)
}

/// Which methods a route has (specification, 2.1). A preflight is refused: no other origin has business here.
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
    let allow = if route.allows_post() { "POST,OPTIONS" } else { "GET,HEAD,OPTIONS" };
    HttpResponse::Ok().insert_header(("Allow", allow)).insert_header(("Accept-Patch", "")).finish()
}

/// The `Allow` of a 405.
fn allowed(route: Option<&Route>) -> &'static str {
    match route {
        Some(route) if route.allows_post() => "POST",
        _ => "GET",
    }
}

/// Whether the query string has a parameter, whatever its value.
fn has_parameter(request: &HttpRequest, name: &str) -> bool {
    parameter(request, name).is_some()
}

/// The raw value of a parameter of the query string.
fn parameter<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.query_string().split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// Whether placeholders are to be resolved: unless `resolvePlaceholders` says `false`.
fn resolves_placeholders(request: &HttpRequest) -> Result<bool, Fault> {
    let Some(value) = parameter(request, "resolvePlaceholders") else {
        return Ok(true);
    };
    match value.to_ascii_lowercase().as_str() {
        "" | "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(Fault::Refused(route::Refusal::Invalid)),
    }
}
