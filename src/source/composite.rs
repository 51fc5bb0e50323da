//! Several sources as one: their members one after the other, the first source winning.
//!
//! Sources with patterns are alternatives: together with those that follow, up to the first without patterns, they
//! make a group of which one answers. Each source keeps its own last good snapshot, so that an outage of one holds
//! back no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use tokio::sync::watch;

use crate::model::{Label, Revision};
use crate::snapshot::{Member, Snapshot};
use crate::source::{BoxFuture, Outage, RemoteStatus, Source, SourceError, SourceProblem};
use crate::sync::lock;

/// For how many labels the parts are remembered.
const LABEL_COUNT_MAX: usize = 1024;
/// How long to wait before a source that lacks a label, or that cannot be read, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// An ordered list of sources.
pub struct Composite {
    name: String,
    sources: Vec<Part>,
    fail_on_error: bool,
    loaded: Mutex<HashMap<Label, Loaded>>,
}

struct Part {
    source: Arc<dyn Source>,
    /// Counts groups; sources of one group are alternatives.
    group: usize,
    /// Whether it may lack a label, for another one of its group may have it.
    is_alternative: bool,
    /// Set from when it could not be read until it can be again.
    outage: watch::Sender<Option<Outage>>,
}

/// What a label was made of the last time.
#[derive(Clone)]
struct Loaded {
    revision: Revision,
    /// One for each source; `None` where it gave nothing.
    parts: Arc<[Option<Arc<Snapshot>>]>,
}

impl Composite {
    /// The first source wins. Unless `fail_on_error`, a source that cannot be read and never could is left out.
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

    /// What one source gives; its last good snapshot while it cannot be read.
    async fn part(
        &self,
        part: &Part,
        label: &Label,
        previous: Option<&Arc<Snapshot>>,
    ) -> Result<Arc<Snapshot>, SourceError> {
        match part.source.load(label, previous).await {
            Ok(snapshot) => {
                part.recovered();
                Ok(Arc::new(snapshot))
            }
            Err(error @ SourceError::UnknownLabel(_)) => Err(error),
            Err(error) => {
                part.failed(&error);
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

    fn remembered(&self, label: &Label) -> Option<Loaded> {
        lock(&self.loaded).get(label).cloned()
    }

    fn remember(&self, label: &Label, loaded: Loaded) {
        let mut remembered = lock(&self.loaded);
        if remembered.len() >= LABEL_COUNT_MAX && !remembered.contains_key(label) {
            // Whoever waits for a forgotten label is told to load it again.
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
        let of = |part: &Part| part.outage.borrow().clone().or_else(|| part.source.outage());
        self.sources.iter().filter_map(of).min_by_key(|outage| outage.since)
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        self.sources.iter().flat_map(|part| part.source.remotes()).collect()
    }

    fn problems(&self) -> Vec<SourceProblem> {
        self.sources.iter().flat_map(|part| part.source.problems()).collect()
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
                Loaded { revision: snapshot.revision.clone(), parts: parts.into() },
            );
            Ok(snapshot)
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a Revision,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let Some(loaded) = self.remembered(label).filter(|loaded| loaded.revision == *seen)
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

/// Returns when a source has something else to give than it gave, or nothing any more.
async fn part_changed(part: &Part, label: &Label, snapshot: Option<&Arc<Snapshot>>) {
    let nothing = Revision::new("");
    let seen = snapshot.map_or(&nothing, |snapshot| &snapshot.revision);
    loop {
        match part.moved(label, seen, snapshot).await {
            Ok(true) => return part.recovered(),
            Ok(false) => continue,
            Err(SourceError::UnknownLabel(_)) => {
                part.recovered();
                if snapshot.is_some() {
                    return;
                }
            }
            Err(error) => part.failed(&error),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// An outage says more than a missing label: the label may be behind it.
fn worse(before: Option<SourceError>, error: SourceError) -> Option<SourceError> {
    match before {
        Some(before @ SourceError::Unavailable { .. }) => Some(before),
        _ => Some(error),
    }
}

impl Part {
    /// Whether the source has moved past `seen`, which is waited for unless the source is away: then it is asked, since it
    /// may be back with nothing new.
    async fn moved(
        &self,
        label: &Label,
        seen: &Revision,
        snapshot: Option<&Arc<Snapshot>>,
    ) -> Result<bool, SourceError> {
        let mut outage = self.outage.subscribe();
        if outage.borrow_and_update().is_none() {
            return tokio::select! {
                changed = self.source.changed(label, seen) => changed.map(|()| true),
                _ = outage.changed() => Ok(false),
            };
        }
        let loaded = self.source.load(label, snapshot).await?;
        self.recovered();
        Ok(loaded.revision != *seen)
    }

    fn failed(&self, error: &SourceError) {
        let is_news = self.outage.send_if_modified(|outage| {
            let is_news = outage.is_none();
            outage.get_or_insert_with(|| Outage {
                since: Instant::now(),
                message: error.to_string(),
            });
            is_news
        });
        if is_news {
            tracing::warn!(source = self.source.name(), error = %error, "source cannot be read, its last good revision is served");
        }
    }

    fn recovered(&self) {
        if self.outage.send_if_modified(|outage| outage.take().is_some()) {
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
                outage: watch::Sender::new(None),
            };
            is_open = has_patterns;
            group += usize::from(!has_patterns);
            part
        })
        .collect()
}

/// All members with their groups counted anew. Of a list of labels, each one's alternatives make a group.
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
    Snapshot { revision: Revision::new(revisions.join(",")), members }
}
