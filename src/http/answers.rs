//! Answers of the store in a response: the content or the error that replaces it, and the headers with the revision.

use actix_web::{HttpRequest, HttpResponseBuilder};
use headwater_wire::headers;

use super::Http;
use super::error::HttpError;
use crate::access::Caller;
use crate::model::{Epochs, Query, Revision};
use crate::store::{AnswerAt, Content, ServedEnvironment};

/// Returns the content of an answer in the caller's variant, or the error that explains its absence.
pub(super) fn served(current: &AnswerAt) -> Result<&ServedEnvironment, HttpError> {
    match &current.answer.content {
        Content::Environment(_) => current.served().ok_or(HttpError::Empty),
        Content::Broken(problem) => Err(HttpError::Broken(problem.clone())),
        Content::UnknownLabel => Err(HttpError::UnknownLabel),
        Content::Empty => Err(HttpError::Empty),
    }
}

/// Checks that an answer has content for a caller, and records an opening that the policy only tolerates.
pub(super) fn check(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    current: &AnswerAt,
) -> Result<(), HttpError> {
    served(current)?;
    http.record_opening(request, caller, query, &current.answer);
    Ok(())
}

/// Adds the headers of [`add_revision`] and, for an answer that is held back, the header with the newest revision.
pub(super) fn add_revisions(response: &mut HttpResponseBuilder, current: &AnswerAt) {
    add_revision(response, &current.revision, current.epochs.as_ref());
    if current.answer.held_revisions().next().is_some() {
        response.insert_header((headers::HELD_AT, current.tip.as_str()));
    }
}

/// Adds the header with the served revision and, if the label was rewound, the header with its epochs.
pub(super) fn add_revision(
    response: &mut HttpResponseBuilder,
    revision: &Revision,
    epochs: Option<&Epochs>,
) {
    response.insert_header((headers::REVISION, revision.as_str()));
    if let Some(epochs) = epochs {
        response.insert_header((headers::EPOCH, epochs.to_string()));
    }
}
