//! `GET /{application}/{profiles}[/{label}]`: the Environment as JSON.
//!
//! See docs/protocol.md#22-representations-of-an-environment and docs/protocol.md#3-the-environment.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use super::error::HttpError;
use super::identity::{Lease, LeaseStatus, LeaseSubject};
use super::{Http, answers, body, contracts, instances, negotiate, reader, trials, watch};
use crate::access::Caller;
use crate::model::Query;
use crate::store::AnswerAt;

pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
) -> Result<HttpResponse, HttpError> {
    let representation =
        negotiate::representation(request.headers()).ok_or(HttpError::NotAcceptable)?;
    let handle = watch::handle(request, http, caller, query).await?;
    trials::record_answer(http, request.headers(), caller, query);
    answers::check(request, http, caller, query, &handle.current())?;
    let _present = instances::enter(http, request.headers(), query);
    let knows = |current: &AnswerAt| {
        let served = current.served();
        served.is_some_and(|served| {
            negotiate::has_already(request.headers(), served.etag(representation))
        })
    };
    // HEAD never waits. A client without a copy gets the present environment at once.
    let wait = watch::wait(request.headers()).filter(|_| {
        request.method() == Method::GET && request.headers().contains_key("If-None-Match")
    });
    let current = match wait {
        Some(wait) => {
            let subject = LeaseSubject::Environment(query.clone());
            let mut lease = Lease::of(request, http, caller, subject);
            let current = watch::poll(request, http, &handle, wait, knows).await?;
            match lease.as_mut().map_or(LeaseStatus::Held, Lease::examine) {
                LeaseStatus::Held => current,
                LeaseStatus::OtherVariant(variant) => handle.in_variant(variant).current(),
                LeaseStatus::Lost => return Err(HttpError::Rejected),
            }
        }
        None => handle.current(),
    };
    let served = answers::served(&current)?;
    let etag = served.etag(representation);
    let is_known = knows(&current);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header(("ETag", etag));
    reader::add_vary(&mut response, request.headers(), "Accept");
    if let Some(digest) = contracts::wanted(http, request, query) {
        response.insert_header((contracts::CONTRACT_WANTED, digest));
    }
    if let Some(wait) = wait {
        response.insert_header(("Preference-Applied", format!("wait={}", wait.as_secs())));
    }
    answers::add_revisions(&mut response, &current);
    if let Some(revision) = request.headers().get(watch::MIN_REVISION) {
        // A cache that ignores the request header cannot return this one for a later revision.
        response.insert_header((watch::MIN_REVISION, revision.clone()));
    }
    if is_known {
        return Ok(response.finish());
    }
    http.record_opened_read(request, caller, query, Some(served), &current.revision)?;
    response.content_type(representation.content_type());
    Ok(response.body(body::of_environment(served.body(representation, &current.revision))))
}
