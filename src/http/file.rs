//! `GET /{application}/{profile}/{label}/{path}`: a file as text with placeholders, or as bytes
//! (docs/protocol.md#6-files).

use std::time::{Duration, SystemTime};

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use super::error::HttpError;
use super::renderings::{Job, SharedText, TextKey};
use super::{Http, answers, body, negotiate, resolves_placeholders, watch};
use crate::access::{Caller, Operation, Permission, Resource};
use crate::model::Query;
use crate::placeholder::{self, PlaceholderError};
use crate::store::{Content, FileLookup, ServedFile, Template};

const BINARY: &str = "application/octet-stream";

pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    path: &str,
) -> Result<HttpResponse, HttpError> {
    if watch::wants_revision(request.headers()) {
        if !http.store.may(caller, Operation::ReadFile, Resource::Environment(query)) {
            return Err(watch::absent_at_revision(request.headers()));
        }
        watch::handle(request, http, caller, query).await?;
    }
    let FileRepresentation { file, etag, content_type, text } =
        representation(request, http, caller, query, path).await?;
    let modified = modified(&file);
    let is_known = is_known(request, &etag, modified);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header(("ETag", etag.as_str()))
        .insert_header(("Vary", "Accept, Accept-Charset"))
        .insert_header(("X-Content-Type-Options", "nosniff"));
    answers::add_revision(&mut response, &file.revision, file.epochs.as_ref());
    if let Some(modified) = modified {
        response.insert_header(actix_web::http::header::LastModified(modified.into()));
    }
    if is_known {
        return Ok(response.finish());
    }
    let text = match text {
        Some(text) => text,
        None => bytes(request, http, file).await?,
    };
    let connection = watch::connection(request);
    Ok(response.content_type(content_type).body(body::of_text(text, &connection)))
}

/// A file in the representation that a request accepts.
struct FileRepresentation {
    file: ServedFile,
    etag: String,
    content_type: &'static str,
    /// The text with its placeholders resolved. `None` for a file as bytes, which are read only if the client lacks them.
    text: Option<SharedText>,
}

/// Finds a file, and reads it if its entity tag depends on its text.
async fn representation(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    path: &str,
) -> Result<FileRepresentation, HttpError> {
    if negotiate::wants_binary(request.headers())? {
        let file = http.store.find_file(caller, query, path).await?;
        let file = permitted(request, http, caller, query, file)?;
        let etag = format!("\"{}\"", file.id);
        return Ok(FileRepresentation { file, etag, content_type: BINARY, text: None });
    }
    let (file, text) = text(request, http, caller, query, path).await?;
    let etag = text.get().map(|text| text.etag.clone()).unwrap_or_default();
    let content_type = if negotiate::wants(request.headers(), "application/json") {
        "application/json"
    } else {
        "text/plain;charset=UTF-8"
    };
    Ok(FileRepresentation { file, etag, content_type, text: Some(text) })
}

/// Returns a found file. Records the path that the policy denies.
fn permitted<T>(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    lookup: FileLookup<T>,
) -> Result<T, HttpError> {
    if let (Some(denied), Caller::Identified(identity)) = (&lookup.denied, caller) {
        let permission = identity.file_permission(&query.label, denied);
        // A link can lead from a permitted path to a denied one.
        let permission = if lookup.found.is_none() { Permission::Denied } else { permission };
        let environment = identity.permission(Operation::ReadFile, Resource::Environment(query));
        // The request is recorded once.
        if permission != Permission::Allowed && environment == Permission::Allowed {
            let object = format!("read the file {denied}");
            http.record_denied_object(request, identity, Some(query), &object, permission);
        }
    }
    lookup.found.ok_or(HttpError::NoFile)
}

/// Returns the time of the revision that contains a file, if it is known.
fn modified(file: &ServedFile) -> Option<SystemTime> {
    let seconds = u64::try_from(file.made_seconds?).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Reads a file as bytes.
async fn bytes(
    request: &HttpRequest,
    http: &Http,
    file: ServedFile,
) -> Result<SharedText, HttpError> {
    let (connection, key, size) = (watch::connection(request), TextKey::Bytes(file.id), file.size);
    let read = move |_: &Job| Ok(file.read()?.into());
    http.renderings.share(key, size, connection.closed(), read).await
}

/// Returns true if the client's copy is current. `If-None-Match` takes precedence over `If-Modified-Since`.
fn is_known(request: &HttpRequest, etag: &str, modified: Option<SystemTime>) -> bool {
    use actix_web::http::header::{Header, IfModifiedSince};
    if request.headers().contains_key("If-None-Match") {
        return negotiate::has_already(request.headers(), etag);
    }
    match (IfModifiedSince::parse(request), modified) {
        (Ok(IfModifiedSince(since)), Some(modified)) => modified <= SystemTime::from(since),
        _ => false,
    }
}

/// Reads a file as text, and resolves its placeholders unless the request turns that off.
async fn text(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    path: &str,
) -> Result<(ServedFile, SharedText), HttpError> {
    let charset = negotiate::charset(request.headers())?;
    let (file, template) = if resolves_placeholders(request)? {
        let template = http.store.find_template(caller, query, path).await?;
        let template = permitted(request, http, caller, query, template)?;
        if let Content::Broken(problem) = &template.answer.content {
            return Err(HttpError::Broken(problem.clone()));
        }
        http.record_opening(request, caller, query, &template.answer);
        let mut file = template.file.clone();
        if template.served().is_some_and(|served| served.has_opened_values()) {
            // A key or a referenced secret changes the text without a new revision.
            file.made_seconds = None;
        }
        (file, Some(template))
    } else {
        let file = http.store.find_file(caller, query, path).await?;
        (permitted(request, http, caller, query, file)?, None)
    };
    let served = template.as_ref().and_then(|template| template.served());
    http.record_opened_read(request, caller, query, served, &file.revision)?;
    let digest = served.map(|served| served.digest);
    let key = TextKey::Text(file.id, format!("{charset:?}"), digest);
    let (connection, read) = (watch::connection(request), file.clone());
    let render = move |job: &Job| {
        let text = charset.decode_owned(read.read()?);
        let Some(served) = template.as_ref().and_then(Template::served) else {
            return Ok(text.into());
        };
        let resolved =
            placeholder::resolve_text(&served.environment, &text, &|bytes| job.reserve(bytes));
        resolved.map(Bytes::from).map_err(|error| match error {
            PlaceholderError::Stopped => job.error(),
            error => HttpError::FileText(error),
        })
    };
    let text = http.renderings.share(key, file.size, connection.closed(), render).await?;
    Ok((file, text))
}
