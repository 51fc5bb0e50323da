//! Live labels and their answers. All reads and watches go through this module.
//!
//! The first request for a label loads it. The label is then live: it has a published snapshot and keeps answers, and
//! one task follows it (`refresh`). The module depends neither on HTTP nor on the kind of the source.
//!
//! A rollout holds applications at an earlier revision of a label (`holds`). Such an application has two sides, and the
//! instance that reads decides which one it receives. Functions without a reader use the tip.

mod admission;
mod answer;
mod answer_cell;
mod answer_cells;
mod answer_handle;
mod areas_in_force;
mod build;
mod cached_answer;
mod cell_answers;
mod counters;
mod error;
mod event_log;
mod eviction;
mod failed_reads;
mod first_answer;
mod history;
mod holds;
mod idle_plans;
mod labels;
mod ledger;
mod live_label;
mod loading;
mod move_event;
mod payload;
mod preview;
mod problem_log;
mod publication;
mod publish;
mod published_snapshot;
mod recording;
mod refresh;
mod refresh_hint;
mod reopening;
mod resume;
mod rollout_notice;
mod sequence_lock;
mod served_file;
mod sides;
mod status;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::access::{self, Caller, Identity, Operation, Policy, Resource};
use crate::audit::Audit;
use crate::catalog::{self, Catalog};
use crate::check::EnvironmentInUse;
use crate::faults::{Fault, Faults};
use crate::model::{Digest, Label, Query, Revision};
use crate::reveal::Variant;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::tree::TreeError;
use admission::WorkAdmission;
use answer_cell::AnswerCell;
use build::AnswerBuilder;
use eviction::Eviction;
use failed_reads::{FailedReads, ReadTarget};
use labels::LiveLabels;
use live_label::LiveLabel;
use refresh_hint::RefreshHints;

pub use crate::source::{RemoteStatus, Severity, SourceProblem};
pub use answer::{Answer, Body, Content, EnvironmentVariants, HeldRevision, ServedEnvironment};
pub use answer_handle::{
    AnswerAt, AnswerHandle, AnswerSides, LabelGoneError, RolloutAt, WatcherGuard,
};
pub use build::AnswerSettings;
pub use cached_answer::CachedAnswer;
pub use counters::Counters;
pub use error::AnswerError;
pub use event_log::{EventContent, EventLog, EventSubscription, LoggedEvent, NextEvent};
pub use holds::{Reader, Side, SideChoice};
pub use move_event::{Actor, ChangedEnvironment, CommitDetails, MoveEvent};
pub use preview::Preview;
pub use refresh::PushedReference;
pub use rollout_notice::RolloutNotice;
pub use sequence_lock::SequenceStamp;
pub use served_file::{FileLookup, ServedFile, Template};
pub use sides::SideDigests;
pub use status::{EnvironmentNotice, EnvironmentProblem, LabelStatus, WithheldEnvironment};

/// Live labels and their answers.
pub struct Store {
    /// The runtime of the tasks that follow labels and of blocking work, independent of the thread that a request
    /// arrives on.
    runtime: Handle,
    source: Arc<dyn Source>,
    builder: Arc<AnswerBuilder>,
    eviction: Arc<Eviction>,
    policy: Policy,
    labels: Arc<LiveLabels>,
    admission: WorkAdmission,
    /// The latest moves of all labels and events of rollouts.
    pub events: Arc<EventLog>,
    hints: Arc<RefreshHints>,
    /// Notified after a label was loaded, has moved or is gone.
    status_changed: watch::Sender<()>,
    pub counters: Counters,
    /// The present faults, reported by this store and by other modules.
    pub faults: Arc<Faults>,
    failed_reads: FailedReads,
    /// The audit trail, if there is one.
    audit: OnceLock<Arc<Audit>>,
}

impl Store {
    /// Creates a store over a source. Loads no label yet.
    pub fn new(
        source: Arc<dyn Source>,
        settings: AnswerSettings,
        policy: Policy,
        runtime: Handle,
    ) -> Arc<Self> {
        let answer_bytes_max = eviction::ANSWER_BYTES_MAX;
        Self::with_answer_bytes_max(source, settings, policy, runtime, answer_bytes_max)
    }

