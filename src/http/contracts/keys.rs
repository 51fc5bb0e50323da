//! `/-/contracts/{application}/keys`: the keys of an application's environments and the builds that read them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use headwater_wire::{Environment, KeyList, KeyReader, KeyReaders};
use serde_json::Value;

use super::default_environment;
use crate::access::Caller;
use crate::check::{Reading, RunningBuild, RunningBuilds};
use crate::http::error::HttpError;
use crate::http::identity::ListFilter;
use crate::http::{Http, answers};
use crate::model::Query;
use crate::render::Representation;

/// The most environments that one answer reads.
const ENVIRONMENT_COUNT_MAX: usize = 16;

/// The places of the values of each key: `file:line:column`.
type Places = BTreeMap<String, BTreeSet<String>>;

/// Lists the keys of the environments that instances of an application follow, or of its default environment.
pub(super) async fn keys(
    http: &Http,
    caller: &Caller,
    application: &str,
) -> Result<HttpResponse, HttpError> {
    let source = Arc::clone(&http.builds);
    // Compiles the contracts that are new.
    let builds = web::block(move || source.running()).await.map_err(|_| HttpError::ClientGone)?;
    let mut places = Places::new();
    for query in queries(http, ListFilter::of(caller), application) {
        read(http, caller, &query, &mut places).await;
    }
    let reporting = builds.reporting(application);
    let keys = places.into_iter().map(|(key, origins)| {
        let readers = readers(&builds, application, &key);
        let unread = match readers.is_empty() {
            false => Some(false),
            true => reporting.is_complete().then_some(true),
        };
        KeyReaders { key, origins: origins.into_iter().collect(), readers, unread }
    });
    Ok(HttpResponse::Ok().json(KeyList {
        application: application.to_owned(),
        instances: reporting.instance_count,
        reporting: reporting.reporting_count,
        keys: keys.collect(),
    }))
}

/// Returns the environments of an application that its instances follow, at any label, and its default environment.
fn queries(http: &Http, filter: ListFilter<'_>, application: &str) -> Vec<Query> {
    let followed = http.instances.queries(Some(application));
    let mut queries: Vec<Query> =
        followed.into_iter().filter(|query| filter.shows(query)).collect();
    if queries.is_empty() {
        queries.push(default_environment(application));
    }
    queries.sort_by(|a, b| (&a.profiles, &a.label).cmp(&(&b.profiles, &b.label)));
    queries.truncate(ENVIRONMENT_COUNT_MAX);
    queries
}

/// Adds the effective keys of an environment. An environment without content has none.
async fn read(http: &Http, caller: &Caller, query: &Query, places: &mut Places) {
    let Ok(handle) = http.store.answer(caller, query).await else { return };
    let current = handle.current();
    let Ok(served) = answers::served(&current) else { return };
    let body = served.body(Representation::V2, &current.revision).whole();
    let Ok(environment) = serde_json::from_slice::<Environment>(&body) else { return };
    let mut known = HashSet::new();
    for source in environment.property_sources {
        for (key, value) in source.source {
            if !known.insert(key.clone()) {
                continue;
            }
            let origin = value.get("origin").and_then(Value::as_str);
            let file = file_of(&source.name);
            let place = match origin {
                Some(origin) => format!("{file}:{origin}"),
                None => file.to_owned(),
            };
            places.entry(key).or_default().insert(place);
        }
    }
}

/// Returns the file in the name of a property source, which is the address of its source and a path.
fn file_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn readers(builds: &RunningBuilds, application: &str, key: &str) -> Vec<KeyReader> {
    let mut readers = BTreeMap::<(Option<Arc<str>>, usize), KeyReader>::new();
    for build in builds.of_application(application) {
        let Some(reading) = build.contract.reading(key) else { continue };
        let name = (build.version.clone(), Arc::as_ptr(&build.contract).addr());
        let reader = readers.entry(name).or_insert_with(|| reader(build, application, reading));
        reader.instances += build.instance_count;
    }
    readers.into_values().collect()
}

fn reader(build: &RunningBuild, application: &str, reading: Reading<'_>) -> KeyReader {
    let key = match reading {
        Reading::Key(key) => Some(key),
        Reading::Open => None,
    };
    KeyReader {
        application: application.to_owned(),
        version: build.version.as_deref().map(str::to_owned),
        instances: 0,
        value_type: key.map(|key| key.value_type),
        required: key.is_some_and(|key| key.required),
    }
}
