//! The headers in which a request reports its instance, and `GET /-/instances`.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use actix_http::header::{HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use headwater_wire::{InstanceHealth, InstanceList, InstanceStatus, Outcome, headers};

use super::error::HttpError;
use super::identity::ListFilter;
use super::route::RouteError;
use super::{Http, contracts, parameter, watch};
use crate::fleet::{
    Acknowledgement, Attributes, Instance, InstanceReport, InstanceRequest, Reason, Speaker,
};
use crate::model::{Digest, Query};
use crate::percent;

/// The longest acknowledged revision, in bytes.
const REVISION_BYTES_MAX: usize = 512;
/// The most instances on a page, if the request asks for pages.
const PAGE_COUNT_MAX: usize = 1_000;

/// The header with the name of an instance.
pub(super) const INSTANCE: HeaderName = HeaderName::from_static(headers::INSTANCE);
/// The header with an acknowledgement: `<revision>.<digest> ok`, or `rejected` in place of `ok`.
const APPLIED: HeaderName = HeaderName::from_static(headers::APPLIED);
const INCARNATION: HeaderName = HeaderName::from_static(headers::INCARNATION);
const ATTRIBUTES: HeaderName = HeaderName::from_static(headers::ATTRIBUTES);
const HEALTH: HeaderName = HeaderName::from_static(headers::HEALTH);
const REASON: HeaderName = HeaderName::from_static(headers::REASON);

/// Records the instance that requests an environment, and its report. Returns `None` for a request without a valid name.
///
/// Called after the caller was allowed to read the environment, so that no caller speaks as an instance of an
/// application that it may not read.
pub(super) fn enter(http: &Http, headers: &HeaderMap, query: &Query) -> Option<InstanceRequest> {
    http.instances.enter(report(headers)?, query)
}

/// The run of an instance that a request speaks for, and the reason that it gives. Returns `None` without a valid name.
pub(super) fn speaker(
    headers: &HeaderMap,
    query: &Query,
    principal: Arc<str>,
) -> Option<(Speaker, Option<Reason>)> {
    let InstanceReport { name, incarnation, reason, .. } = report(headers)?;
    Some((Speaker { name, incarnation, query: query.clone(), principal }, reason))
}

/// Reads the report of a request. Returns `None` without a valid name. Every other invalid value is ignored.
fn report(headers: &HeaderMap) -> Option<InstanceReport> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let mut report = InstanceReport::new(text(INSTANCE)?)?;
    if let Some(incarnation) = text(INCARNATION) {
        report.set_incarnation(incarnation);
    }
    report.attributes = text(ATTRIBUTES).and_then(Attributes::parse);
    report.applied = text(APPLIED).and_then(acknowledgement);
    report.health = text(HEALTH).and_then(InstanceHealth::from_name);
    report.reason = text(REASON).and_then(Reason::parse);
    report.contract = contracts::named(headers).map(Into::into);
    Some(report)
}

fn acknowledgement(text: &str) -> Option<Acknowledgement> {
    let (id, outcome) = text.split_once(' ')?;
    let (seen, digest) = id.rsplit_once('.')?;
    let fits = seen.len() <= REVISION_BYTES_MAX;
    Some(Acknowledgement {
        revision: watch::position(seen).filter(|_| fits)?.revision,
        digest: Digest::parse(digest)?,
        outcome: Outcome::from_name(outcome)?,
    })
}

/// The instances that a request to `/-/instances` asks for.
pub(super) struct InstanceFilter {
    application: Option<String>,
    profiles: Option<String>,
    /// The empty text selects the default label.
    label: Option<String>,
    instance: Option<String>,
    /// The parameters as they were sent.
    parameters: String,
}

