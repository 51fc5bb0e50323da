//! The server's own read resources: the index, the OpenAPI description, the known environments and the problems.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use headwater_wire::{EnvironmentList, ProblemList, ProblemReport, RolloutStatus};
use serde_json::{Value, json};

use super::error::HttpError;
use super::identity::ListFilter;
use super::route::{self, SERVER_ROUTES, ServerRoute};
use super::{Http, parameter, rollouts};
use crate::access::Identity;
use crate::catalog::Catalog;
use crate::faults::FaultKind;
use crate::model::{Label, Problem, Query, Revision};
use crate::push::Hosts;
use crate::store::{
    EnvironmentNotice, EnvironmentProblem, RemoteStatus, Severity, SourceProblem,
    WithheldEnvironment,
};

/// The OpenAPI description of a server without a prefix. A test compares it with the routes and the answers of a
/// server.
const OPEN_API: &str = include_str!("openapi.json");

pub(super) fn index(http: &Http) -> HttpResponse {
    let prefix = &http.prefix;
    let has_audit = http.guard.is_some() && http.audit.is_some();
    let is_linked = |route: &ServerRoute| match route {
        ServerRoute::Audit => has_audit,
        // It answers only to a request that names an instance.
        ServerRoute::FleetHistory => false,
        _ => true,
    };
    let links = SERVER_ROUTES.iter().filter(|(_, route)| is_linked(route));
    let links = links.map(|(path, route)| {
        if route::ignores_prefix(*route) { (*path).to_owned() } else { format!("{prefix}{path}") }
    });
    let names = http.hosts.iter().flat_map(Hosts::names);
    let repositories = names.map(|name| format!("{prefix}/-/git/{name}.git"));
    HttpResponse::Ok().json(json!({
        "name": "headwater",
        "version": env!("CARGO_PKG_VERSION"),
        "environment": format!("{prefix}/{{application}}/{{profiles}}[/{{label}}]"),
        "links": links.collect::<Vec<_>>(),
        "repositories": repositories.collect::<Vec<_>>(),
    }))
}

/// Returns the OpenAPI description with the prefix of this server in its paths.
pub(super) fn open_api(prefix: &str) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if prefix.is_empty() {
        return response.body(OPEN_API);
    }
    let mut contract: Value = serde_json::from_str(OPEN_API).expect("the contract is JSON");
    let paths = contract["paths"].as_object_mut().map(std::mem::take).unwrap_or_default();
    let named = paths.into_iter().map(|(path, operations)| {
        let path = if ignores_prefix(&path) { path } else { below(prefix, &path) };
        (path, operations)
    });
    contract["paths"] = Value::Object(named.collect());
    response.body(contract.to_string())
}

/// Returns true if the prefix does not apply to a path of the OpenAPI description.
fn ignores_prefix(path: &str) -> bool {
    let route = SERVER_ROUTES.iter().find(|(known, _)| *known == path);
    path == route::MONITOR || route.is_some_and(|(_, route)| route::ignores_prefix(*route))
}

fn below(prefix: &str, path: &str) -> String {
    if path == "/" { prefix.to_owned() } else { format!("{prefix}{path}") }
}

pub(super) async fn environments(
    request: &HttpRequest,
    http: &Http,
    filter: ListFilter<'_>,
) -> Result<HttpResponse, HttpError> {
    let label = match parameter(request, "label") {
        Some(text) => route::label(text)?,
        None => Label::Default,
    };
    let (catalog, revision) = match filter.identity() {
        None => http.store.read_catalog(&label).await?,
        Some(identity) => visible_environments(http, filter, identity, &label).await?,
    };
    Ok(HttpResponse::Ok().json(EnvironmentList {
        label: label.name().map(str::to_owned),
        revision: revision.to_string(),
        applications: catalog.applications,
        profiles: catalog.profiles,
    }))
}

/// Lists the environments that a caller may read, from the names of the files that it may read.
async fn visible_environments(
    http: &Http,
    filter: ListFilter<'_>,
    identity: &Arc<Identity>,
    label: &Label,
) -> Result<(Catalog, Revision), HttpError> {
    let is_named = *label != Label::Default;
    // The names decide before the label is loaded, so that the time of the answer does not show whether it exists.
    if is_named && !identity.may_read_some(label) {
        return Err(HttpError::UnknownLabel);
    }
    let (mut catalog, revision) = http.store.read_visible_catalog(label, identity).await?;
    keep_visible(&mut catalog, label, filter);
    if catalog.applications.is_empty() && is_named {
        // The caller may read nothing at this label, so that it must not learn whether the label exists.
        return Err(HttpError::UnknownLabel);
    }
    Ok((catalog, revision))
}

/// Removes the applications that the caller may read with no profile, and the profiles that it may read with none of
/// the others.
fn keep_visible(catalog: &mut Catalog, label: &Label, filter: ListFilter<'_>) {
    let queries = catalog.queries(label);
    let visible: Vec<&Query> = queries.iter().filter(|query| filter.shows(query)).collect();
    let applications: HashSet<&str> = visible.iter().map(|query| &*query.application).collect();
    let profiles: HashSet<&str> = visible
        .iter()
        .filter(|query| catalog.applications.contains(&*query.application))
        .map(|query| &*query.profiles)
        .collect();
    catalog.profiles.retain(|profile| profiles.contains(profile.as_str()));
    catalog.applications.retain(|application| applications.contains(application.as_str()));
}

