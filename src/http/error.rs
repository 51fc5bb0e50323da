//! The errors of requests: one place maps each to its status and body (docs/protocol.md#24-errors).

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use headwater_wire::{ContractError, ErrorDocument, ProblemDocument, headers};

use super::git_error::GitHttpError;
use super::route::{Route, RouteError};
use crate::fleet::RegistrationError;
use crate::model::{Problem, Revision};
use crate::placeholder::PlaceholderError;
use crate::render::flat::FlatError;
use crate::reveal;
use crate::store::AnswerError;

/// The longest part of a request's path that an error repeats, in bytes.
const PATH_SHOWN_BYTES_MAX: usize = 1_000;
/// The body for a request without an accepted credential. It does not depend on the request.
const REJECTED: &str = r#"{"status":401,"error":"Unauthorized","message":"the credentials of this request are missing or wrong"}"#;

/// The body for a client that has sent too many bad credentials. It does not depend on the request either.
const TOO_MANY_REJECTIONS: &str = r#"{"status":429,"error":"Too Many Requests","message":"this client has sent too many wrong credentials; correct them, then retry"}"#;

/// The token that a request for rollouts needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RolloutToken {
    Read,
    Push,
    ReadOrPush,
}

impl RolloutToken {
    fn message(self) -> &'static str {
        match self {
            Self::Read => {
                "the token of this request is missing or wrong: rollouts need the read token"
            }
            Self::Push => {
                "the token of this request is missing or wrong: a command for a rollout needs the \
                 push token"
            }
            Self::ReadOrPush => {
                "the token of this request is missing or wrong: rollouts need the read token or \
                 the push token"
            }
        }
    }
}

/// The reason why a request gets an error response.
#[derive(Debug)]
pub(super) enum HttpError {
    /// The path names no resource, or a header or parameter is invalid.
    Route(RouteError),
    /// The token is missing or wrong.
    Unauthorized,
    /// Under a policy, the headers are not exactly one valid credential.
    Rejected,
    /// The client has sent too many credentials that are not accepted.
    TooManyRejections,
    /// The route does not have the method.
    MethodNotAllowed,
    /// `Accept` allows none of the representations.
    NotAcceptable,
    /// `Accept-Charset` names no supported charset. The value is the first name.
    UnknownCharset(String),
    /// The store has no answer.
    Answer(AnswerError),
    /// No source has the label.
    UnknownLabel,
    /// The environment has no property source, and the setting `accept_empty` is false.
    Empty,
    /// A file of the environment cannot be used.
    Broken(Problem),
    /// The environment has no such flat form.
    Flat(FlatError),
    /// A placeholder of a text file cannot be resolved.
    FileText(PlaceholderError),
    /// The file does not exist.
    NoFile,
    /// The server has as many watchers as `watch.watchers_max` allows.
    TooManyWatchers(usize),
    /// The client has as many watchers as `watch.watchers_per_client_max` allows.
    TooManyWatchersOfClient(usize),
    /// The client has seen a revision that this server has not received yet, or that a rollout keeps from this client.
    Behind {
        /// The newest revision that the server has for the client.
        newest: Revision,
        /// The rollout that holds the application.
        rollout: Option<Arc<str>>,
    },
    /// A request for a repository failed.
    Git(GitHttpError),
    /// The body of a webhook is larger than this number of bytes.
    BodyTooLarge(usize),
    /// The body of a webhook did not arrive within this time.
    BodyTooSlow(Duration),
    /// The media type of a webhook's body is not supported.
    UnsupportedMediaType,
    /// The body is not the contract that the path names.
    Contract(ContractError),
    /// There is no room for another contract.
    ContractsFull {
        error: RegistrationError,
        /// `push.contract_hours`.
        hours: i64,
    },
    /// Too many webhooks arrived in the last seconds.
    TooManyRequests,
    /// A client on another machine wants to use the keys, and the server has no push token.
    RemoteEncryption,
    /// A client on another machine sends a command for a rollout, and the server has no push token.
    RemoteRolloutCommand,
    /// A request for rollouts has no token that permits it.
    RolloutToken(RolloutToken),
    /// No rollout has the id, or the caller may not see or control it.
    UnknownRollout,
    /// The body is no command for a rollout. The value is the reason.
    RolloutCommand(String),
    /// The command does not fit the rollout. The value is the reason.
    RolloutConflict(String),
    /// The state of the rollouts cannot be written.
    RolloutsUnwritable,
    /// The audit trail cannot be written, and the request may not take place without a line in it.
    AuditUnwritable,
    /// The audit trail cannot be read.
    AuditUnreadable,
    /// The client closed its side of the connection before the answer was complete.
    ClientGone,
}

impl From<AnswerError> for HttpError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Forbidden => Self::Unauthorized,
            AnswerError::UnknownLabel(_) => Self::UnknownLabel,
            other => Self::Answer(other),
        }
    }
}

