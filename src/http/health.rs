//! Life and readiness, for orchestrators, registries and Spring clients.
//!
//! Readiness stays up while anything can be served: an outage of the git host must not drain every replica. Staleness and
//! environments that are held back are details.

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::{Value, json};

use super::Http;
use crate::access::Caller;
use crate::model::{Label, Query};
use crate::store::RemoteStatus;

/// The media type of the actuator.
const ACTUATOR: &str = "application/vnd.spring-boot.actuator.v3+json";

pub(super) fn up() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "UP"}))
}

pub(super) async fn ready(http: &Http) -> HttpResponse {
    match can_serve(http).await {
        true => HttpResponse::Ok().json(json!({"status": "UP"})),
        false => HttpResponse::ServiceUnavailable().json(json!({"status": "DOWN"})),
    }
}

pub(super) async fn actuator_ready(http: &Http) -> HttpResponse {
    match can_serve(http).await {
        true => actuator(HttpResponse::Ok(), &json!({"status": "UP"})),
        false => actuator(HttpResponse::ServiceUnavailable(), &json!({"status": "OUT_OF_SERVICE"})),
    }
}

/// As Spring's `configServer` component (specification, section 18), from memory.
pub(super) async fn health(http: &Http, detailed: bool) -> HttpResponse {
    let is_up = can_serve(http).await;
    let status = if is_up { "UP" } else { "DOWN" };
    let mut body = json!({"status": status});
    if detailed {
        body["components"] = json!({
            "configServer": {"status": status, "details": details(http)}
        });
    }
    match is_up {
        true => actuator(HttpResponse::Ok(), &body),
        false => actuator(HttpResponse::ServiceUnavailable(), &body),
    }
}

fn actuator(mut response: HttpResponseBuilder, body: &Value) -> HttpResponse {
    response.content_type(ACTUATOR).body(body.to_string())
}

fn details(http: &Http) -> Value {
    let repositories: Vec<Value> = http
        .store
        .labels()
        .iter()
        .map(|label| {
            let mut repository = json!({
                "label": label.label.name(),
                "version": label.revision.as_str(),
                "environments": label.answer_count,
            });
            if let Some((since, reason)) = &label.stale {
                repository["staleSeconds"] = since.as_secs().into();
                repository["error"] = reason.as_str().into();
            }
            repository
        })
        .collect();
    let mut details = json!({
        "source": http.store.source_name(),
        "repositories": repositories,
        "heldBack": http.store.problems().len(),
    });
    let remotes: Vec<Value> = http.store.remotes().iter().map(remote).collect();
    if !remotes.is_empty() {
        details["remotes"] = remotes.into();
    }
    details
}

fn remote(status: &RemoteStatus) -> Value {
    let mut remote = json!({
        "source": status.name,
        "lastFetchSeconds": status.fetched_before.map(|age| age.as_secs()),
    });
    if let Some(failure) = &status.failure {
        remote["error"] = failure.as_str().into();
    }
    remote
}

/// Whether the default label is loaded, or can be, or anything else is.
async fn can_serve(http: &Http) -> bool {
    if !http.store.labels().is_empty() {
        return true;
    }
    let query = Query {
        application: "application".into(),
        profiles: "default".into(),
        label: Label::Default,
    };
    http.store.answer(&Caller::Operator, &query).await.is_ok()
}
