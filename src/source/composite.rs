//! Several sources as one. The members of all sources are joined in order, and the first source wins.
//!
//! Sources with patterns are alternatives. A source with patterns and the following sources, up to the first one without
//! patterns, form a group of which one answers. Each source keeps its own last good snapshot, so that an outage of one
//! source delays no other.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::sync::watch;

use crate::model::{Label, LabelPosition, Revision};
use crate::outage::{Connectivity, Outage};
use crate::snapshot::{Member, Snapshot};
use crate::source::{BoxFuture, RemoteStatus, Source, SourceError, SourceProblem};
use crate::sync::lock;

/// The most labels whose parts are kept in memory.
const LABEL_COUNT_MAX: usize = 1024;
/// The interval of attempts while a source lacks a label or cannot be read.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// An ordered list of sources.
pub struct Composite {
    name: String,
    sources: Vec<Part>,
    fail_on_error: bool,
    loaded: Mutex<HashMap<Label, LoadedParts>>,
}

struct Part {
    source: Arc<dyn Source>,
    /// The number of its group. Sources of one group are alternatives.
    group: usize,
    /// Set if it may lack a label, because another source of its group may have it.
    is_alternative: bool,
    connectivity: watch::Sender<Connectivity>,
}

/// The parts of the last snapshot of a label.
#[derive(Clone)]
struct LoadedParts {
    position: LabelPosition,
    /// One for each source. `None` for a source without a snapshot.
    parts: Arc<[Option<Arc<Snapshot>>]>,
}

impl Composite {
    /// Joins sources, of which the first wins. Unless `fail_on_error` is set, a source that could never be read is left out.
    pub fn new(
        name: impl Into<String>,
        sources: Vec<Arc<dyn Source>>,
        fail_on_error: bool,
    ) -> Self {
        Self {
            name: name.into(),
            sources: grouped(sources),
            fail_on_error,
            loaded: Mutex::default(),
        }
    }

    /// The snapshot of one source, or its last good one while it cannot be read.
    async fn part(
        &self,
        part: &Part,
        label: &Label,
        previous: Option<&Arc<Snapshot>>,
    ) -> Result<Arc<Snapshot>, SourceError> {
        match part.source.load(label, previous).await {
            Ok(snapshot) => {
                part.record_success();
                Ok(Arc::new(snapshot))
            }
            Err(error @ SourceError::UnknownLabel(_)) => Err(error),
            Err(error) => {
                part.record_failure(&error);
                previous.map(Arc::clone).ok_or(error)
            }
        }
    }

    fn may_be_left_out(&self, part: &Part, error: &SourceError) -> bool {
        match error {
            SourceError::UnknownLabel(_) => part.is_alternative || !self.fail_on_error,
            SourceError::Unavailable { .. } => !self.fail_on_error,
        }
    }

    fn remembered(&self, label: &Label) -> Option<LoadedParts> {
        lock(&self.loaded).get(label).cloned()
    }

    fn remember(&self, label: &Label, loaded: LoadedParts) {
        let mut remembered = lock(&self.loaded);
        if remembered.len() >= LABEL_COUNT_MAX && !remembered.contains_key(label) {
            // A task that waits for a forgotten label loads it again.
            remembered.clear();
        }
        remembered.insert(label.clone(), loaded);
    }
}

impl Source for Composite {
    fn name(&self) -> &str {
        &self.name
    }

    fn outage(&self) -> Option<Outage> {
        let outages = self.sources.iter().filter_map(Part::outage);
        outages.min_by_key(|outage| outage.since)
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        self.sources.iter().flat_map(|part| part.source.remotes()).collect()
    }

    fn problems(&self) -> Vec<SourceProblem> {
        self.sources.iter().flat_map(|part| part.source.problems()).collect()
    }

