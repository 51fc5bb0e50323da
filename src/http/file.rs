//! `GET /{application}/{profile}/{label}/{path}`: a file as text with placeholders, or as bytes
//! (docs/protocol.md#6-files).

use std::time::{Duration, SystemTime};

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use super::error::HttpError;
use super::renderings::{Job, SharedText, TextKey};
use super::{Http, answers, body, negotiate, reader, resolves_placeholders, watch};
use crate::access::{Caller, Operation, Permission, Resource};
use crate::model::Query;
use crate::placeholder::{self, PlaceholderError};
use crate::store::{Content, FileLookup, Reader, ServedFile, Template};

const BINARY: &str = "application/octet-stream";

pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    path: &str,
) -> Result<HttpResponse, HttpError> {
    let mut reader = Reader { instance: reader::instance(request.headers(), query), shown: 0 };
    if watch::wants_revision(request.headers()) {
        if !http.store.may(caller, Operation::ReadFile, Resource::Environment(query)) {
            return Err(watch::absent_at_revision(request.headers()));
        }
        reader = watch::handle(request, http, caller, query).await?.reader();
    }
    let request = FileRequest { request, http, caller, reader, query, path };
    request.answer().await
}

/// A request for a file.
struct FileRequest<'a> {
    request: &'a HttpRequest,
    http: &'a Http,
    caller: &'a Caller,
    reader: Reader,
    query: &'a Query,
    path: &'a str,
}

/// A file in the representation that a request accepts.
struct FileRepresentation {
    file: ServedFile,
    etag: String,
    content_type: &'static str,
    /// The text with its placeholders resolved. `None` for a file as bytes, which are read only if the client lacks them.
    text: Option<SharedText>,
}

impl FileRequest<'_> {
    async fn answer(&self) -> Result<HttpResponse, HttpError> {
        let Self { request, http, .. } = self;
        let FileRepresentation { file, etag, content_type, text } = self.representation().await?;
        let modified = modified(&file);
        let is_known = is_known(request, &etag, modified);
        let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response
            .insert_header(("ETag", etag.as_str()))
            .insert_header(("X-Content-Type-Options", "nosniff"));
        reader::add_vary(&mut response, request.headers(), "Accept, Accept-Charset");
        answers::add_file_revisions(&mut response, &file);
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

    /// Finds the file, and reads it if its entity tag depends on its text.
    async fn representation(&self) -> Result<FileRepresentation, HttpError> {
        if negotiate::wants_binary(self.request.headers())? {
            let file = self.find().await?;
            let etag = format!("\"{}\"", file.id);
            return Ok(FileRepresentation { file, etag, content_type: BINARY, text: None });
        }
        let (file, text) = self.text().await?;
        let etag = text.get().map(|text| text.etag.clone()).unwrap_or_default();
        let content_type = if negotiate::wants(self.request.headers(), "application/json") {
            "application/json"
        } else {
            "text/plain;charset=UTF-8"
        };
        Ok(FileRepresentation { file, etag, content_type, text: Some(text) })
    }

    /// Finds the file in the store.
    async fn find(&self) -> Result<ServedFile, HttpError> {
        let Self { http, caller, reader, query, path, .. } = self;
        let found = http.store.find_file(caller, reader, query, path).await?;
        self.permitted(found)
    }

    /// Returns a found file. Records the path that the policy denies.
    fn permitted<T>(&self, lookup: FileLookup<T>) -> Result<T, HttpError> {
        let Self { request, http, caller, query, .. } = self;
        if let (Some(denied), Caller::Identified(identity)) = (&lookup.denied, caller) {
            let permission = identity.file_permission(&query.label, denied);
            // A link can lead from a permitted path to a denied one.
            let permission = if lookup.found.is_none() { Permission::Denied } else { permission };
            let environment =
                identity.permission(Operation::ReadFile, Resource::Environment(query));
            // The request is recorded once.
            if permission != Permission::Allowed && environment == Permission::Allowed {
                let object = format!("read the file {denied}");
                http.record_denied_object(request, identity, Some(query), &object, permission);
            }
        }
        lookup.found.ok_or(HttpError::NoFile)
    }

    /// Finds the file with the environment that its placeholders refer to.
    async fn find_template(&self) -> Result<(ServedFile, Template), HttpError> {
        let Self { request, http, caller, reader, query, path } = self;
        let template = http.store.find_template(caller, reader, query, path).await?;
        let template = self.permitted(template)?;
        if let Content::Broken(problem) = &*template.answer.content {
            return Err(HttpError::Broken(problem.clone()));
        }
        http.record_opening(request, caller, query, &template.answer);
        let mut file = template.file.clone();
        if template.served().is_some_and(|served| served.has_opened_values()) {
            // A key or a referenced secret changes the text without a new revision.
            file.made_seconds = None;
        }
        Ok((file, template))
    }

    /// Reads the file as text, and resolves its placeholders unless the request turns that off.
    async fn text(&self) -> Result<(ServedFile, SharedText), HttpError> {
        let Self { request, http, caller, query, .. } = self;
        let charset = negotiate::charset(request.headers())?;
        let (file, template) = if resolves_placeholders(request)? {
            let (file, template) = self.find_template().await?;
            (file, Some(template))
        } else {
            (self.find().await?, None)
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
