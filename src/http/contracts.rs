//! `/-/contracts`: registration and lists of the contracts of services (docs/watch-protocol.md#contracts).
//!
//! A caller that may read an application may register contracts for it and read them. For every other caller they do not
//! exist.

use std::collections::{BTreeMap, HashSet};

use actix_http::header::{HeaderMap, HeaderName};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use headwater_wire::{
    CONTRACT_BYTES_MAX, Contract, ContractError, ContractList, ContractStatus, headers,
};
use jiff::Timestamp;

use super::error::HttpError;
use super::identity::ListFilter;
use super::route::{ContractResource, ContractRoute, RouteError};
use super::{Http, V1_TYPE, monitor};
use crate::access::Caller;
use crate::fleet::SurveyedBuild;
use crate::model::{Label, Query, is_hex};

mod keys;

use keys::keys;

/// The header with the digest of the contract of an instance.
const CONTRACT: HeaderName = HeaderName::from_static(headers::CONTRACT);
/// The header with which the server asks for a contract.
pub(super) const CONTRACT_WANTED: HeaderName = HeaderName::from_static(headers::CONTRACT_WANTED);
/// The length of a digest in hexadecimal.
const DIGEST_LENGTH: usize = 64;
/// The profiles of a service without profiles.
const DEFAULT_PROFILE: &str = "default";

/// Returns the digest of the contract that a request names. An invalid one is ignored.
pub(super) fn named(headers: &HeaderMap) -> Option<&str> {
    let digest = headers.get(CONTRACT)?.to_str().ok()?;
    is_hex(digest, DIGEST_LENGTH).then_some(digest)
}

/// Returns the digest of the contract that the instance of a request is asked for, if the server does not have it. Called
/// for successful answers only, so that no caller is asked about an application that it may not read.
pub(super) fn wanted<'r>(http: &Http, request: &'r HttpRequest, query: &Query) -> Option<&'r str> {
    let digest = named(request.headers())?;
    http.contracts.wants(&query.application, digest, Timestamp::now()).then_some(digest)
}

/// Answers a request for the contracts of one application.
pub(super) async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    http: &web::Data<Http>,
    caller: &Caller,
    route: &ContractRoute,
) -> Result<HttpResponse, HttpError> {
    let (filter, application) = (ListFilter::of(caller), &route.application);
    // The name decides before anything that exists is read, so that a denied application takes the time of an absent one.
    if !filter.shows_application(application) {
        return Err(HttpError::Route(RouteError::NotFound));
    }
    match &route.resource {
        ContractResource::List => Ok(list(http, filter, Some(application))),
        ContractResource::Keys => keys(http, caller, application).await,
        ContractResource::Contract(digest) if request.method() == Method::PUT => {
            register(request, payload, http, application, digest).await
        }
        ContractResource::Contract(digest) => {
            let contract = http.contracts.get(application, digest);
            let contract = contract.ok_or(HttpError::Route(RouteError::NotFound))?;
            Ok(HttpResponse::Ok().content_type(V1_TYPE).body(contract.to_json()))
        }
    }
}

/// The environment of a service without profiles and label.
fn default_environment(application: &str) -> Query {
    Query {
        application: application.into(),
        profiles: DEFAULT_PROFILE.into(),
        label: Label::Default,
    }
}

async fn register(
    request: &HttpRequest,
    payload: web::Payload,
    http: &web::Data<Http>,
    application: &str,
    digest: &str,
) -> Result<HttpResponse, HttpError> {
    let body = monitor::read_up_to(request, payload, http, CONTRACT_BYTES_MAX).await?;
    let contract = Contract::parse(&body).map_err(HttpError::Contract)?;
    if contract.application != application {
        let reason = "the application of the contract is not that of the path";
        return Err(HttpError::Contract(ContractError::Invalid(reason)));
    }
    if contract.digest != digest {
        return Err(HttpError::Contract(ContractError::WrongDigest));
    }
    let shared = http.clone();
    let registering = web::block(move || {
        let now = Timestamp::now();
        if shared.contracts.is_full_for(&contract) {
            shared.contracts.survey(&shared.instances.snapshot(|_, _| true), now);
        }
        shared.contracts.register(contract, now)
    });
    match registering.await {
        Ok(Ok(true)) => Ok(HttpResponse::Created().finish()),
        Ok(Ok(false)) => Ok(HttpResponse::NoContent().finish()),
        Ok(Err(error)) => {
            let hours = http.contracts.retention_hours();
            Err(HttpError::ContractsFull { error, hours })
        }
        Err(_) => Err(HttpError::ClientGone),
    }
}

/// Lists the contracts of the applications that the caller may read.
pub(super) fn list(http: &Http, filter: ListFilter<'_>, application: Option<&str>) -> HttpResponse {
    let instances = http.instances.snapshot(|_, _| true);
    let survey = http.contracts.survey(&instances, Timestamp::now());
    let names: HashSet<&str> =
        survey.builds.iter().map(|build| &*build.contract.application).collect();
    let is_wanted = |name: &str| application.is_none_or(|wanted| wanted == name);
    let shown: HashSet<&str> = names
        .into_iter()
        .filter(|name| is_wanted(name) && filter.shows_application(name))
        .collect();
    let mut contracts = BTreeMap::<_, ContractStatus>::new();
    for build in survey.builds.iter().filter(|build| shown.contains(&*build.contract.application)) {
        let Contract { application, version, digest, .. } = &*build.contract;
        let known = contracts.entry((application, version, digest));
        let known = known.or_insert_with(|| status(build));
        known.instances += build.instance_count;
        known.accepted |= build.is_accepted;
    }
    HttpResponse::Ok().json(ContractList { contracts: contracts.into_values().collect() })
}

fn status(build: &SurveyedBuild) -> ContractStatus {
    let contract = &build.contract;
    ContractStatus {
        application: contract.application.clone(),
        version: contract.version.clone(),
        digest: contract.digest.clone(),
        key_count: contract.keys.len(),
        instances: 0,
        accepted: false,
        last_seen: build.last_seen.to_string(),
    }
}
