//! `GET /-/fleet`: how far each environment has reached its instances, at all replicas. `past` has the history.

mod past;

use std::collections::HashMap;
use std::time::Duration;

use actix_http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use headwater_wire::{FleetReplica, FleetStatus};
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::HttpError;
use super::identity::ListFilter;
use super::instances::{InstanceFilter, InstancePage, hex, status};
use super::{Http, has_parameter};
use crate::access::{Caller, Operation, Resource};
use crate::fleet::{
    self, CallerCredentials, EnvironmentName, Peer, PeerAnswer, PresentContent, ReportedInstance,
};
use crate::model::{Label, Query};
use crate::replicas::Liveness;
use crate::reveal::Variant;
use crate::store::AnswerError;

pub(super) use past::history;

/// The requests that ask the other replicas at the same time. Further ones wait for a while.
static MERGES: Semaphore = Semaphore::const_new(4);

/// The longest time for which a request waits before it asks the other replicas.
const MERGE_WAIT_MAX: Duration = Duration::from_secs(5);

const CONFIG_TOKEN: HeaderName = HeaderName::from_static("x-config-token");

/// Answers from the instances of this replica and, unless the request has `?local`, of all others.
pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    filter: ListFilter<'_>,
) -> Result<HttpResponse, HttpError> {
    if has_parameter(request, "at") {
        return past::at(request, http, filter).await;
    }
    let wanted = InstanceFilter::of(request)?;
    let page = InstancePage::of(request)?;
    let (replicas, reported) = reported(request, http, filter, &wanted).await?;
    let merged = fleet::merge(reported);
    let count = merged.len() as u64;
    let merged: Vec<_> =
        merged.into_iter().map(|(name, it)| (hex(&name.sort_key()), name, it)).collect();
    let (merged, next) = page.cut(merged, |(cursor, ..)| cursor.clone());
    let now = Timestamp::now();
    let mut answer =
        FleetStatus { replicas, environments: Vec::new(), count, next, instances: Vec::new() };
    for (_, name, instances) in &merged {
        let present = present(http, caller, name).await;
        answer.environments.push(fleet::count(name, &present, instances, now));
        if wanted.names_instance() {
            let shown = instances.iter().map(|instance| fleet::show(instance, &present, now));
            answer.instances.extend(shown);
        }
    }
    if !http.store.may(caller, Operation::ReadOverview, Resource::Server) {
        let instances = answer.instances.iter_mut().map(|instance| &mut instance.replica);
        number_replicas(&mut answer.replicas, instances);
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// Replaces the names of the replicas by numbers, and the reasons of failures by one text, for a caller that may not read
/// `/-/replicas`.
fn number_replicas<'a>(replicas: &mut [FleetReplica], names: impl Iterator<Item = &'a mut String>) {
    let numbered = replicas.iter().zip(1_usize..);
    let numbers: HashMap<String, String> =
        numbered.map(|(replica, number)| (replica.name.clone(), number.to_string())).collect();
    let number = |name: &mut String| *name = numbers.get(name).cloned().unwrap_or_default();
    for replica in replicas {
        number(&mut replica.name);
        replica.failure = replica.failure.take().map(|_| "it did not report them".to_owned());
    }
    names.for_each(number);
}

/// Waits until the request may ask the other replicas.
async fn merge_permit<'s>(
    merges: &'s Semaphore,
    wait_max: Duration,
) -> Result<SemaphorePermit<'s>, HttpError> {
    match timeout(wait_max, merges.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(HttpError::Answer(AnswerError::Overloaded)),
    }
}