pub(super) fn problems(http: &Http, filter: ListFilter<'_>) -> HttpResponse {
    if !filter.is_complete() {
        return visible_problems(http, filter);
    }
    let (held_back, of_sources) = (http.store.problems(), http.store.source_problems());
    let remotes = http.store.remotes();
    let notices = http.store.notices();
    let problems = held_back.iter().map(problem).chain(notices.iter().map(notice));
    let withheld = http.store.withheld();
    let rollouts = rollouts::withheld(http, filter);
    let problems = problems.chain(withheld.iter().map(|it| withheld_report(http, &rollouts, it)));
    let problems = problems.chain(of_sources.iter().map(of_source));
    let has_rollouts =
        |source: &str| http.hosts.as_ref().is_some_and(|hosts| hosts.has_rollouts(source));
    let idle_plans = http.store.idle_plans(&has_rollouts);
    let problems = problems.chain(idle_plans.iter().map(of_source));
    let faults = super::faults::current(http);
    let of_server = faults.iter().filter_map(super::faults::problem);
    let expiries = http.store.faults.expiries();
    let of_server = of_server.chain(expiries.iter().map(super::faults::expiry));
    let problems = problems.chain(remotes.iter().filter_map(unreachable)).chain(of_server);
    HttpResponse::Ok().json(ProblemList { problems: problems.collect() })
}

/// Lists the problems of environments that the caller may read. Problems of sources and of the server concern others.
fn visible_problems(http: &Http, filter: ListFilter<'_>) -> HttpResponse {
    let (held_back, notices) = (http.store.problems(), http.store.notices());
    let held_back = held_back.iter().filter(|it| filter.shows(&it.query)).map(problem);
    let notices = notices.iter().filter(|it| filter.shows(&it.query)).map(notice);
    let withheld = http.store.withheld();
    let withheld = withheld.iter().filter(|it| filter.shows(&it.query));
    let rollouts = rollouts::withheld(http, filter);
    let withheld = withheld.map(|it| withheld_report(http, &rollouts, it));
    let problems = held_back.chain(notices).chain(withheld);
    HttpResponse::Ok().json(ProblemList { problems: problems.collect() })
}

/// Shows a problem of a source. It belongs to no single environment.
fn of_source(SourceProblem { source, severity, problem }: &SourceProblem) -> ProblemReport {
    let kind = match severity {
        Severity::Problem => FaultKind::SourceProblem.name(),
        Severity::Warning => ProblemReport::NOTICE,
    };
    at_place(kind, source, problem)
}

/// Shows a remote that is unreachable since its last successful fetch. Returns `None` for a reachable remote.
fn unreachable(status: &RemoteStatus) -> Option<ProblemReport> {
    Some(ProblemReport {
        kind: FaultKind::RemoteUnreachable.name().to_owned(),
        source: status.name.to_string(),
        since: status.fetched_before.and_then(super::faults::time_ago),
        reason: status.failure.clone()?,
        ..ProblemReport::default()
    })
}

fn problem(problem: &EnvironmentProblem) -> ProblemReport {
    let held = problem.held.as_ref();
    let since = held.and_then(|held| held.since_seconds);
    let since = since.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    ProblemReport {
        tip: Some(problem.tip.to_string()),
        served: held.map(|held| held.revision.to_string()),
        since: since.map(|since| since.to_string()),
        ..of_query("held-back", &problem.query, &problem.source, &problem.problem)
    }
}

/// Shows an environment whose newest content is withheld after a rollback.
fn withheld_report(
    http: &Http,
    rollouts: &HashMap<String, RolloutStatus>,
    withheld: &WithheldEnvironment,
) -> ProblemReport {
    let WithheldEnvironment { query, tip, stable, rollout } = withheld;
    let known = rollouts.get(&**rollout);
    let why = known.and_then(|status| status.why.as_ref());
    let because = why.map(|why| format!(", because {why}")).unwrap_or_default();
    ProblemReport {
        kind: ProblemReport::WITHHELD.to_owned(),
        application: Some(query.application.to_string()),
        profiles: Some(query.profiles.to_string()),
        label: query.label.name().map(str::to_owned),
        source: http.store.source_name().to_owned(),
        tip: Some(tip.to_string()),
        served: Some(stable.to_string()),
        since: known.and_then(|status| status.since.clone()),
        reason: format!(
            "rollout {rollout} was rolled back{because}; the newest content is not served until a \
             push changes it, or until a user promotes or retries the rollout"
        ),
        ..ProblemReport::default()
    }
}

/// Shows a problem in spite of which the newest revision is served.
fn notice(notice: &EnvironmentNotice) -> ProblemReport {
    ProblemReport {
        tip: Some(notice.revision.to_string()),
        served: Some(notice.revision.to_string()),
        ..of_query(ProblemReport::NOTICE, &notice.query, &notice.source, &notice.problem)
    }
}

fn of_query(kind: &str, query: &Query, source: &str, problem: &Problem) -> ProblemReport {
    ProblemReport {
        application: Some(query.application.to_string()),
        profiles: Some(query.profiles.to_string()),
        label: query.label.name().map(str::to_owned),
        ..at_place(kind, source, problem)
    }
}

/// Shows the place and the text of a problem.
fn at_place(kind: &str, source: &str, Problem { origin, key, message }: &Problem) -> ProblemReport {
    ProblemReport {
        kind: kind.to_owned(),
        source: source.to_owned(),
        file: Some(origin.file.to_string()),
        line: origin.position.map(|position| position.line),
        column: origin.position.map(|position| position.column),
        key: key.as_deref().map(str::to_owned),
        reason: message.to_string(),
        ..ProblemReport::default()
    }
}
