//! Pages of the audit trail, for principals with the right `audit`.

use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse};

use super::error::HttpError;
use super::route::RouteError;
use super::{Http, parameter};
use crate::audit::{AuditEvent, Filter, parse_time};
use crate::percent;

/// The lines of a page, unless the request names fewer or more.
const COUNT_DEFAULT: usize = 100;
/// The most lines of a page.
const COUNT_MAX: usize = 1_000;

/// Answers with a page. Without a policy no caller has the right, and the path does not exist.
pub(super) async fn page(request: &HttpRequest, http: &Http) -> Result<HttpResponse, HttpError> {
    let absent = HttpError::Route(RouteError::NotFound);
    let Some(audit) = http.audit.as_ref().filter(|_| http.guard.is_some()) else {
        return Err(absent);
    };
    let filter = filter(request)?;
    let after = number(request, "after")?.unwrap_or(0);
    let count: usize = number(request, "limit")?.unwrap_or(COUNT_DEFAULT);
    let page = audit.page(filter, after, count.clamp(1, COUNT_MAX)).await;
    let page = page.map_err(|error| {
        tracing::error!(%error, "the audit trail cannot be read");
        HttpError::AuditUnreadable
    })?;
    Ok(HttpResponse::Ok().json(page.ok_or(absent)?))
}

fn filter(request: &HttpRequest) -> Result<Filter, HttpError> {
    let time = |name| {
        let text = text(request, name)?;
        text.map(|text| parse_time(&text).map_err(|_| invalid())).transpose()
    };
    let event = text(request, "event")?;
    let event = event.map(|name| AuditEvent::parse(&name).ok_or_else(invalid)).transpose()?;
    Ok(Filter {
        principal: text(request, "principal")?,
        application: text(request, "application")?,
        event,
        outcome: text(request, "outcome")?,
        since: time("since")?,
        until: time("until")?,
    })
}

fn text(request: &HttpRequest, name: &str) -> Result<Option<String>, HttpError> {
    parameter(request, name).map(|text| percent::decode(text).ok_or_else(invalid)).transpose()
}

fn number<N: FromStr>(request: &HttpRequest, name: &str) -> Result<Option<N>, HttpError> {
    parameter(request, name).map(|text| text.parse().map_err(|_| invalid())).transpose()
}

fn invalid() -> HttpError {
    HttpError::Route(RouteError::Invalid)
}