    /// Creates a store with a limit on the bytes of all answers. Beyond it, idle answers are forgotten, the longest
    /// idle first.
    pub fn with_answer_bytes_max(
        source: Arc<dyn Source>,
        settings: AnswerSettings,
        policy: Policy,
        runtime: Handle,
        answer_bytes_max: usize,
    ) -> Arc<Self> {
        let builder = Arc::new(AnswerBuilder::new(settings));
        let labels = Arc::<LiveLabels>::default();
        Arc::new(Self {
            eviction: Eviction::new(&labels, &builder, &runtime, answer_bytes_max),
            builder,
            policy,
            labels,
            admission: WorkAdmission::new(runtime.clone()),
            events: EventLog::new(&runtime),
            hints: RefreshHints::new(Arc::clone(&source), runtime.clone()),
            status_changed: watch::Sender::new(()),
            counters: Counters::default(),
            faults: Arc::default(),
            failed_reads: FailedReads::default(),
            audit: OnceLock::new(),
            runtime,
            source,
        })
    }

    /// The stable name of the source.
    pub fn source_name(&self) -> &str {
        self.source.name()
    }

    /// The state of the remotes that the source copies from.
    pub fn remotes(&self) -> Vec<RemoteStatus> {
        self.source.remotes()
    }

    /// Takes a hint that the source may have changed, and lets the source check now. Hints in quick succession count as
    /// one.
    pub fn hint_refresh(&self) {
        self.hints.send();
    }

    /// Returns true if the policy permits the operation to the caller.
    pub fn may(&self, caller: &Caller, action: Operation, target: Resource<'_>) -> bool {
        access::may(self.policy, caller, action, target)
    }

    /// Returns true if the server can open values. Otherwise every answer has one variant.
    pub fn opens_values(&self) -> bool {
        self.builder.opens_values()
    }

    /// The variant of an environment that a caller receives.
    pub fn variant(&self, caller: &Caller, query: &Query) -> Variant {
        let target = Resource::Environment(query);
        if !self.opens_values() || self.may(caller, Operation::OpenEnvironment, target) {
            Variant::Opened
        } else {
            Variant::Sealed
        }
    }

    /// Returns a handle to the answer to a query, in the variant of the caller. A kept answer is available without
    /// waiting. Otherwise the label is loaded and its files are read.
    ///
    /// # Errors
    /// See [`AnswerError`]. Content that cannot be used is part of the answer and not an error.
    pub async fn answer(
        self: &Arc<Self>,
        caller: &Caller,
        query: &Query,
    ) -> Result<AnswerHandle, AnswerError> {
        let live = self.authorized_label(caller, Operation::ReadEnvironment, query).await?;
        let cell = match live.cell(query) {
            Some(cell) => cell,
            None => self.resolve(&live, query).await?,
        };
        // Texts that were rendered after an answer was made count as well.
        self.eviction.check_bytes();
        Ok(AnswerHandle::new(live, cell, self.variant(caller, query)))
    }

    /// Returns a handle for repeated reads of a kept answer. None if the label is not live or the answer is not kept.
    /// Unlike [`Store::answer`], this loads nothing, does not wait and does not authorize the caller.
    pub fn cached_answer(&self, query: &Query) -> Option<CachedAnswer> {
        let live = self.labels.get(&query.label)?;
        let cell = live.cell(query)?;
        Some(CachedAnswer::new(&live, &cell))
    }

    async fn resolve(
        self: &Arc<Self>,
        live: &Arc<LiveLabel>,
        query: &Query,
    ) -> Result<Arc<AnswerCell>, AnswerError> {
        let (live, query, store) = (Arc::clone(live), query.clone(), Arc::clone(self));
        self.counters.resolved_count.fetch_add(1, Ordering::Relaxed);
        let work = move || {
            let cell = live.get_or_make(&query, &store.builder);
            store.record_read(&ReadTarget::Environment(query), &cell);
            let cell = cell?;
            store.eviction.make_room();
            Ok(cell)
        };
        self.admission.run(work).await
    }

    /// The bytes of all answers. Answers that are not kept but held by a request or a watcher are included. Bytes that
    /// answers share with the tree of their label are not counted.
    pub fn answer_bytes(&self) -> usize {
        self.builder.ledger.bytes()
    }

    /// As [`Store::read_catalog`], of the files that an identity may list.
    ///
    /// # Errors
    /// As for [`Store::answer`].
    pub async fn read_visible_catalog(
        self: &Arc<Self>,
        label: &Label,
        identity: &Arc<Identity>,
    ) -> Result<(Catalog, Revision), AnswerError> {
        let live = self.live_label(label).await?;
        let (store, identity) = (Arc::clone(self), Arc::clone(identity));
        let work = move || {
            let snapshot = Arc::clone(&live.published.load().snapshot);
            let is_visible = |path: &str| identity.may_list(&live.label, path);
            let catalog = catalog::visible_catalog(&snapshot, &is_visible);
            store.record_read(&ReadTarget::Catalog(live.label.clone()), &catalog);
            Ok((catalog?, snapshot.revision.clone()))
        };
        self.admission.run(work).await
    }

