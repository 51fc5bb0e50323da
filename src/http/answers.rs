//! Answers of the store in a response: the content or the error that replaces it, and the headers with the revision.

use actix_web::{HttpRequest, HttpResponseBuilder};
use headwater_wire::headers;

use super::error::HttpError;
use super::{Http, reader};
use crate::access::Caller;
use crate::model::{Epochs, Query, Revision};
use crate::store::{AnswerAt, Content, ServedEnvironment, ServedFile, Side};

/// Returns the content of an answer in the caller's variant, or the error that explains its absence.
pub(super) fn served(current: &AnswerAt) -> Result<&ServedEnvironment, HttpError> {
    match &*current.answer.content {
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

/// Adds the headers of [`add_revision`] and, for an answer that is held back, the header with the newest revision. The
/// answer of an application that a rollout holds has the id of the rollout.
pub(super) fn add_revisions(response: &mut HttpResponseBuilder, current: &AnswerAt) {
    add_revision(response, &current.revision, current.epochs.as_ref());
    if current.is_held_back() {
        response.insert_header((headers::HELD_AT, current.tip.as_str()));
    }
    if let Some(rollout) = &current.rollout {
        response.insert_header((reader::ROLLOUT, &*rollout.id));
    }
}

/// Adds the headers of [`add_revisions`] for a file. A problem of the environment does not hold back its files.
pub(super) fn add_file_revisions(response: &mut HttpResponseBuilder, file: &ServedFile) {
    add_revision(response, &file.revision, file.epochs.as_ref());
    if let Some(rollout) = &file.rollout {
        response.insert_header((reader::ROLLOUT, &*rollout.id));
        if rollout.side == Side::Stable {
            response.insert_header((headers::HELD_AT, file.tip.as_str()));
        }
    }
}

/// Adds the header with the served revision and, if the publications have epochs, the header with them.
fn add_revision(response: &mut HttpResponseBuilder, revision: &Revision, epochs: Option<&Epochs>) {
    response.insert_header((headers::REVISION, revision.as_str()));
    if let Some(epochs) = epochs {
        response.insert_header((headers::EPOCH, epochs.to_string()));
    }
}