impl InstanceFilter {
    /// Reads the filter from the query string.
    ///
    /// # Errors
    /// For a value with invalid percent-encoding.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, HttpError> {
        let names = ["application", "profiles", "label", "instance"];
        let raw = names.iter().filter_map(|name| Some((name, parameter(request, name)?)));
        let raw: Vec<String> = raw.map(|(name, value)| format!("{name}={value}")).collect();
        Ok(Self {
            parameters: raw.join("&"),
            application: decoded(request, "application")?,
            profiles: decoded(request, "profiles")?,
            label: decoded(request, "label")?,
            instance: decoded(request, "instance")?,
        })
    }

    /// Returns the escaped query string of this filter.
    pub(super) fn query_string(&self) -> &str {
        &self.parameters
    }

    /// Returns true if the filter selects one instance by its name.
    pub(super) fn names_instance(&self) -> bool {
        self.instance.is_some()
    }

    /// Returns the environments that instances follow, the filter selects and the caller may read.
    ///
    /// The name of an application decides first, so that a denied one takes the time of an absent one. Otherwise each
    /// distinct environment is decided once, whether the filter selects it or not, and not under the lock of the table.
    pub(super) fn shown_queries(&self, http: &Http, filter: ListFilter<'_>) -> HashSet<Query> {
        let application = self.application.as_deref();
        if application.is_some_and(|name| !filter.shows_application(name)) {
            return HashSet::new();
        }
        let mut queries = http.instances.queries(application);
        queries.retain(|query| filter.shows(query));
        queries.retain(|query| self.selects_query(query));
        queries
    }

    /// Returns the number of requests that there was no room for, of the selected application or of all that the caller may
    /// read.
    fn left_out_count(&self, http: &Http, filter: ListFilter<'_>) -> u64 {
        let application = self.application.as_deref();
        if filter.is_complete() && application.is_none() {
            return http.instances.left_out_count();
        }
        if application.is_some_and(|name| !filter.shows_application(name)) {
            return 0;
        }
        let is_shown = |name: &str| match application {
            Some(wanted) => name == wanted,
            None => filter.shows_application(name),
        };
        let left_out = http.instances.left_out().into_iter();
        left_out.filter(|(name, _)| is_shown(name)).map(|(_, count)| count).sum()
    }

    /// Returns true if the instances of an environment can be selected.
    pub(super) fn selects_query(&self, query: &Query) -> bool {
        let label = query.label.name().unwrap_or_default();
        let is_wanted =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|it| it == value);
        is_wanted(&self.application, &query.application)
            && is_wanted(&self.profiles, &query.profiles)
            && is_wanted(&self.label, label)
    }

    /// Returns true if the instance is selected, given that its environment is.
    pub(super) fn selects_name(&self, name: &str) -> bool {
        self.instance.as_deref().is_none_or(|wanted| wanted == name)
    }
}

/// Lists the instances whose environments the caller may read, page by page if the request limits their number.
pub(super) fn list(
    request: &HttpRequest,
    http: &Http,
    filter: ListFilter<'_>,
) -> Result<HttpResponse, HttpError> {
    let wanted = InstanceFilter::of(request)?;
    let page = InstancePage::of(request)?;
    let shown = wanted.shown_queries(http, filter);
    let instances =
        http.instances.list(|name, query| wanted.selects_name(name) && shown.contains(query));
    let count = instances.len() as u64;
    let (instances, next) = page.cut(instances, |instance| hex(&instance.sort_key()));
    let left_out = wanted.left_out_count(http, filter);
    let instances = instances.iter().map(status).collect();
    let replica = http.replicas.name().to_owned();
    Ok(HttpResponse::Ok().json(InstanceList { instances, count, next, left_out, replica }))
}

/// The part of a list that a request asks for.
pub(super) struct InstancePage {
    limit: Option<usize>,
    /// The cursor of the last instance of the page before.
    after: Option<String>,
}

impl InstancePage {
    /// Reads the page from the query string.
    ///
    /// # Errors
    /// For a limit out of range, for a cursor that is not hexadecimal, and for invalid percent-encoding.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, HttpError> {
        let limit = parameter(request, "limit").map(|text| {
            let limit = text.parse().ok().filter(|limit| (1..=PAGE_COUNT_MAX).contains(limit));
            limit.ok_or(HttpError::Route(RouteError::Invalid))
        });
        let after = decoded(request, "after")?;
        let is_cursor =
            |text: &String| text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        if !after.as_ref().is_none_or(is_cursor) {
            return Err(HttpError::Route(RouteError::Invalid));
        }
        Ok(Self { limit: limit.transpose()?, after })
    }

    /// Removes the items of other pages. Returns the cursor for the next page.
    pub(super) fn cut<T>(
        &self,
        mut items: Vec<T>,
        cursor: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        if let Some(after) = &self.after {
            items.retain(|item| cursor(item) > *after);
        }
        let Some(limit) = self.limit.filter(|limit| *limit < items.len()) else {
            return (items, None);
        };
        items.truncate(limit);
        let next = items.last().map(cursor);
        (items, next)
    }
}

