//! The reader of a report. A pusher that may not read everything receives the rest as counts.

use std::fmt::Debug;

use crate::model::{Problem, Query};

/// The message of a problem in an environment that the reader may not read.
const BREAKS_OTHERS: &str =
    "breaks an environment that you may not read: ask the operator which one";

/// The reader of a report who may not read everything.
pub trait Audience: Debug + Send + Sync {
    /// Returns true if the reader may read an environment.
    fn reads_environment(&self, query: &Query) -> bool;

    /// Returns true if the reader may read or push a file.
    fn reads_file(&self, path: &str) -> bool;
}

/// Reduces a problem to what a reader may know of it. `None` for a problem at a place that the reader may not read.
/// `query` is the environment in which the problem was found.
pub(super) fn reduced(
    audience: Option<&dyn Audience>,
    problem: Problem,
    query: Option<&Query>,
) -> Option<Problem> {
    let Some(audience) = audience else { return Some(problem) };
    if !audience.reads_file(&problem.origin.file) {
        return None;
    }
    let is_whole = query.is_none_or(|query| audience.reads_environment(query));
    Some(if is_whole { problem } else { Problem { message: BREAKS_OTHERS.to_owned(), ..problem } })
}