impl From<RouteError> for HttpError {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl From<FlatError> for HttpError {
    fn from(error: FlatError) -> Self {
        Self::Flat(error)
    }
}

impl HttpError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Route(RouteError::Invalid) => StatusCode::BAD_REQUEST,
            Self::Route(RouteError::NotFound)
            | Self::UnknownLabel
            | Self::Empty
            | Self::NoFile
            | Self::UnknownRollout => StatusCode::NOT_FOUND,
            Self::Unauthorized | Self::Rejected | Self::RolloutToken(_) => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable | Self::UnknownCharset(_) => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTooLarge(_) | Self::Contract(ContractError::TooLong) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Contract(_) | Self::RolloutCommand(_) => StatusCode::BAD_REQUEST,
            Self::ContractsFull { .. } | Self::RolloutConflict(_) => StatusCode::CONFLICT,
            Self::BodyTooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyRequests | Self::TooManyRejections => StatusCode::TOO_MANY_REQUESTS,
            Self::RemoteEncryption | Self::RemoteRolloutCommand => StatusCode::FORBIDDEN,
            Self::Answer(AnswerError::Unavailable(_) | AnswerError::Overloaded)
            | Self::TooManyWatchers(_)
            | Self::ClientGone
            | Self::AuditUnwritable
            | Self::AuditUnreadable
            | Self::RolloutsUnwritable
            | Self::Behind { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(problem) if reveal::is_pending(problem) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Answer(AnswerError::UnknownLabel(_)) => StatusCode::NOT_FOUND,
            Self::Answer(AnswerError::Forbidden) => StatusCode::UNAUTHORIZED,
            Self::TooManyWatchersOfClient(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken(_) | Self::FileText(_) | Self::Flat(FlatError::ShapeConflict { .. }) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Flat(_) => StatusCode::BAD_REQUEST,
            Self::Git(error) => error.status(),
        }
    }

    /// Returns the text that goes into the body. It contains no value of a property and no path on the machine.
    fn message(&self) -> Option<String> {
        match self {
            Self::Broken(problem) => Some(problem.to_string()),
            Self::Flat(error) => Some(error.to_string()),
            Self::FileText(error) => Some(error.to_string()),
            Self::Answer(error) => Some(error.to_string()),
            Self::TooManyWatchers(count_max) => Some(format!(
                "the server already has {count_max} watchers, which is its limit; use another \
                 replica or retry later"
            )),
            Self::TooManyWatchersOfClient(count_max) => Some(format!(
                "this client already has {count_max} watchers, which is its limit; close one, then \
                 retry"
            )),
            Self::Unauthorized => {
                Some("the credentials of this request are missing or wrong".to_owned())
            }
            Self::ClientGone => Some(
                "the answer was abandoned because the client closed its side of the connection"
                    .to_owned(),
            ),
            Self::AuditUnwritable => Some(
                "the server cannot write its audit trail, and nothing was done; the operator has to \
                 make room or correct the audit file"
                    .to_owned(),
            ),
            Self::AuditUnreadable => Some(
                "the server cannot read its audit trail; its log names the error".to_owned(),
            ),
            Self::Behind { newest, rollout: Some(rollout) } => Some(format!(
                "rollout {rollout} holds this application at {newest}, and this client is no canary \
                 that has the requested revision; retry when the rollout has ended"
            )),
            Self::Behind { newest, rollout: None } => Some(format!(
                "this server has not received the requested revision yet, its newest is {newest}; \
                 retry, or use another replica"
            )),
            Self::BodyTooLarge(bytes_max) => {
                Some(format!("the body is larger than {bytes_max} bytes"))
            }
            Self::BodyTooSlow(time_max) => Some(format!(
                "the body did not arrive within {} s, or other webhooks needed its place; retry",
                time_max.as_secs()
            )),
            Self::UnsupportedMediaType => Some(
                "Content-Type: expected application/json or application/x-www-form-urlencoded"
                    .to_owned(),
            ),
            Self::TooManyRequests => {
                Some("too many webhooks arrived in the last seconds; retry later".to_owned())
            }
            Self::RemoteEncryption => Some(
                "encryption from another machine needs a push token: set HEADWATER_PUSH_TOKEN or \
                 push.token_file on the server"
                    .to_owned(),
            ),
            Self::Contract(error) => Some(error.to_string()),
            Self::ContractsFull { error, hours } => Some(format!(
                "{error}; a contract is removed push.contract_hours ({hours}) hours after the last instance that names it"
            )),
            Self::Git(error) => Some(error.message().to_owned()),
            Self::UnknownCharset(name) => {
                Some(format!("Accept-Charset: charset {name:?} is not supported; request utf-8"))
            }
            Self::Empty => {
                Some("no property source matches this application and profile".to_owned())
            }
            Self::Route(RouteError::Invalid) => Some("Invalid Request".to_owned()),
            _ => self.rollout_message().map(str::to_owned),
        }
    }

