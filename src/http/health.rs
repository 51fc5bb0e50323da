//! Liveness, readiness and health, for orchestrators, registries and Spring clients.
//!
//! The server is ready while it can serve any label, so that an outage of the git host does not take every replica out
//! of service. Outdated labels and held-back environments are details of health.

use actix_web::{HttpResponse, HttpResponseBuilder};
use headwater_wire::{
    ConfigServerComponent, ConfigServerDetails, Health, HealthComponents, LabelHealth,
    RemoteHealth, SourceProblemHealth,
};

use super::Http;
use crate::access::Caller;
use crate::model::{Label, Query};
use crate::store::{LabelStatus, RemoteStatus, SourceProblem};

/// The media type of the actuator.
const ACTUATOR: &str = "application/vnd.spring-boot.actuator.v3+json";

pub(super) fn up() -> HttpResponse {
    HttpResponse::Ok().json(bare("UP"))
}

pub(super) async fn ready(http: &Http) -> HttpResponse {
    if can_serve(http).await {
        return up();
    }
    HttpResponse::ServiceUnavailable().json(bare("DOWN"))
}

pub(super) async fn actuator_ready(http: &Http) -> HttpResponse {
    if can_serve(http).await {
        return actuator(HttpResponse::Ok(), &bare("UP"));
    }
    actuator(HttpResponse::ServiceUnavailable(), &bare("OUT_OF_SERVICE"))
}

/// Answers with the component `configServer` (docs/protocol.md#17-health), from memory.
pub(super) async fn health(http: &Http, is_detailed: bool) -> HttpResponse {
    let is_up = can_serve(http).await;
    let status = if is_up { "UP" } else { "DOWN" };
    let mut body = bare(status);
    body.components = is_detailed.then(|| HealthComponents {
        config_server: ConfigServerComponent { status: status.to_owned(), details: details(http) },
    });
    let response = if is_up { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    actuator(response, &body)
}

fn bare(status: &str) -> Health {
    Health { status: status.to_owned(), components: None }
}

fn actuator(mut response: HttpResponseBuilder, body: &Health) -> HttpResponse {
    response.content_type(ACTUATOR).json(body)
}

fn details(http: &Http) -> ConfigServerDetails {
    let label = |status: LabelStatus| LabelHealth {
        label: status.label.name().map(str::to_owned),
        version: status.revision.to_string(),
        environments: status.answer_count as u64,
        stale_seconds: status.stale.as_ref().map(|(since, _)| since.as_secs()),
        error: status.stale.map(|(_, reason)| reason),
    };
    ConfigServerDetails {
        source: http.store.source_name().to_owned(),
        repositories: http.store.label_statuses().into_iter().map(label).collect(),
        held_back: http.store.problems().len() as u64,
        withheld: http.store.withheld().len() as u64,
        faults: super::faults::current(http).iter().map(super::faults::detail).collect(),
        remotes: http.store.remotes().iter().map(remote).collect(),
        problems: http.store.source_problems().iter().map(of_source).collect(),
    }
}

fn of_source(SourceProblem { source, problem, .. }: &SourceProblem) -> SourceProblemHealth {
    SourceProblemHealth {
        source: source.to_string(),
        file: problem.origin.file.to_string(),
        reason: problem.message.to_string(),
    }
}

fn remote(status: &RemoteStatus) -> RemoteHealth {
    RemoteHealth {
        source: status.name.to_string(),
        last_fetch_seconds: status.fetched_before.map(|age| age.as_secs()),
        error: status.failure.clone(),
    }
}

/// Returns true if any label is loaded, or if the default label can be loaded now.
async fn can_serve(http: &Http) -> bool {
    if !http.store.label_statuses().is_empty() {
        return true;
    }
    let query = Query {
        application: "application".into(),
        profiles: "default".into(),
        label: Label::Default,
    };
    http.store.answer(&Caller::Operator, &query).await.is_ok()
}
