//! Every refusal in one place: which status, and which body (specification, 2.4).

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::git::Refused;
use super::route::{Refusal, Route};
use crate::model::{Problem, Revision};
use crate::placeholder::PlaceholderError;
use crate::render::flat::FlatError;
use crate::store::AnswerError;

/// How much of a request's path an error repeats, in bytes.
const PATH_SHOWN_BYTES_MAX: usize = 1_000;

/// A request that gets no content.
#[derive(Debug)]
pub(super) enum Fault {
    /// The path asks for nothing.
    Refused(Refusal),
    /// No token, or a wrong one.
    Unauthorized,
    /// The method is not one of the route's.
    MethodNotAllowed,
    /// Neither representation is acceptable.
    NotAcceptable,
    /// There is no answer.
    Answer(AnswerError),
    /// The label is unknown for this application.
    UnknownLabel,
    /// There is no property source, and that is an error here.
    Empty,
    /// The content cannot be used.
    Broken(Problem),
    /// The flat form cannot be made.
    Flat(FlatError),
    /// The placeholders of a text file cannot be resolved.
    FileText(PlaceholderError),
    /// There is no such file.
    NoFile,
    /// The server has as many watchers as it may have.
    TooManyWatchers,
    /// The client has as many watchers as it may have.
    TooManyOfClient,
    /// The client has seen a revision that this server does not know yet; it is at this one.
    Behind(Revision),
    /// A request for git cannot be taken.
    Git(Refused),
    /// The body is larger than any that is looked at.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The body is of no type that is read here.
    UnsupportedMediaType,
    /// There were too many requests of this kind of late.
    TooManyRequests,
}

impl From<AnswerError> for Fault {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Forbidden => Self::Unauthorized,
            AnswerError::UnknownLabel(_) => Self::UnknownLabel,
            other => Self::Answer(other),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<FlatError> for Fault {
    fn from(error: FlatError) -> Self {
        Self::Flat(error)
    }
}

impl Fault {
    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Refusal::Invalid) => StatusCode::BAD_REQUEST,
            Self::Refused(Refusal::NoHandler) | Self::UnknownLabel | Self::Empty | Self::NoFile => {
                StatusCode::NOT_FOUND
            }
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Answer(AnswerError::Unavailable(_) | AnswerError::Overloaded)
            | Self::TooManyWatchers
            | Self::Behind(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Answer(AnswerError::UnknownLabel(_)) => StatusCode::NOT_FOUND,
            Self::Answer(AnswerError::Forbidden) => StatusCode::UNAUTHORIZED,
            Self::TooManyOfClient => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken(_) | Self::FileText(_) | Self::Flat(FlatError::ShapeConflict { .. }) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Flat(_) => StatusCode::BAD_REQUEST,
            Self::Git(refused) => refused.status(),
        }
    }

    /// What may be said beyond the status: never a value, never a path of the machine.
    fn message(&self) -> Option<String> {
        match self {
            Self::Broken(problem) => Some(problem.to_string()),
            Self::Flat(error) => Some(error.to_string()),
            Self::FileText(error) => Some(error.to_string()),
            Self::Answer(error) => Some(error.to_string()),
            Self::TooManyWatchers => Some("too many watchers".to_owned()),
            Self::TooManyOfClient => Some("too many watchers of this client".to_owned()),
            Self::Behind(_) => Some("this server does not know that revision yet".to_owned()),
            Self::Git(refused) => Some(refused.message().to_owned()),
            Self::Empty => Some("no property source".to_owned()),
            Self::Refused(Refusal::Invalid) => Some("Invalid Request".to_owned()),
            _ => None,
        }
    }

    /// The answer, in Spring's shape or, for our own resources, as a problem document.
    pub(super) fn response(&self, request: &HttpRequest, route: Option<&Route>) -> HttpResponse {
        let status = self.status();
        let mut response = HttpResponse::build(status);
        match self {
            Self::Unauthorized => {
                response.insert_header(("WWW-Authenticate", "Basic realm=\"headwater\""));
            }
            Self::MethodNotAllowed => {
                response.insert_header(("Allow", super::allowed(route)));
            }
            Self::NotAcceptable => {
                let types = [super::V1_TYPE, super::V2_TYPE].join(", ");
                response.insert_header(("Accept", types));
            }
            Self::Answer(_)
            | Self::TooManyWatchers
            | Self::TooManyOfClient
            | Self::TooManyRequests
            | Self::Git(Refused::Busy | Refused::Unwritable) => {
                response.insert_header(("Retry-After", "1"));
            }
            // No other 503 says a revision: by it clients know that another server may have more.
            Self::Behind(tip) => {
                response.insert_header(("Retry-After", "1"));
                response.insert_header((super::REVISION_HEADER, tip.as_str()));
            }
            // What of it is still to come is not read any more.
            Self::BodyTooLarge | Self::BodyTooSlow => {
                response.force_close();
            }
            _ => {}
        }
        match route {
            Some(Route::File(..) | Route::NoFile) if status == StatusCode::NOT_FOUND => {
                response.finish()
            }
            // Git shows plain text to whoever runs it.
            Some(Route::Git(..)) => {
                let message = self.message().unwrap_or_else(|| status.to_string());
                response.content_type("text/plain; charset=utf-8").body(message + "\n")
            }
            Some(Route::Own(_)) => self.problem_document(&mut response),
            _ => self.spring_document(&mut response, request),
        }
    }

    fn spring_document(
        &self,
        response: &mut actix_web::HttpResponseBuilder,
        request: &HttpRequest,
    ) -> HttpResponse {
        let status = self.status();
        let mut body = json!({
            "timestamp": timestamp(),
            "status": status.as_u16(),
            "error": status.canonical_reason().unwrap_or_default(),
        });
        if let Some(message) = self.message() {
            body["message"] = message.into();
        }
        body["path"] = cut(request.path()).into();
        response.content_type("application/json").body(body.to_string())
    }

    fn problem_document(&self, response: &mut actix_web::HttpResponseBuilder) -> HttpResponse {
        let status = self.status();
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
        });
        if let Some(message) = self.message() {
            body["detail"] = message.into();
        }
        if let Self::Broken(problem) = self {
            body["file"] = (*problem.origin.file).into();
            if let Some(position) = problem.origin.position {
                body["line"] = position.line.into();
                body["column"] = position.column.into();
            }
        }
        response.content_type("application/problem+json").body(body.to_string())
    }
}

/// As much of a path as an answer repeats.
fn cut(path: &str) -> &str {
    let end =
        (0..=PATH_SHOWN_BYTES_MAX.min(path.len())).rev().find(|at| path.is_char_boundary(*at));
    &path[..end.unwrap_or(0)]
}

/// Now, as Spring writes it: `2026-01-02T03:04:05.678+00:00`.
fn timestamp() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}
