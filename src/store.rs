//! Live labels and their answers: the one door through which everything is read and watched.
//!
//! A label is loaded when it is first asked for and followed from then on by one task, in `refresh`. Nothing here knows
//! HTTP, and nothing knows what kind of source there is.

mod answer;
mod build;
mod cohort;
mod labels;
mod live;
mod look;
mod moves;
mod publish;
mod reader;
mod refresh;
mod told;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::access::{self, Action, Caller, Policy, Target};
use crate::catalog::{self, Catalog};
use crate::check::InUse;
use crate::model::{ContentId, Environment, Label, Problem, Query, Revision};
use crate::resolve;
use crate::snapshot::Snapshot;
use crate::source::{Source, SourceError};
use crate::sync::lock;
use crate::tree::TreeError;

pub use crate::source::{RemoteStatus, SourceProblem};
pub use answer::{Answer, Content, Held, Served};
pub use build::{Additions, LAST_GOOD_DEPTH_MAX};
use cohort::Cohort;
pub use labels::LABEL_COUNT_MAX;
use labels::Labels;
use live::{Live, Slot, View};
use look::Looking;
use moves::Noted;
pub use moves::{After, Changed, Listening, Made, Moved, Moves};
pub use publish::Actor;
pub use reader::{Door, Gone, Moment, Reader, Reading, Watched};

/// The most answers that are kept, of all labels together; beyond it those nobody asks for are forgotten.
pub const ANSWER_COUNT_MAX: usize = 20_000;
/// The most paths that the answers of all labels have looked for, all together: a list of names and a list of profiles
/// make thousands of them in one answer. Beyond it answers are forgotten too.
pub const ASKED_PATH_COUNT_MAX: usize = 2_000_000;
/// The most resolutions under way at a time.
const RESOLVING_COUNT_MAX: usize = 8;
/// The most requests that wait for one; more are told to come back.
const WAITING_COUNT_MAX: u64 = 2_048;
/// The most labels that are moved at a time on behalf of one push.
const ADVANCING_COUNT_MAX: usize = 8;
/// How long a request waits for its turn to be resolved.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The most names that are remembered for having been asked for.
const ASKED_NAME_COUNT_MAX: usize = 10_000;
/// The largest file that is served as text or as bytes.
pub const SERVED_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The caller may not.
    #[error("not allowed")]
    Forbidden,
    /// The source has no such label.
    #[error("unknown label {0}")]
    UnknownLabel(Label),
    /// The source cannot be read and nothing was loaded before.
    #[error("{0}")]
    Unavailable(String),
    /// Too many are waiting.
    #[error("too many requests are waiting to be resolved")]
    Overloaded,
}

