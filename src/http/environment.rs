//! `GET /{application}/{profiles}[/{label}]`: the Environment as JSON (specification, 2.2 and 3).

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use super::error::Fault;
use super::{HELD_AT_HEADER, Http, REVISION_HEADER, negotiate, watch};
use crate::access::Caller;
use crate::model::Query;
use crate::store::{Content, Reading, Served};

pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
) -> Result<HttpResponse, Fault> {
    let representation =
        negotiate::representation(request.headers()).ok_or(Fault::NotAcceptable)?;
    let reader = watch::reader(request, http, caller, query).await?;
    served(&reader.current())?;
    let _present = http.instances.enter(request.headers(), query);
    let knows = |reading: &Reading| {
        let served = reading.answer.served();
        served.is_some_and(|served| {
            negotiate::has_already(request.headers(), served.etag(representation))
        })
    };
    // HEAD never waits, and who has nothing yet need not.
    let wait = watch::wait(request.headers()).filter(|_| {
        request.method() == Method::GET && request.headers().contains_key("If-None-Match")
    });
    let reading = match wait {
        Some(wait) => watch::poll(request, http, &reader, wait, knows).await?,
        None => reader.current(),
    };
    let served = served(&reading)?;
    let etag = served.etag(representation);
    let is_known = knows(&reading);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header(("ETag", etag)).insert_header(("Vary", "Accept"));
    if let Some(wait) = wait {
        response.insert_header(("Preference-Applied", format!("wait={}", wait.as_secs())));
    }
    add_revision(&mut response, &reading);
    if let Some(revision) = request.headers().get(watch::MIN_REVISION) {
        // Whatever keeps answers cannot say so of a revision that came later.
        response.insert_header((watch::MIN_REVISION, revision.clone()));
    }
    if is_known {
        return Ok(response.finish());
    }
    response.content_type(representation.content_type());
    Ok(response.body(served.json(representation, &reading.revision)))
}

/// What there is to serve, or the fault that says why not.
pub(super) fn served(reading: &Reading) -> Result<&Served, Fault> {
    match &reading.answer.content {
        Content::Environment(served) => Ok(served),
        Content::Broken(problem) => Err(Fault::Broken(problem.clone())),
        Content::UnknownLabel => Err(Fault::UnknownLabel),
        Content::Empty => Err(Fault::Empty),
    }
}

/// Says which revision is served and, if it is not the newest, which one is.
pub(super) fn add_revision(response: &mut actix_web::HttpResponseBuilder, reading: &Reading) {
    response.insert_header((REVISION_HEADER, reading.revision.as_str()));
    if reading.answer.held().next().is_some() {
        response.insert_header((HELD_AT_HEADER, reading.tip.as_str()));
    }
}