    /// The known applications and profiles of a label. A name that a client only requested is not known.
    ///
    /// # Errors
    /// As for [`Store::answer`].
    pub async fn read_catalog(
        self: &Arc<Self>,
        label: &Label,
    ) -> Result<(Catalog, Revision), AnswerError> {
        let live = self.live_label(label).await?;
        let store = Arc::clone(self);
        let work = move || {
            let published = live.published.load_full();
            let catalog = live.read_catalog(&published);
            store.record_read(&ReadTarget::Catalog(live.label.clone()), &catalog);
            Ok((catalog?, published.snapshot.revision.clone()))
        };
        self.admission.run(work).await
    }

    /// The digests of the newest content of an environment, one for each variant. Empty if no answer is kept, if the
    /// content is no environment, or while a problem holds it back.
    pub fn current_digests(&self, query: &Query) -> Vec<Digest> {
        let live = self.labels.get(&query.label);
        let Some(cell) = live.and_then(|live| live.cell(query)) else { return Vec::new() };
        let answer = Arc::clone(cell.answers.borrow().newest());
        if answer.held_revisions().next().is_some() {
            return Vec::new();
        }
        let variants = [Variant::Sealed, Variant::Opened];
        let served = variants.into_iter().filter_map(|variant| answer.served(variant));
        served.map(|served| served.digest).collect()
    }

    /// The snapshot that a label serves now. None if the label is not live.
    pub fn current_snapshot(&self, label: &Label) -> Option<Arc<Snapshot>> {
        let live = self.labels.get(label)?;
        Some(Arc::clone(&live.published.load().snapshot))
    }

    /// Returns the requested environments of a label that a move to a snapshot may change, each with the number of its
    /// watchers. Empty if the label is not live. Blocking.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn find_affected(
        &self,
        label: &Label,
        next: &Snapshot,
    ) -> Result<Vec<EnvironmentInUse>, TreeError> {
        let live = self.labels.get(label);
        live.map_or_else(|| Ok(Vec::new()), |live| live.find_affected(next))
    }

    /// Returns true if a label serves a revision, or if the source has the revision in the label's history. None if the
    /// label is not live or the source has no history. Blocking.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn has_served(&self, label: &Label, revision: &str) -> Result<Option<bool>, TreeError> {
        let snapshot = self.current_snapshot(label);
        snapshot.map_or(Ok(None), |snapshot| history::has_served(&snapshot, revision))
    }

    /// A receiver that changes whenever [`Store::label_statuses`] has other labels or revisions to report.
    pub fn status_changed(&self) -> watch::Receiver<()> {
        self.status_changed.subscribe()
    }

    /// The state of every live label.
    pub fn label_statuses(&self) -> Vec<LabelStatus> {
        status::label_statuses(&self.labels.all(), self.source.outage().as_ref())
    }

    /// The requested environments whose newest revision cannot be served.
    pub fn problems(&self) -> Vec<EnvironmentProblem> {
        status::environment_problems(&self.labels.all())
    }

    /// The requested environments whose content at the tip is withheld after a rollback.
    pub fn withheld(&self) -> Vec<WithheldEnvironment> {
        status::withheld_environments(&self.labels.all())
    }

    /// The problems of requested environments that are served all the same.
    pub fn notices(&self) -> Vec<EnvironmentNotice> {
        status::environment_notices(&self.labels.all())
    }

    /// The problems of the sources themselves.
    pub fn source_problems(&self) -> Vec<SourceProblem> {
        self.source.problems()
    }

    /// The plans of rollouts at the default label in sources for whose name `has_rollouts` returns false.
    pub fn idle_plans(&self, has_rollouts: &dyn Fn(&str) -> bool) -> Vec<SourceProblem> {
        let snapshot = self.current_snapshot(&Label::Default);
        snapshot.map(|own| idle_plans::idle_plans(&own, has_rollouts)).unwrap_or_default()
    }

    /// All present faults: of the sources, of their content, and the faults that other modules report. Reads memory
    /// only.
    pub fn known_faults(&self) -> Vec<Fault> {
        let (remotes, statuses) = (self.remotes(), self.label_statuses());
        let mut faults = status::source_faults(&remotes, &statuses, self.source_problems());
        faults.extend(self.faults.list());
        faults
    }

    /// The number of files that the source has parsed since the server started. Only live labels contribute to it.
    pub fn parsed_count(&self) -> u64 {
        status::parsed_count(&self.labels.all())
    }
}
