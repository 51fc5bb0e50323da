//! `GET [/{label}]/{application}-{profiles}.{yml,yaml,properties,json}`.
//!
//! See docs/protocol.md#23-representations-of-a-flat-form and docs/protocol.md#4-flat-forms.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use super::error::HttpError;
use super::renderings::{Job, TextKey};
use super::route::FlatFormat;
use super::{Http, answers, body, negotiate, reader, resolves_placeholders, watch};
use crate::access::Caller;
use crate::model::Query;
use crate::placeholder::PlaceholderError;
use crate::render::flat::{self, FlatError, PlaceholderMode};
use crate::store::AnswerAt;

pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    format: FlatFormat,
) -> Result<HttpResponse, HttpError> {
    let current = Arc::new(watch::handle(request, http, caller, query).await?.current());
    answers::check(request, http, caller, query, &current)?;
    let served = answers::served(&current)?;
    let (placeholders, resolved) = if resolves_placeholders(request)? {
        (PlaceholderMode::Resolve, "resolved")
    } else {
        (PlaceholderMode::Keep, "raw")
    };
    let (name, content_type) = match format {
        FlatFormat::Properties => ("properties", "text/plain"),
        FlatFormat::Yaml => ("yml", "text/plain"),
        FlatFormat::Json => ("json", "application/json"),
    };
    let etag = format!("W/\"{}.{name}.{resolved}\"", served.digest);
    if negotiate::has_already(request.headers(), &etag) {
        let mut response = HttpResponse::NotModified();
        answers::add_revisions(&mut response, &current);
        reader::add_vary(&mut response, request.headers(), "");
        return Ok(response.insert_header(("ETag", etag)).finish());
    }
    let (key, size) = (TextKey::Flat(served.digest, format, placeholders), served.text_bytes());
    let rendered = Arc::clone(&current);
    let render = move |job: &Job| render(&rendered, format, placeholders, job);
    let connection = watch::connection(request);
    let text = http.renderings.share(key, size, connection.closed(), render).await?;
    http.record_opened_read(request, caller, query, Some(served), &current.revision)?;
    let mut response = HttpResponse::Ok();
    answers::add_revisions(&mut response, &current);
    reader::add_vary(&mut response, request.headers(), "");
    response.insert_header(("ETag", etag)).content_type(content_type);
    Ok(response.body(body::of_text(text, &connection)))
}

fn render(
    current: &AnswerAt,
    format: FlatFormat,
    placeholders: PlaceholderMode,
    job: &Job,
) -> Result<Bytes, HttpError> {
    let Some(served) = current.served() else { return Err(HttpError::Empty) };
    let (environment, meter) = (&served.environment, |bytes| job.reserve(bytes));
    let text = match format {
        FlatFormat::Properties => flat::properties_metered(environment, placeholders, &meter),
        FlatFormat::Yaml => flat::yaml_metered(environment, placeholders, &meter),
        FlatFormat::Json => flat::json_metered(environment, placeholders, &meter),
    };
    text.map(Bytes::from).map_err(|error| match error {
        FlatError::Placeholder(PlaceholderError::Stopped) => job.error(),
        error => error.into(),
    })
}
