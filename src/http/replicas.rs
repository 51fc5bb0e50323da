//! `/-/replicas`: who else serves the same, and how far each is.

use std::time::Duration;

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::Http;
use crate::replicas::{Listed, Share, SourceReport, State};

/// Answered whatever is away: how old it is stands in it.
pub(super) fn list(http: &Http) -> HttpResponse {
    let listing = http.replicas.list();
    let replicas: Vec<Value> = listing.replicas.iter().map(replica).collect();
    HttpResponse::Ok().json(json!({
        "share": listing.share.as_ref().map(share),
        "replicas": replicas,
        "left_out": listing.left_out_count,
    }))
}

fn share(share: &Share) -> Value {
    let away = share.away.as_ref();
    json!({
        "heard_seconds": share.heard.map(|heard| heard.as_secs()),
        "away_seconds": away.map(|(since, _)| since.as_secs()),
        "failure": away.map(|(_, failure)| failure),
    })
}

fn replica(listed: &Listed) -> Value {
    let report = &listed.report;
    let lags = listed.lags.iter().map(Some).chain(std::iter::repeat(None));
    let labels = report.labels.iter().zip(lags).map(|(at, lag)| {
        json!({
            "label": at.label,
            "revision": at.revision,
            "lag_seconds": lag.map(Duration::as_secs),
        })
    });
    json!({
        "name": report.name,
        "id": listed.id,
        "this": listed.is_this,
        "state": match listed.state {
            State::Live => "live",
            State::Gone => "gone",
            State::Unknown => "unknown",
        },
        "address": report.address,
        "version": report.version,
        "age_seconds": report.age_seconds,
        "heard_seconds": listed.heard.map(|heard| heard.as_secs()),
        "lag_seconds": listed.lags.iter().max().map(Duration::as_secs),
        "labels": labels.collect::<Vec<Value>>(),
        "labels_left_out": report.left_out,
        "held_back": report.held_back,
        "sources": report.sources.iter().map(source).collect::<Vec<Value>>(),
    })
}

/// How long ago a source was heard of is told where it matters: every telling would be another write to etcd.
fn source(source: &SourceReport) -> Value {
    let heard = source.heard_seconds.filter(|_| source.failure.is_some());
    json!({ "source": source.source, "failure": source.failure, "heard_seconds": heard })
}
