//! `GET /{application}/{profiles}[/{label}]`: the Environment as JSON (specification, 2.2 and 3).

use actix_web::{HttpRequest, HttpResponse};

use super::error::Fault;
use super::{HELD_AT_HEADER, Http, REVISION_HEADER, negotiate};
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
    let reading = http.store.answer(caller, query).await?.current();
    let served = served(&reading)?;
    let etag = served.etag(representation);
    let mut response = if negotiate::has_already(request.headers(), etag) {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response.insert_header(("ETag", etag)).insert_header(("Vary", "Accept"));
    add_revision(&mut response, &reading);
    if negotiate::has_already(request.headers(), etag) {
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
