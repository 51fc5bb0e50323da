//! `GET /-/fleet?at=…` and `GET /-/fleet/history`: the recorded past of instances, at all replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use headwater_wire::{FleetHistory, FleetRecord, FleetReplica};
use jiff::{SignedDuration, Timestamp};

use super::super::error::HttpError;
use super::super::identity::ListFilter;
use super::super::instances::{InstanceFilter, decoded};
use super::super::route::RouteError;
use super::super::{Http, has_parameter, parameter};
use super::{MERGE_WAIT_MAX, MERGES, credentials, merge_permit, number_replicas, peers, query};
use crate::fleet::{self, EnvironmentName, History, PeerAnswer};

/// The time before the end of a history that is read, if the request names no beginning.
const LENGTH: SignedDuration = SignedDuration::from_hours(24);

/// The answer of a replica without a history.
const NO_HISTORY: &str =
    "it records no history, because it has no data directory or fleet.history_days is 0";

/// The records that a request asks for.
#[derive(Clone)]
enum Question {
    /// The instances at a time.
    At(Timestamp),
    /// The changes of an instance.
    Instance(String, Timestamp, Timestamp),
}

/// Answers with the last record of each instance that was present at a time.
pub(super) async fn at(
    request: &HttpRequest,
    http: &Http,
    filter: ListFilter<'_>,
) -> Result<HttpResponse, HttpError> {
    let time = time(request, "at")?.ok_or(HttpError::Route(RouteError::Invalid))?;
    let wanted = InstanceFilter::of(request)?;
    let answers = answers(request, http, Question::At(time), &["-", "fleet"]).await?;
    let mut newest: BTreeMap<String, FleetRecord> = BTreeMap::new();
    let (replicas, left_out) = collect(answers, |record| {
        let query = query(&environment(&record));
        let is_shown = wanted.selects_query(&query) && wanted.selects_name(&record.instance);
        if !is_shown || !filter.shows(&query) {
            return false;
        }
        let incarnation = record.incarnation.as_deref().unwrap_or_default();
        let place = environment(&record).sort_key();
        let key = format!("{place}\0{}\0{incarnation}", record.instance);
        if newest.get(&key).is_none_or(|known| instant(&known.at) < instant(&record.at)) {
            newest.insert(key, record);
        }
        true
    });
    let records = newest.into_values().collect();
    Ok(answer(filter, FleetHistory { replicas, records, left_out }))
}

/// Answers with the records of one instance between two times.
pub(in crate::http) async fn history(
    request: &HttpRequest,
    http: &Http,
    filter: ListFilter<'_>,
) -> Result<HttpResponse, HttpError> {
    let invalid = HttpError::Route(RouteError::Invalid);
    let name = decoded(request, "instance")?.ok_or(invalid)?;
    let until = time(request, "until")?.unwrap_or_else(Timestamp::now);
    let earliest = until.checked_sub(LENGTH).unwrap_or(Timestamp::MIN);
    let from = time(request, "from")?.unwrap_or(earliest);
    let question = Question::Instance(name, from, until);
    let answers = answers(request, http, question, &["-", "fleet", "history"]).await?;
    let mut records = Vec::new();
    let (replicas, left_out) = collect(answers, |record| {
        let is_shown = filter.shows(&query(&environment(&record)));
        if is_shown {
            records.push(record);
        }
        is_shown
    });
    records.sort_by_key(|record| instant(&record.at));
    Ok(answer(filter, FleetHistory { replicas, records, left_out }))
}

/// Answers with a history. A caller that receives only a part of all lists may not read the names of replicas.
fn answer(filter: ListFilter<'_>, mut history: FleetHistory) -> HttpResponse {
    if !filter.is_complete() {
        let records = history.records.iter_mut().map(|record| &mut record.replica);
        number_replicas(&mut history.replicas, records);
    }
    HttpResponse::Ok().json(history)
}

/// Asks the history of this replica and, unless the request has `?local`, of all others.
async fn answers(
    request: &HttpRequest,
    http: &Http,
    question: Question,
    path: &'static [&'static str],
) -> Result<Vec<PeerAnswer<FleetHistory>>, HttpError> {
    let _permit = merge_permit(&MERGES, MERGE_WAIT_MAX).await?;
    let name = http.replicas.name().to_owned();
    let own = read(http.history.clone(), question).await;
    let own =
        own.map(|(records, left_out)| FleetHistory { replicas: Vec::new(), records, left_out });
    let mut answers = vec![PeerAnswer { name, result: own }];
    if !has_parameter(request, "local") {
        let peers = peers(http, &mut answers);
        let query = format!("{}&local", request.query_string());
        let credentials = credentials(request.headers());
        answers.extend(fleet::ask_history(peers, path, &query, &credentials).await);
    }
    answers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(answers)
}

/// Reads the history of this replica on a thread that may block.
async fn read(
    history: Option<Arc<History>>,
    question: Question,
) -> Result<(Vec<FleetRecord>, u64), String> {
    let history = history.ok_or(NO_HISTORY)?;
    let read = move || -> std::io::Result<Option<(Vec<FleetRecord>, u64)>> {
        match question {
            Question::At(time) => Ok(history.at(time)?.map(|records| (records, 0))),
            Question::Instance(name, from, until) => {
                history.of_instance(&name, from, until).map(Some)
            }
        }
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    // The error of the system names no path.
    read.map_err(|error| format!("its history cannot be read: {error}"))?
        .ok_or_else(|| "its history does not reach back to this time".to_owned())
}

/// Passes the records of all replicas on, with the names of the replicas. Counts those that are used.
fn collect(
    answers: Vec<PeerAnswer<FleetHistory>>,
    mut use_record: impl FnMut(FleetRecord) -> bool,
) -> (Vec<FleetReplica>, u64) {
    let (mut replicas, mut left_out) = (Vec::new(), 0);
    for PeerAnswer { name, result } in answers {
        let mut count = 0;
        let failure = match result {
            Ok(history) => {
                left_out += history.left_out;
                for record in history.records {
                    count += u64::from(use_record(FleetRecord { replica: name.clone(), ..record }));
                }
                None
            }
            Err(failure) => Some(failure),
        };
        replicas.push(FleetReplica { name, instances: count, failure });
    }
    (replicas, left_out)
}

fn environment(record: &FleetRecord) -> EnvironmentName {
    EnvironmentName {
        application: record.application.clone(),
        profiles: record.profiles.clone(),
        label: record.label.clone(),
    }
}

/// Parses the time of a record. A text that is none is the oldest.
fn instant(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::MIN)
}

/// The time in a parameter of the query string.
fn time(request: &HttpRequest, name: &str) -> Result<Option<Timestamp>, HttpError> {
    if parameter(request, name).is_none() {
        return Ok(None);
    }
    let text = decoded(request, name)?.unwrap_or_default();
    text.parse().map(Some).map_err(|_| HttpError::Route(RouteError::Invalid))
}
