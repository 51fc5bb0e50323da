//! Our own read resources: the index, the contract, the known environments, the problems, the instances.

use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::error::Fault;
use super::instances::{Instance, Outcome};
use super::route::{self, OWN};
use super::{Http, parameter};
use crate::model::{Label, Problem};
use crate::push::Hosts;
use crate::store::{HeldBack, RemoteStatus, SourceProblem};

/// The contract; compared with the route table in a test.
const OPEN_API: &str = include_str!("openapi.json");

pub(super) fn index(http: &Http) -> HttpResponse {
    let prefix = &http.prefix;
    let own = OWN.iter().map(|(path, own)| match route::beside_prefix(*own) {
        true => (*path).to_owned(),
        false => format!("{prefix}{path}"),
    });
    let names = http.hosts.iter().flat_map(Hosts::names);
    let repositories = names.map(|name| format!("{prefix}/-/git/{name}.git"));
    HttpResponse::Ok().json(json!({
        "name": "headwater",
        "version": env!("CARGO_PKG_VERSION"),
        "environment": format!("{prefix}/{{application}}/{{profiles}}[/{{label}}]"),
        "links": own.collect::<Vec<_>>(),
        "repositories": repositories.collect::<Vec<_>>(),
    }))
}

pub(super) fn open_api() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(OPEN_API)
}

pub(super) async fn environments(
    request: &HttpRequest,
    http: &Http,
) -> Result<HttpResponse, Fault> {
    let label = match parameter(request, "label") {
        Some(text) => route::label(text)?,
        None => Label::Default,
    };
    let (catalog, revision) = http.store.catalog(&label).await?;
    Ok(HttpResponse::Ok().json(json!({
        "label": label.name(),
        "revision": revision.as_str(),
        "applications": catalog.applications,
        "profiles": catalog.profiles,
    })))
}

pub(super) fn problems(http: &Http) -> HttpResponse {
    let (held_back, of_sources) = (http.store.problems(), http.store.source_problems());
    let remotes = http.store.remotes();
    let problems = held_back.iter().map(problem).chain(of_sources.iter().map(of_source));
    let problems: Vec<Value> = problems.chain(remotes.iter().filter_map(away)).collect();
    HttpResponse::Ok().json(json!({ "problems": problems }))
}

pub(super) fn instances(http: &Http) -> HttpResponse {
    let (instances, left_out_count) = http.instances.list();
    let instances: Vec<Value> = instances.iter().map(instance).collect();
    HttpResponse::Ok().json(json!({ "instances": instances, "left_out": left_out_count }))
}

fn instance(instance: &Instance) -> Value {
    let applied = instance.applied.as_ref();
    json!({
        "instance": &*instance.name,
        "application": &*instance.query.application,
        "profiles": &*instance.query.profiles,
        "label": instance.query.label.name(),
        "revision": applied.map(|applied| applied.revision.as_str()),
        "digest": applied.map(|applied| applied.digest.to_string()),
        "outcome": applied.map(|applied| match applied.outcome {
            Outcome::Ok => "ok",
            Outcome::Rejected => "rejected",
        }),
        "since": instance.since.to_string(),
        "last_seen": instance.last_seen.to_string(),
        "connected": instance.is_connected,
    })
}

/// What is wrong in a source concerns no environment by itself.
fn of_source(SourceProblem { source, problem }: &SourceProblem) -> Value {
    let Problem { origin, key, message } = problem;
    json!({
        "application": null,
        "profiles": null,
        "label": null,
        "source": source,
        "tip": null,
        "served": null,
        "since": null,
        "file": &*origin.file,
        "line": origin.position.map(|position| position.line),
        "column": origin.position.map(|position| position.column),
        "key": key.as_deref(),
        "reason": message,
    })
}

/// A source that cannot be read, since it was heard of last.
fn away(status: &RemoteStatus) -> Option<Value> {
    let reason = status.failure.as_ref()?;
    let heard = status.fetched_before.and_then(|before| SystemTime::now().checked_sub(before));
    let since = heard.and_then(|heard| jiff::Timestamp::try_from(heard).ok());
    Some(json!({
        "application": null,
        "profiles": null,
        "label": null,
        "source": status.name,
        "tip": null,
        "served": null,
        "since": since.map(|since| since.to_string()),
        "file": null,
        "line": null,
        "column": null,
        "key": null,
        "reason": reason,
    }))
}

fn problem(problem: &HeldBack) -> Value {
    let origin = &problem.problem.origin;
    let since = problem.held.as_ref().and_then(|held| held.since_seconds);
    let since = since.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    json!({
        "application": &*problem.query.application,
        "profiles": &*problem.query.profiles,
        "label": problem.query.label.name(),
        "source": &*problem.source,
        "tip": problem.tip.as_str(),
        "served": problem.held.as_ref().map(|held| held.revision.as_str()),
        "since": since.map(|since| since.to_string()),
        "file": &*origin.file,
        "line": origin.position.map(|position| position.line),
        "column": origin.position.map(|position| position.column),
        "key": problem.problem.key.as_deref(),
        "reason": problem.problem.message,
    })
}