    fn label_names(&self) -> BoxFuture<'_, Result<Vec<String>, SourceError>> {
        Box::pin(async move {
            let mut names = BTreeSet::new();
            for part in &self.sources {
                names.extend(part.source.label_names().await?);
            }
            Ok(names.into_iter().collect())
        })
    }

    fn look_again(&self) {
        self.sources.iter().for_each(|part| part.source.look_again());
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        _previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            let before = self.remembered(label);
            let loading = join_all(self.sources.iter().enumerate().map(|(at, part)| {
                let previous = before.as_ref().and_then(|before| before.parts[at].as_ref());
                self.part(part, label, previous)
            }));
            let mut parts = Vec::with_capacity(self.sources.len());
            let mut left_out = None;
            for (part, result) in self.sources.iter().zip(loading.await) {
                match result {
                    Ok(snapshot) => parts.push(Some(snapshot)),
                    Err(error) if self.may_be_left_out(part, &error) => {
                        parts.push(None);
                        left_out = worse(left_out, error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if parts.iter().all(Option::is_none) {
                return Err(left_out.unwrap_or_else(|| SourceError::UnknownLabel(label.clone())));
            }
            let snapshot = joined(&self.sources, &parts);
            self.remember(
                label,
                LoadedParts { position: snapshot.position(), parts: parts.into() },
            );
            Ok(snapshot)
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a LabelPosition,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let Some(loaded) = self.remembered(label).filter(|loaded| loaded.position == *seen)
            else {
                return Ok(());
            };
            let parts = self.sources.iter().zip(loaded.parts.iter());
            select_all(
                parts
                    .map(|(part, snapshot)| Box::pin(part_changed(part, label, snapshot.as_ref()))),
            )
            .await;
            Ok(())
        })
    }
}

/// Returns when a source has another snapshot than the given one, or no longer has the label.
async fn part_changed(part: &Part, label: &Label, snapshot: Option<&Arc<Snapshot>>) {
    let nothing = || LabelPosition::from(&Revision::new(""));
    let seen = snapshot.map_or_else(nothing, |snapshot| snapshot.position());
    loop {
        match part.moved(label, &seen, snapshot).await {
            Ok(true) => return part.record_success(),
            Ok(false) => continue,
            Err(SourceError::UnknownLabel(_)) => {
                part.record_success();
                if snapshot.is_some() {
                    return;
                }
            }
            Err(error) => part.record_failure(&error),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Prefers an outage to a missing label, because the unreachable source may have the label.
fn worse(before: Option<SourceError>, error: SourceError) -> Option<SourceError> {
    match before {
        Some(before @ SourceError::Unavailable { .. }) => Some(before),
        _ => Some(error),
    }
}

impl Part {
    /// The outage of the part as a whole, or what the source itself reports.
    fn outage(&self) -> Option<Outage> {
        self.connectivity.borrow().outage().cloned().or_else(|| self.source.outage())
    }

    /// Waits until the source has moved past `seen`. During an outage, asks the source at once instead, because it may be
    /// reachable again without a change.
    async fn moved(
        &self,
        label: &Label,
        seen: &LabelPosition,
        snapshot: Option<&Arc<Snapshot>>,
    ) -> Result<bool, SourceError> {
        let mut connectivity = self.connectivity.subscribe();
        if connectivity.borrow_and_update().outage().is_none() {
            return tokio::select! {
                changed = self.source.changed(label, seen) => changed.map(|()| true),
                _ = connectivity.changed() => Ok(false),
            };
        }
        let loaded = self.source.load(label, snapshot).await?;
        self.record_success();
        Ok(loaded.position() != *seen)
    }

    fn record_failure(&self, error: &SourceError) {
        let begins =
            |connectivity: &mut Connectivity| connectivity.record_failure(error.to_string());
        if self.connectivity.send_if_modified(begins) {
            tracing::warn!(source = self.source.name(), error = %error, "source cannot be read, its last good revision is served");
        }
    }

    fn record_success(&self) {
        if self.connectivity.send_if_modified(|it| it.record_success().is_some()) {
            tracing::info!(source = self.source.name(), "source can be read again");
        }
    }
}

fn grouped(sources: Vec<Arc<dyn Source>>) -> Vec<Part> {
    let mut group = 0;
    let mut is_open = false;
    sources
        .into_iter()
        .map(|source| {
            let has_patterns = !source.patterns().is_empty();
            let part = Part {
                source,
                group,
                is_alternative: is_open || has_patterns,
                connectivity: watch::Sender::default(),
            };
            is_open = has_patterns;
            group += usize::from(!has_patterns);
            part
        })
        .collect()
}

/// Joins the members and numbers their groups. In a list of labels, the alternatives of each label form a group.
fn joined(sources: &[Part], parts: &[Option<Arc<Snapshot>>]) -> Snapshot {
    let mut members: Vec<((usize, usize), Member)> = Vec::new();
    let mut revisions = Vec::new();
    for (part, snapshot) in sources.iter().zip(parts) {
        let Some(snapshot) = snapshot else { continue };
        revisions.push(snapshot.revision.as_str());
        for member in &snapshot.members {
            members.push(((part.group, member.group), member.clone()));
        }
    }
    members.sort_by_key(|(key, _)| *key);
    let mut group = 0;
    let mut before = None;
    let members = members
        .into_iter()
        .map(|(key, mut member)| {
            group += usize::from(before.is_some_and(|before| before != key));
            before = Some(key);
            member.group = group;
            member
        })
        .collect();
    Snapshot::at(Revision::new(revisions.join(",")), members)
}
