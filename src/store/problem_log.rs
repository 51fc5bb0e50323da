//! The log entries about unusable files. A problem is logged once, however many environments need the file.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use super::answer::Answer;
use super::publication::ReplacedAnswer;
use crate::model::{Label, Problem};
use crate::sync::lock;

/// The limit on remembered problems of one label. Further ones are not logged.
const PROBLEM_COUNT_MAX: usize = 100;

/// The identity of a problem: the name of the source, and the text of the problem.
type ProblemKey = (Arc<str>, String);

/// The logged problems of one label.
#[derive(Default)]
pub(super) struct ProblemLog(Mutex<HashSet<ProblemKey>>);

impl ProblemLog {
    /// Logs the problems of an answer, unless they are logged already.
    pub(super) fn log_new(&self, label: &Label, answer: &Answer) {
        for (source, _, problem) in answer.problems() {
            let mut logged = lock(&self.0);
            if logged.len() < PROBLEM_COUNT_MAX && logged.insert(key(source, problem)) {
                tracing::warn!(%label, source = &**source, %problem, "a file cannot be used");
            }
        }
    }

    /// Logs the ended and the new problems of replaced answers. A problem that recurs is logged again.
    pub(super) fn log_replaced(&self, label: &Label, replaced: &[ReplacedAnswer]) {
        let before: HashSet<ProblemKey> = replaced.iter().flat_map(|it| keys(&it.before)).collect();
        let after: HashSet<ProblemKey> = replaced.iter().flat_map(|it| keys(&it.after)).collect();
        lock(&self.0).retain(|logged| {
            let has_ended = before.contains(logged) && !after.contains(logged);
            if has_ended {
                let (source, problem) = logged;
                tracing::info!(%label, source = &**source, problem, "a file can be used again");
            }
            !has_ended
        });
        replaced.iter().for_each(|it| self.log_new(label, &it.after));
    }
}

fn keys(answer: &Answer) -> impl Iterator<Item = ProblemKey> {
    answer.problems().map(|(source, _, problem)| key(source, problem))
}

fn key(source: &Arc<str>, problem: &Problem) -> ProblemKey {
    (Arc::clone(source), problem.to_string())
}