    /// The text of an error about a rollout.
    fn rollout_message(&self) -> Option<&str> {
        Some(match self {
            Self::RemoteRolloutCommand => {
                "a command for a rollout from another machine needs a push token: set \
                 HEADWATER_PUSH_TOKEN or push.token_file on the server"
            }
            Self::RolloutToken(token) => token.message(),
            Self::UnknownRollout => {
                "no rollout has this id, or these credentials do not permit the request; list the \
                 rollouts with headwater rollout list"
            }
            Self::RolloutCommand(reason) | Self::RolloutConflict(reason) => reason,
            Self::RolloutsUnwritable => {
                "the server cannot write the state of its rollouts, and nothing was done; its log \
                 names the error"
            }
            _ => return None,
        })
    }

    /// Makes the response: a problem document for the server's own resources, plain text for git, and otherwise the
    /// error JSON of Spring.
    pub(super) fn response(&self, request: &HttpRequest, route: Option<&Route>) -> HttpResponse {
        match self {
            Self::Rejected => return rejected(),
            Self::TooManyRejections => return too_many_rejections(),
            _ => {}
        }
        let status = self.status();
        let mut response = HttpResponse::build(status);
        match self {
            Self::Unauthorized | Self::RolloutToken(_) => {
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
            | Self::TooManyWatchers(_)
            | Self::TooManyWatchersOfClient(_)
            | Self::TooManyRequests
            | Self::AuditUnwritable
            | Self::RolloutsUnwritable
            | Self::Git(GitHttpError::Busy | GitHttpError::Unwritable) => {
                response.insert_header(("Retry-After", "1"));
            }
            Self::Broken(problem) if reveal::is_pending(problem) => {
                response.insert_header(("Retry-After", "1"));
            }
            // No other 503 has this header. It tells a client that another replica may be further.
            Self::Behind { newest, rollout } => {
                response.insert_header(("Retry-After", "1"));
                response.insert_header((headers::REVISION, newest.as_str()));
                if let Some(rollout) = rollout {
                    response.insert_header((headers::ROLLOUT, &**rollout));
                }
            }
            // The server does not read the rest of the body.
            Self::BodyTooLarge(_) | Self::BodyTooSlow(_) => {
                response.force_close();
            }
            _ => {}
        }
        match route {
            Some(Route::File(..) | Route::NoFile) if status == StatusCode::NOT_FOUND => {
                response.finish()
            }
            // Git shows plain text to its user.
            Some(Route::Git(..)) => {
                let message = self.message().unwrap_or_else(|| status.to_string());
                response.content_type("text/plain; charset=utf-8").body(message + "\n")
            }
            // A contract that the caller may not see is answered like an unknown path.
            Some(Route::Contract(_)) if status == StatusCode::NOT_FOUND => {
                self.spring_document(&mut response, request)
            }
            Some(Route::Server(_) | Route::Contract(_) | Route::Rollout(_)) => {
                self.problem_document(&mut response)
            }
            _ => self.spring_document(&mut response, request),
        }
    }

    fn spring_document(
        &self,
        response: &mut actix_web::HttpResponseBuilder,
        request: &HttpRequest,
    ) -> HttpResponse {
        let status = self.status();
        response.content_type("application/json").json(ErrorDocument {
            timestamp: timestamp(),
            status: status.as_u16(),
            error: status.canonical_reason().unwrap_or_default().to_owned(),
            message: self.message(),
            path: cut(request.path()).to_owned(),
        })
    }

    fn problem_document(&self, response: &mut actix_web::HttpResponseBuilder) -> HttpResponse {
        let status = self.status();
        let origin = match self {
            Self::Broken(problem) => Some(&problem.origin),
            _ => None,
        };
        let position = origin.and_then(|origin| origin.position);
        response.content_type("application/problem+json").json(ProblemDocument {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.message(),
            file: origin.map(|origin| origin.file.to_string()),
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
        })
    }
}

/// Answers a request without an accepted credential, in the same way for every path and every reason.
fn rejected() -> HttpResponse {
    HttpResponse::Unauthorized()
        .insert_header(("WWW-Authenticate", "Basic realm=\"Realm\""))
        .content_type("application/json")
        .body(REJECTED)
}

/// Answers a client that has sent too many bad credentials, in the same way for every path and every credential.
fn too_many_rejections() -> HttpResponse {
    HttpResponse::TooManyRequests()
        .insert_header(("Retry-After", "1"))
        .content_type("application/json")
        .body(TOO_MANY_REJECTIONS)
}

/// Cuts a path to the length that an error repeats.
fn cut(path: &str) -> &str {
    let end =
        (0..=PATH_SHOWN_BYTES_MAX.min(path.len())).rev().find(|at| path.is_char_boundary(*at));
    &path[..end.unwrap_or(0)]
}

/// The current time in Spring's format: `2026-01-02T03:04:05.678+00:00`.
fn timestamp() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}