/// Returns a text in hexadecimal, which keeps the order of bytes.
pub(super) fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The decoded value of a parameter of the query string.
pub(super) fn decoded(request: &HttpRequest, name: &str) -> Result<Option<String>, HttpError> {
    let value = parameter(request, name).map(percent::decode);
    value.map(|value| value.ok_or(HttpError::Route(RouteError::Invalid))).transpose()
}

/// Shows an instance.
pub(super) fn status(instance: &Instance) -> InstanceStatus {
    let applied = instance.applied.as_ref();
    let attributes = instance.attributes.iter();
    InstanceStatus {
        instance: instance.name.to_string(),
        incarnation: instance.incarnation.as_deref().map(str::to_owned),
        attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        application: instance.query.application.to_string(),
        profiles: instance.query.profiles.to_string(),
        label: instance.query.label.name().map(str::to_owned),
        revision: applied.map(|applied| applied.revision.to_string()),
        digest: applied.map(|applied| applied.digest.to_string()),
        outcome: applied.map(|applied| applied.outcome),
        since: instance.since.to_string(),
        reason: instance.reason.as_ref().map(|reason| reason.as_str().to_owned()),
        contract: instance.contract.as_deref().map(str::to_owned),
        health: instance.health,
        down_reports: instance.down_count,
        witness: instance.is_witness,
        tries: instance.tries,
        restarts: instance.restart_count,
        last_seen: instance.last_seen.to_string(),
        connected: instance.is_connected(),
        disconnected_since: instance.disconnected_at.map(|at| at.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn headers(values: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn invalid_acknowledgements_are_ignored() {
        let digest = "0".repeat(64);
        let long = vec![COMMIT; 1 + REVISION_BYTES_MAX / COMMIT.len()].join(",");
        for text in [
            "",
            "ok",
            &format!("{COMMIT}.{digest}"),
            &format!("{COMMIT}.{digest} fine"),
            &format!("{COMMIT}.{digest}  ok"),
            &format!("{COMMIT}.{digest}0 ok"),
            &format!("a b.{digest} ok"),
            &format!("r.{digest} ok"),
            &format!("{long}.{digest} ok"),
        ] {
            assert_eq!(acknowledgement(text), None, "{text}");
            let report = report(&headers(&[(INSTANCE, "a"), (APPLIED, text)])).unwrap();
            assert_eq!(report.applied, None);
        }
        let outcome = |text: String| acknowledgement(&text).map(|it| it.outcome);
        assert_eq!(outcome(format!("{COMMIT},{COMMIT}.{digest} ok")), Some(Outcome::Applied));
        assert_eq!(outcome(format!("{digest}.{digest} rejected")), Some(Outcome::Rejected));
    }

    #[test]
    fn each_invalid_header_is_ignored_alone() {
        let applied = format!("{COMMIT}.{} rejected", "0".repeat(64));
        let valid = [
            (INSTANCE, "web-3"),
            (INCARNATION, "web-3-17-00c0ffee"),
            (ATTRIBUTES, "version=1.4, zone=eu-1"),
            (APPLIED, &applied),
            (HEALTH, "down"),
            (REASON, "type a.b"),
        ];
        let all = report(&headers(&valid)).unwrap();
        assert_eq!(all.incarnation.as_deref(), Some("web-3-17-00c0ffee"));
        assert_eq!(all.health, Some(InstanceHealth::Down));
        assert!(all.attributes.is_some() && all.applied.is_some() && all.reason.is_some());
        assert_eq!(report(&headers(&valid[1..])), None);
        for (at, expected) in [
            (1, InstanceReport { incarnation: None, ..all.clone() }),
            (2, InstanceReport { attributes: None, ..all.clone() }),
            (3, InstanceReport { applied: None, ..all.clone() }),
            (4, InstanceReport { health: None, ..all.clone() }),
            (5, InstanceReport { reason: None, ..all.clone() }),
        ] {
            let mut values = valid.clone();
            values[at].1 = "<not valid>";
            assert_eq!(report(&headers(&values)), Some(expected), "{at}");
        }
    }
}
