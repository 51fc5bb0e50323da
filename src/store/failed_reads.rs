//! Requests that failed because the source could not be read. Each is reported as a fault and repeated until it
//! succeeds, even if no client repeats it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::Store;
use super::error::AnswerError;
use super::holds::Reader;
use crate::access::Caller;
use crate::faults::FaultKind;
use crate::model::{Label, Query};
use crate::sync::lock;
use crate::tree::TreeError;

/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The name of the default label in messages.
pub(super) const DEFAULT_LABEL: &str = "the default label";

/// An object that a request reads from the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadTarget {
    /// The snapshot of a label.
    Label(Label),
    /// The files of an environment.
    Environment(Query),
    /// A file of an application.
    File(Query, String),
    /// The names of all files of a label.
    Catalog(Label),
}

impl ReadTarget {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Label(_) => FaultKind::SourceUnreadable,
            _ => FaultKind::ContentUnreadable,
        }
    }
}

impl fmt::Display for ReadTarget {
    /// The name of the object in messages. It is also the object of the fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of =
            |label: &Label| label.name().map_or_else(String::new, |name| format!(" of {name}"));
        match self {
            Self::Label(label) => f.write_str(label.name().unwrap_or(DEFAULT_LABEL)),
            Self::Environment(Query { application, profiles, label }) => {
                write!(f, "{application}/{profiles}{}", of(label))
            }
            Self::File(Query { application, profiles, label }, path) => {
                write!(f, "{path} for {application}/{profiles}{}", of(label))
            }
            Self::Catalog(label) => write!(f, "the list of files{}", of(label)),
        }
    }
}

/// The failed reads, by the object of their faults. One task repeats them while there are any.
#[derive(Default)]
pub(super) struct FailedReads(Mutex<HashMap<String, ReadTarget>>);

impl Store {
    /// Begins a fault if a read has failed, and ends it if the read has succeeded.
    pub(super) fn record_read<T>(
        self: &Arc<Self>,
        target: &ReadTarget,
        read: &Result<T, TreeError>,
    ) {
        match read {
            Ok(_) => self.record_success(target),
            Err(error) => self.record_failure(target, &error.to_string()),
        }
    }

    /// Begins a fault if a label could not be loaded, and ends it otherwise. While a remote is unreachable, that remote
    /// has a fault and the label has none.
    pub(super) fn record_load<T>(self: &Arc<Self>, label: &Label, loaded: &Result<T, AnswerError>) {
        let target = ReadTarget::Label(label.clone());
        let is_remote_unreachable = || self.remotes().iter().any(|it| it.failure.is_some());
        match loaded {
            Err(AnswerError::Unavailable(reason)) if !is_remote_unreachable() => {
                self.record_failure(&target, reason);
            }
            _ => self.record_success(&target),
        }
    }

    fn record_success(&self, target: &ReadTarget) {
        if self.faults.is_empty() {
            return;
        }
        let name = target.to_string();
        lock(&self.failed_reads.0).remove(&name);
        self.faults.end(target.kind(), &name);
    }

    fn record_failure(self: &Arc<Self>, target: &ReadTarget, reason: &str) {
        let name = target.to_string();
        if !self.faults.begin(target.kind(), &name, reason) {
            return;
        }
        let mut failed = lock(&self.failed_reads.0);
        let is_first = failed.is_empty();
        failed.insert(name, target.clone());
        if is_first {
            self.runtime.spawn(retry_all(Arc::downgrade(self)));
        }
    }

    async fn retry(self: &Arc<Self>, target: &ReadTarget) {
        let caller = Caller::Operator;
        let outcome = match target {
            ReadTarget::Label(label) => self.read_catalog(label).await.map(drop),
            ReadTarget::Environment(query) => self.answer(&caller, query).await.map(drop),
            ReadTarget::File(query, path) => {
                self.find_file(&caller, &Reader::default(), query, path).await.map(drop)
            }
            ReadTarget::Catalog(label) => self.read_catalog(label).await.map(drop),
        };
        // A label that is gone is not read again.
        if matches!(outcome, Ok(()) | Err(AnswerError::UnknownLabel(_))) {
            self.record_success(target);
        }
    }
}

/// Repeats the failed reads until none is left or the store is dropped.
async fn retry_all(store: Weak<Store>) {
    loop {
        tokio::time::sleep(RETRY_PAUSE).await;
        let Some(store) = store.upgrade() else { return };
        let all: Vec<ReadTarget> = lock(&store.failed_reads.0).values().cloned().collect();
        for target in &all {
            store.retry(target).await;
        }
        if lock(&store.failed_reads.0).is_empty() {
            return;
        }
    }
}
