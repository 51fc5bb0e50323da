//! What is wrong with a file is told in the log once, however many environments need it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use super::answer::Answer;
use crate::model::{Label, Problem};
use crate::sync::lock;

/// How many problems of one label are remembered to have been told; beyond it no more are.
const PROBLEM_COUNT_MAX: usize = 100;

/// The problems of one label that were told.
#[derive(Default)]
pub(super) struct Told(Mutex<HashSet<(Arc<str>, String)>>);

impl Told {
    /// Of an answer that was not asked for before.
    pub(super) fn asked(&self, label: &Label, answer: &Answer) {
        for (source, _, problem) in answer.problems() {
            self.tell(label, source, problem);
        }
    }

    /// Of answers that took the place of others. What is right again is told again when it is wrong again.
    pub(super) fn moved(&self, label: &Label, made: &[(Arc<Answer>, Arc<Answer>)]) {
        let keys = |answer: &Answer| -> Vec<_> {
            answer.problems().map(|(source, _, problem)| key(source, problem)).collect()
        };
        let still: HashSet<_> = made.iter().flat_map(|(_, now)| keys(now)).collect();
        let over: HashSet<_> = made.iter().flat_map(|(before, _)| keys(before)).collect();
        lock(&self.0).retain(|told| still.contains(told) || !over.contains(told));
        made.iter().for_each(|(_, now)| self.asked(label, now));
    }

    fn tell(&self, label: &Label, source: &Arc<str>, problem: &Problem) {
        let mut told = lock(&self.0);
        if told.len() < PROBLEM_COUNT_MAX && told.insert(key(source, problem)) {
            tracing::warn!(%label, source = &**source, %problem, "a file cannot be used");
        }
    }
}

fn key(source: &Arc<str>, problem: &Problem) -> (Arc<str>, String) {
    (Arc::clone(source), problem.to_string())
}