impl From<SourceError> for AnswerError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::UnknownLabel(label) => Self::UnknownLabel(label),
            SourceError::Unavailable { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<TreeError> for AnswerError {
    fn from(error: TreeError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Live labels and their answers.
pub struct Store {
    /// Where loops and blocking work run, whichever worker's thread asks.
    runtime: Handle,
    source: Arc<dyn Source>,
    additions: Arc<Additions>,
    policy: Policy,
    labels: Labels,
    resolving: Semaphore,
    waiting: AtomicU64,
    asked_names: Mutex<HashSet<Arc<str>>>,
    /// The last moves of all labels.
    pub moves: Arc<Moves>,
    looking: Mutex<Looking>,
    /// Told after a label was loaded, has moved or is gone.
    turned: watch::Sender<()>,
    /// What happened so far.
    pub counters: Counters,
}

/// What happened since start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Moves of labels that were published.
    pub publish_count: AtomicU64,
    /// Answers that were made anew by a move.
    pub refreshed_count: AtomicU64,
    /// Answers that were made because someone asked for the first time.
    pub resolved_count: AtomicU64,
    /// Attempts to follow a source that failed.
    pub failure_count: AtomicU64,
}

/// A file out of a snapshot.
pub struct ServedFile {
    /// The bytes as stored.
    pub bytes: Bytes,
    /// The id of the bytes.
    pub id: ContentId,
    /// The revision it comes from.
    pub revision: Revision,
    /// When that revision was made, in seconds since 1970, if known.
    pub made_seconds: Option<i64>,
}

/// A file with the environment of the request at the same revision.
pub struct Template {
    /// The file.
    pub file: ServedFile,
    /// The environment, or why there is none.
    pub environment: Result<Option<Environment>, Problem>,
}

/// What somebody has moved in the source.
pub struct Pushed {
    /// The labels under which it is asked for, its own name last.
    pub labels: Vec<Label>,
    /// What it stood for, if anything.
    pub from: Option<Revision>,
    /// What it stands for now, unless it is gone.
    pub to: Option<Revision>,
}

/// The state of one live label.
pub struct LabelStatus {
    /// The label.
    pub label: Label,
    /// The revision that is served.
    pub revision: Revision,
    /// How many answers are kept.
    pub answer_count: usize,
    /// Since how many seconds the source has not been heard of, and why.
    pub stale: Option<(Duration, String)>,
}

/// An environment that is held back or broken.
pub struct HeldBack {
    /// What was asked for.
    pub query: Query,
    /// The name of the source that the problem is in.
    pub source: Arc<str>,
    /// The newest revision of its label.
    pub tip: Revision,
    /// What is served in its place, or `None` if nothing is.
    pub held: Option<Held>,
    /// What is wrong.
    pub problem: Problem,
}

impl Store {
    /// A store over a source. Loads nothing yet.
    pub fn new(
        source: Arc<dyn Source>,
        additions: Additions,
        policy: Policy,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            moves: Moves::new(&runtime),
            runtime,
            source,
            additions: Arc::new(additions),
            policy,
            labels: Labels::default(),
            resolving: Semaphore::new(RESOLVING_COUNT_MAX),
            waiting: AtomicU64::new(0),
            asked_names: Mutex::default(),
            looking: Mutex::default(),
            turned: watch::Sender::new(()),
            counters: Counters::default(),
        })
    }

    /// The stable name of the source.
    pub fn source_name(&self) -> &str {
        self.source.name()
    }

    /// How the remotes stand that the source copies from.
    pub fn remotes(&self) -> Vec<RemoteStatus> {
        self.source.remotes()
    }

    /// Somebody says that something may have changed: the source looks now. Many such hints are one, soon after each other.
    pub fn look_again(self: &Arc<Self>) {
        look::look_again(self);
    }

    /// Whether a caller may do something here.
    pub fn may(&self, caller: &Caller, action: Action, target: Target<'_>) -> bool {
        access::may(self.policy, caller, action, target)
    }

    /// Reads and watches the answer to a query: the one door. What was asked for before is answered without waiting;
    /// the first time, its label is loaded and its files are read.
    ///
    /// # Errors
    /// As [`AnswerError`] says. Content that cannot be used is no error here but part of the answer.
    pub async fn answer(
        self: &Arc<Self>,
        caller: &Caller,
        query: &Query,
    ) -> Result<Reader, AnswerError> {
        let live = self.live_for(caller, query).await?;
        let slot = match live.slot(query) {
            Some(slot) => slot,
            None => self.resolve(&live, query).await?,
        };
        Ok(Reader::new(live, slot))
    }

    /// A door to an answer that is already kept; for callers that read it over and over.
    pub fn door(&self, caller: &Caller, query: &Query) -> Option<Door> {
        let cohort = cohort::choose(caller, query);
        let live = self.labels.live(&query.label, cohort)?;
        let slot = live.slot(query)?;
        Some(Door::new(&live, &slot, cohort))
    }

    async fn resolve(
        self: &Arc<Self>,
        live: &Arc<Live>,
        query: &Query,
    ) -> Result<Arc<Slot>, AnswerError> {
        let (live, query, additions) =
            (Arc::clone(live), query.clone(), Arc::clone(&self.additions));
        self.remember_names(&query);
        self.counters.resolved_count.fetch_add(1, Ordering::Relaxed);
        let store = Arc::clone(self);
        self.bounded(move || {
            let slot = live.answer(&query, &additions)?;
            store.labels.make_room();
            Ok(slot)
        })
        .await
    }

    /// Runs blocking work, so many at a time and so many waiting.
    async fn bounded<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AnswerError> + Send + 'static,
    ) -> Result<T, AnswerError> {
        let _waiting = Waiting::enter(&self.waiting).ok_or(AnswerError::Overloaded)?;
        let permit = tokio::time::timeout(WAIT_MAX, self.resolving.acquire())
            .await
            .map_err(|_| AnswerError::Overloaded)?;
        let result = self.runtime.spawn_blocking(work).await;
        drop(permit);
        result.unwrap_or_else(|_| Err(AnswerError::Unavailable("resolving failed".to_owned())))
    }

    /// A file of the tree, found as the specification's section 6.1 says.
    ///
    /// # Errors
    /// As for [`Store::answer`]; a file that does not exist, or is too large to be served, is `None`.
    pub async fn file(
        self: &Arc<Self>,
        caller: &Caller,
        query: &Query,
        path: &str,
    ) -> Result<Option<ServedFile>, AnswerError> {
        let live = self.live_for(caller, query).await?;
        let (query, path) = (query.clone(), path.to_owned());
        self.bounded(move || served_file(&live.view.load_full(), &query, &path)).await
    }

    /// The same with the environment of the request at the same revision, for its placeholders.
    ///
    /// # Errors
    /// As for [`Store::file`].
    pub async fn template(
        self: &Arc<Self>,
        caller: &Caller,
        query: &Query,
        path: &str,
    ) -> Result<Option<Template>, AnswerError> {
        let live = self.live_for(caller, query).await?;
        let (query, path, additions) =
            (query.clone(), path.to_owned(), Arc::clone(&self.additions));
        self.bounded(move || {
            let view = live.view.load_full();
            let Some(file) = served_file(&view, &query, &path)? else {
                return Ok(None);
            };
            let answer = match live.slot(&query).map(|slot| Arc::clone(&slot.answer.borrow())) {
                Some(answer) if answer.sequence <= view.sequence => answer,
                _ => {
                    Arc::new(build::build(&query, &view.snapshot, view.sequence, &additions, None)?)
                }
            };
            let environment = match &answer.content {
                Content::Broken(problem) => Err(problem.clone()),
                _ => Ok(answer.served().map(|served| served.environment.clone())),
            };
            Ok(Some(Template { file, environment }))
        })
        .await
    }

    /// The known applications and profiles of a label, with the names asked for since start.
    ///
    /// # Errors
    /// As for [`Store::answer`].
    pub async fn catalog(
        self: &Arc<Self>,
        label: &Label,
    ) -> Result<(Catalog, Revision), AnswerError> {
        let live = self.live(label, Cohort::FIRST).await?;
        let asked: Vec<Arc<str>> = lock(&self.asked_names).iter().cloned().collect();
        self.bounded(move || {
            let view = live.view.load_full();
            let mut catalog = live.catalog(&view)?;
            let asked = asked.iter().filter(|name| name.as_ref() != catalog::EVERYONE);
            catalog.applications.extend(asked.map(|name| name.to_string()));
            Ok((catalog, view.snapshot.revision.clone()))
        })
        .await
    }

    /// Publishes what the source has now for every live label, and returns when that is done: for whoever has just moved
    /// the source and is to be answered. A label that cannot be moved stays what it is and is followed as always. Of
    /// moves that no live label shows, those who listen to all moves are told nevertheless.
    pub async fn advance(self: &Arc<Self>, actor: &Actor, pushed: Vec<Pushed>) {
        let mut lives = self.labels.all();
        // Most watch it.
        lives.sort_by_key(|live| live.label != Label::Default);
        stream::iter(&lives)
            .for_each_concurrent(ADVANCING_COUNT_MAX, |live| {
                refresh::advance_now(self, live, actor)
            })
            .await;
        let is_shown = |pushed: &Pushed| {
            let mut live = lives.iter().map(|live| &live.label);
            pushed.to.is_some() && live.any(|label| pushed.labels.contains(label))
        };
        for Pushed { mut labels, from, to } in pushed.into_iter().filter(|it| !is_shown(it)) {
            let Some(label) = labels.pop() else { continue };
            self.moves.note(Noted { label, from, to, actor: actor.clone(), effect: None });
        }
    }

    /// What is served for a label just now, if it is live.
    pub fn served(&self, label: &Label) -> Option<Arc<Snapshot>> {
        let live = self.labels.live(label, Cohort::FIRST)?;
        Some(Arc::clone(&live.view.load().snapshot))
    }

    /// The environments of a label that somebody has asked for and that a move to a snapshot may change, with how many
    /// watch each. None if the label is not live. Blocking.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn in_use(&self, label: &Label, next: &Snapshot) -> Result<Vec<InUse>, TreeError> {
        match self.labels.live(label, Cohort::FIRST) {
            Some(live) => live.concerned_by(next),
            None => Ok(Vec::new()),
        }
    }

    /// Whether what is served for a label has a revision in its history, or is at it; nothing where there is no history
    /// or the label is not live. Blocking.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn was_at(&self, label: &Label, revision: &str) -> Result<Option<bool>, TreeError> {
        match self.labels.live(label, Cohort::FIRST) {
            Some(live) => live.was_at(revision),
            None => Ok(None),
        }
    }

    /// Changes whenever [`Store::labels`] has other labels or revisions to tell of.
    pub fn turned(&self) -> watch::Receiver<()> {
        self.turned.subscribe()
    }

    /// Every live label.
    pub fn labels(&self) -> Vec<LabelStatus> {
        let outage = self.source.outage().map(|outage| (outage.since, outage.message));
        self.labels
            .all()
            .iter()
            .map(|live| LabelStatus {
                label: live.label.clone(),
                revision: live.view.load().snapshot.revision.clone(),
                answer_count: live.slot_count(),
                stale: live
                    .stale()
                    .map(|stale| (stale.since, stale.message))
                    .or_else(|| outage.clone())
                    .map(|(since, message)| (since.elapsed(), message)),
            })
            .collect()
    }

    /// Every environment asked for so far whose newest revision cannot be served.
    pub fn problems(&self) -> Vec<HeldBack> {
        let mut problems = Vec::new();
        for live in self.labels.all() {
            let tip = live.view.load().snapshot.revision.clone();
            for slot in live.slots() {
                let answer = Arc::clone(&slot.answer.borrow());
                problems.extend(answer.problems().map(|(source, held, problem)| HeldBack {
                    query: answer.query.clone(),
                    source: Arc::clone(source),
                    tip: tip.clone(),
                    held: held.cloned(),
                    problem: problem.clone(),
                }));
            }
        }
        problems.sort_by(|a, b| {
            (&a.query.application, &a.query.profiles)
                .cmp(&(&b.query.application, &b.query.profiles))
        });
        problems
    }

    /// What is wrong in the sources themselves.
    pub fn source_problems(&self) -> Vec<SourceProblem> {
        self.source.problems()
    }

    /// How many files the source has parsed since start, as far as its live labels tell.
    pub fn parsed_count(&self) -> u64 {
        let lives = self.labels.all();
        let trees = lives.iter().flat_map(|live| live.view.load().snapshot.members.clone());
        trees.map(|member| member.tree.parsed_count()).max().unwrap_or(0)
    }

    fn remember_names(&self, query: &Query) {
        let mut asked = lock(&self.asked_names);
        for name in query.application_names() {
            if asked.len() < ASKED_NAME_COUNT_MAX && !asked.contains(name) {
                asked.insert(name.into());
            }
        }
    }

    /// The live label of a query, if the caller may read what it asks for.
    async fn live_for(
        self: &Arc<Self>,
        caller: &Caller,
        query: &Query,
    ) -> Result<Arc<Live>, AnswerError> {
        if !self.may(caller, Action::ReadEnvironment, Target::Environment(query)) {
            return Err(AnswerError::Forbidden);
        }
        self.live(&query.label, cohort::choose(caller, query)).await
    }

    /// The live label, loaded now if it was not live; those who ask for it at the same time share one load.
    async fn live(
        self: &Arc<Self>,
        label: &Label,
        cohort: Cohort,
    ) -> Result<Arc<Live>, AnswerError> {
        let cell = self.labels.cell(label, cohort);
        if let Some(live) = cell.get() {
            return Ok(Arc::clone(live));
        }
        let live = cell.get_or_try_init(|| self.load(label)).await;
        match &live {
            Ok(_) => self.turned.send_replace(()),
            Err(_) => self.labels.forget(&cell),
        }
        live.cloned()
    }

    async fn load(self: &Arc<Self>, label: &Label) -> Result<Arc<Live>, AnswerError> {
        let (source, wanted) = (Arc::clone(&self.source), label.clone());
        let loading = self.runtime.spawn(async move { source.load(&wanted, None).await });
        let snapshot: Snapshot =
            loading.await.map_err(|_| AnswerError::Unavailable("loading failed".to_owned()))??;
        let live = Arc::new(Live::new(label.clone(), Arc::new(snapshot)));
        let follower =
            self.runtime.spawn(refresh::follow(Arc::downgrade(self), Arc::downgrade(&live)));
        *lock(&live.follower) = Some(follower.abort_handle());
        Ok(live)
    }
}

/// A file of a view, unless there is none or it is too large. Blocking.
fn served_file(view: &View, query: &Query, path: &str) -> Result<Option<ServedFile>, AnswerError> {
    let Some(found) = resolve::find_file(&view.snapshot, query, path)? else {
        return Ok(None);
    };
    if found.tree.size(&found.file)? > SERVED_FILE_BYTES_MAX {
        return Ok(None);
    }
    Ok(Some(ServedFile {
        bytes: found.tree.bytes(&found.file)?.into(),
        id: found.file.id(),
        revision: view.snapshot.revision.clone(),
        made_seconds: found.made_seconds,
    }))
}

/// One of those who wait, counted while it does.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicU64) -> Option<Self> {
        if count.fetch_add(1, Ordering::Relaxed) >= WAITING_COUNT_MAX {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
