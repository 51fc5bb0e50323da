//! Labels that the remote does not have, cached for a while, so that repeated requests for one cause no further fetches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::Label;
use crate::source::git::copy::may_be_reference;
use crate::source::labels;
use crate::sync::lock;

/// The most cached labels.
const LABEL_COUNT_MAX: usize = 1_000;
/// The lifetime of a cached label.
const REMEMBERED: Duration = Duration::from_secs(30);
/// The most requests that wait for a fetch at the same time. Further requests for an unknown label get 404 at once.
const WAITING_COUNT_MAX: usize = 64;

/// The labels that were missing after a fetch.
pub(super) struct UnknownLabels {
    labels: Mutex<HashMap<Label, Instant>>,
    waiting: Arc<Semaphore>,
}

impl Default for UnknownLabels {
    fn default() -> Self {
        Self { labels: Mutex::default(), waiting: Arc::new(Semaphore::new(WAITING_COUNT_MAX)) }
    }
}

impl UnknownLabels {
    /// A permit to wait for a fetch, if a fetch could bring this label.
    pub(super) fn may_wait(&self, label: &Label) -> Option<OwnedSemaphorePermit> {
        let names = labels::names(label).ok()?;
        let may_be = |name: &Option<&str>| {
            name.is_none_or(|name| labels::is_name(name) && may_be_reference(name))
        };
        let is_known = lock(&self.labels).get(label).is_some_and(|at| at.elapsed() < REMEMBERED);
        if is_known || !names.iter().all(may_be) {
            return None;
        }
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    /// Records a label that was missing after a fetch.
    pub(super) fn remember(&self, label: &Label) {
        let mut labels = lock(&self.labels);
        if labels.len() >= LABEL_COUNT_MAX {
            labels.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        if labels.len() < LABEL_COUNT_MAX {
            labels.insert(label.clone(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Label {
        Label::Named(name.into())
    }

    #[test]
    fn only_what_could_be_a_label_is_waited_for_and_only_once_in_a_while() {
        let unknown = UnknownLabels::default();
        for name in ["-x", "main~1", "a..b", "@{-1}", ":/text", "main.lock", "refs/heads/main", ","]
        {
            assert!(unknown.may_wait(&named(name)).is_none(), "{name}");
        }
        assert!(unknown.may_wait(&named("feature/x")).is_some());
        unknown.remember(&named("feature/x"));
        assert!(unknown.may_wait(&named("feature/x")).is_none());
        assert!(unknown.may_wait(&named("feature/y")).is_some());
    }

    #[test]
    fn those_who_wait_and_what_is_remembered_are_bounded() {
        let unknown = UnknownLabels::default();
        let waiting: Vec<_> = (0..WAITING_COUNT_MAX)
            .map(|number| unknown.may_wait(&named(&number.to_string())).expect("a place"))
            .collect();
        assert!(unknown.may_wait(&named("one-more")).is_none());
        drop(waiting);
        for number in 0..3 * LABEL_COUNT_MAX {
            unknown.remember(&named(&number.to_string()));
        }
        assert_eq!(lock(&unknown.labels).len(), LABEL_COUNT_MAX);
    }
}
