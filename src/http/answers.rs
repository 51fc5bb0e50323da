//! Answers of the store in a response: the content or the error that replaces it, and the headers with the revision.

use actix_web::HttpResponseBuilder;
use headwater_wire::headers;

use super::error::HttpError;
use crate::model::{Epochs, Revision};
use crate::store::{AnswerAt, Content, ServedEnvironment};

/// Returns the content of an answer, or the error that explains its absence.
pub(super) fn served(current: &AnswerAt) -> Result<&ServedEnvironment, HttpError> {
    match &current.answer.content {
        Content::Environment(served) => Ok(served),
        Content::Broken(problem) => Err(HttpError::Broken(problem.clone())),
        Content::UnknownLabel => Err(HttpError::UnknownLabel),
        Content::Empty => Err(HttpError::Empty),
    }
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