/// Collects the instances that the caller may see, from this replica and the others.
async fn reported(
    request: &HttpRequest,
    http: &Http,
    filter: ListFilter<'_>,
    wanted: &InstanceFilter,
) -> Result<(Vec<FleetReplica>, Vec<ReportedInstance>), HttpError> {
    let shown = wanted.shown_queries(http, filter);
    let own =
        http.instances.snapshot(|name, query| wanted.selects_name(name) && shown.contains(query));
    let own = PeerAnswer {
        name: http.replicas.name().to_owned(),
        result: Ok(own.iter().map(status).collect()),
    };
    let mut answers = vec![own];
    if !has_parameter(request, "local") {
        let _permit = merge_permit(&MERGES, MERGE_WAIT_MAX).await?;
        let peers = peers(http, &mut answers);
        let credentials = credentials(request.headers());
        answers.extend(fleet::ask(peers, wanted.query_string(), &credentials).await);
    }
    answers.sort_by(|a, b| a.name.cmp(&b.name));
    let mut replicas = Vec::new();
    let mut reported = Vec::new();
    // The policy of this replica decides as well, once for each environment.
    let mut decided = HashMap::new();
    for PeerAnswer { name, result } in answers {
        let (mut instances, failure) = match result {
            Ok(instances) => (instances, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        instances.retain(|status| {
            let name = EnvironmentName::of(status);
            match decided.get(&name) {
                Some(is_shown) => *is_shown,
                None => {
                    let is_shown = filter.shows(&query(&name));
                    decided.insert(name, is_shown);
                    is_shown
                }
            }
        });
        replicas.push(FleetReplica {
            name: name.clone(),
            instances: instances.len() as u64,
            failure,
        });
        reported.extend(
            instances.into_iter().map(|status| ReportedInstance { replica: name.clone(), status }),
        );
    }
    Ok((replicas, reported))
}

/// The other replicas that may have instances. Those without contact are answered for at once.
fn peers<T>(http: &Http, answers: &mut Vec<PeerAnswer<T>>) -> Vec<Peer> {
    let mut peers = Vec::new();
    for replica in http.replicas.list().replicas.into_iter().filter(|replica| !replica.is_this) {
        let (name, address) = (replica.report.name, replica.report.address);
        match replica.liveness {
            Liveness::Live | Liveness::Unknown => peers.push(Peer { name, address }),
            Liveness::Gone => {
                answers.push(PeerAnswer { name, result: Err("it is gone".to_owned()) });
            }
        }
    }
    peers
}

/// The credentials of the caller, which each replica examines itself.
fn credentials(headers: &HeaderMap) -> CallerCredentials {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
    CallerCredentials {
        authorization: text(header::AUTHORIZATION),
        config_token: text(CONFIG_TOKEN),
    }
}

/// The content that this server serves for an environment.
async fn present(http: &Http, caller: &Caller, name: &EnvironmentName) -> PresentContent {
    let Ok(handle) = http.store.answer(caller, &query(name)).await else {
        return PresentContent::default();
    };
    let current = handle.current();
    let variants = [Variant::Opened, Variant::Sealed];
    let served = variants.into_iter().filter_map(|variant| current.answer.served(variant));
    PresentContent {
        revision: Some(current.revision.to_string()),
        digests: served.map(|served| served.digest).collect(),
    }
}

/// The query for an environment. Names that no route would accept are looked up like others and not found.
fn query(name: &EnvironmentName) -> Query {
    Query {
        application: name.application.as_str().into(),
        profiles: name.profiles.as_str().into(),
        label: name.label.as_deref().map_or(Label::Default, |label| Label::Named(label.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_does_not_wait_without_limit() {
        let merges = Semaphore::new(1);
        let first = merge_permit(&merges, MERGE_WAIT_MAX).await.unwrap();
        let second = merge_permit(&merges, MERGE_WAIT_MAX).await;
        assert!(matches!(second.err(), Some(HttpError::Answer(AnswerError::Overloaded))));
        drop(first);
        assert!(merge_permit(&merges, MERGE_WAIT_MAX).await.is_ok());
    }

    #[test]
    fn replicas_can_be_numbered_in_place_of_their_names() {
        let replica = |name: &str, failure: Option<&str>| FleetReplica {
            name: name.to_owned(),
            instances: 1,
            failure: failure.map(str::to_owned),
        };
        let mut answer = FleetStatus {
            replicas: vec![replica("a.internal", None), replica("b.internal", Some("its address"))],
            environments: Vec::new(),
            count: 0,
            next: None,
            instances: Vec::new(),
        };
        let instances = answer.instances.iter_mut().map(|instance| &mut instance.replica);
        number_replicas(&mut answer.replicas, instances);
        let missing = Some("it did not report them");
        assert_eq!(answer.replicas, [replica("1", None), replica("2", missing)]);
    }
}
