//! `GET /{application}/{profile}/{label}/{path}`: files as text with placeholders, or as they are (specification, 6).

use actix_web::{HttpRequest, HttpResponse};
use aws_lc_rs::digest::{SHA256, digest};

use super::error::Fault;
use super::{Http, REVISION_HEADER, negotiate, resolves_placeholders, watch};
use crate::access::Caller;
use crate::model::Query;
use crate::placeholder;
use crate::store::{AnswerError, ServedFile, Template};

const BINARY: &str = "application/octet-stream";

pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    path: &str,
) -> Result<HttpResponse, Fault> {
    let headers = request.headers();
    if watch::wants_revision(headers) {
        watch::reader(request, http, caller, query).await?;
    }
    let (file, etag, content_type, body) = if negotiate::wants_binary(headers)? {
        let file = http.store.file(caller, query, path).await?.ok_or(Fault::NoFile)?;
        let bytes = file.bytes.clone();
        let etag = format!("\"{}\"", file.id);
        (file, etag, BINARY, bytes)
    } else {
        let (file, text) = text(request, http, caller, query, path).await?;
        let content_type = match negotiate::wants(headers, "application/json") {
            true => "application/json",
            false => "text/plain;charset=UTF-8",
        };
        let hash = digest(&SHA256, text.as_bytes());
        let etag: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        (file, format!("\"{etag}\""), content_type, text.into())
    };
    let ServedFile { made_seconds, revision, .. } = file;
    let modified = made_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(|seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    let mut response = match is_known(request, &etag, modified) {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header(("ETag", etag.as_str()))
        .insert_header(("Vary", "Accept, Accept-Charset"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header((REVISION_HEADER, revision.as_str()));
    if let Some(modified) = modified {
        response.insert_header(actix_web::http::header::LastModified(modified.into()));
    }
    if is_known(request, &etag, modified) {
        return Ok(response.finish());
    }
    Ok(response.content_type(content_type).body(body))
}

/// `If-None-Match` counts before `If-Modified-Since`.
fn is_known(request: &HttpRequest, etag: &str, modified: Option<std::time::SystemTime>) -> bool {
    use actix_web::http::header::{Header, IfModifiedSince};
    if request.headers().contains_key("If-None-Match") {
        return negotiate::has_already(request.headers(), etag);
    }
    match (IfModifiedSince::parse(request), modified) {
        (Ok(IfModifiedSince(since)), Some(modified)) => {
            modified <= std::time::SystemTime::from(since)
        }
        _ => false,
    }
}

/// How the bytes of a text file are read.
#[derive(Debug, Clone, Copy)]
enum Charset {
    /// ISO-8859-1 proper; what browsers call by that name is another one.
    Latin1,
    Other(&'static encoding_rs::Encoding),
}

impl Charset {
    /// The first charset of `Accept-Charset` that is known, else UTF-8.
    fn of(request: &HttpRequest) -> Self {
        let header = request.headers().get("Accept-Charset").and_then(|value| value.to_str().ok());
        header
            .into_iter()
            .flat_map(|list| list.split(','))
            .filter_map(|item| item.split(';').next())
            .find_map(|name| Self::named(name.trim()))
            .unwrap_or(Self::Other(encoding_rs::UTF_8))
    }

    fn named(name: &str) -> Option<Self> {
        let latin1 = ["iso-8859-1", "iso8859-1", "latin1", "us-ascii"];
        if latin1.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return Some(Self::Latin1);
        }
        encoding_rs::Encoding::for_label(name.as_bytes()).map(Self::Other)
    }

    fn decode(self, bytes: &[u8]) -> String {
        match self {
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        }
    }
}

/// The file as text, with its placeholders resolved unless the request says otherwise.
async fn text(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    path: &str,
) -> Result<(ServedFile, String), Fault> {
    let charset = Charset::of(request);
    if !resolves_placeholders(request)? {
        let file = http.store.file(caller, query, path).await?.ok_or(Fault::NoFile)?;
        let text = charset.decode(&file.bytes);
        return Ok((file, text));
    }
    let template = http.store.template(caller, query, path).await?.ok_or(Fault::NoFile)?;
    let Template { file, environment } = template;
    let environment = environment.map_err(Fault::Broken)?;
    let bytes = file.bytes.clone();
    let resolved = actix_web::web::block(move || {
        let text = charset.decode(&bytes);
        match environment {
            Some(environment) => placeholder::resolve_text(&environment, &text),
            None => Ok(text),
        }
    });
    let text = resolved.await.map_err(|_| AnswerError::Overloaded)?.map_err(Fault::FileText)?;
    Ok((file, text))
}
