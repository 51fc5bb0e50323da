//! `GET /-/replicas`: the replicas of the fleet, and how far each is behind.

use std::time::Duration;

use actix_web::HttpResponse;
use headwater_wire as wire;

use super::Http;
use crate::replicas::{EtcdStatus, Liveness, ReplicaStatus, SourceReport};

/// Answers from memory, also during an outage of etcd. The answer contains its own age.
pub(super) fn list(http: &Http) -> HttpResponse {
    let list = http.replicas.list();
    HttpResponse::Ok().json(wire::ReplicaList {
        share: list.etcd.as_ref().map(etcd),
        replicas: list.replicas.iter().map(replica).collect(),
        left_out: list.left_out_count,
    })
}

fn etcd(status: &EtcdStatus) -> wire::ShareStatus {
    let outage = status.outage.as_ref();
    wire::ShareStatus {
        heard_seconds: status.last_contact.map(|age| age.as_secs()),
        away_seconds: outage.map(|(length, _)| length.as_secs()),
        failure: outage.map(|(_, reason)| reason.clone()),
    }
}

fn replica(status: &ReplicaStatus) -> wire::ReplicaStatus {
    let report = &status.report;
    let lags = status.lags.iter().map(Some).chain(std::iter::repeat(None));
    let labels = report.labels.iter().zip(lags).map(|(label, lag)| wire::LabelStatus {
        label: label.label.clone(),
        revision: label.revision.clone(),
        lag_seconds: lag.map(Duration::as_secs),
    });
    wire::ReplicaStatus {
        name: report.name.clone(),
        id: status.id.clone(),
        this: status.is_this,
        state: match status.liveness {
            Liveness::Live => wire::ReplicaState::Live,
            Liveness::Gone => wire::ReplicaState::Gone,
            Liveness::Unknown => wire::ReplicaState::Unknown,
        },
        address: report.address.clone(),
        version: report.version.clone(),
        age_seconds: report.age_seconds,
        heard_seconds: status.last_contact.map(|age| age.as_secs()),
        lag_seconds: status.lags.iter().max().map(Duration::as_secs),
        labels: labels.collect(),
        labels_left_out: report.left_out as u64,
        held_back: report.held_back as u64,
        faults: report.faults.clone(),
        policy: report.policy.as_ref().map(|policy| wire::PolicyStatus {
            digest: policy.digest.clone(),
            age_seconds: policy.age_seconds,
        }),
        sources: report.sources.iter().map(source).collect(),
    }
}

/// Shows the age of a source only while it fails. The age of a healthy source is not current, because a report is not
/// written to etcd for a new age alone.
fn source(source: &SourceReport) -> wire::SourceStatus {
    wire::SourceStatus {
        source: source.source.clone(),
        failure: source.failure.clone(),
        heard_seconds: source.heard_seconds.filter(|_| source.failure.is_some()),
    }
}
