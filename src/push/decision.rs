//! The decision about a push: the steps from the hook's question until git may move references.
//!
//! Locking: the push turn is held from the first step until an accepted push is published, so that a repository decides
//! about one push at a time.

use std::sync::Arc;
use std::time::Duration;

use headwater_rollout::Name;
use tokio::time::timeout;

use super::authorization::{self, Pusher};
use super::locks::{PushTurn, RefsWriteGuard};
use super::options::{OptionError, PushOptions, Wait};
use super::policy::PushPolicy;
use super::policy_repository;
use super::recording::{self, PushRecorder};
use super::rejection::{BUSY, Rejection, UNWRITABLE, rejected};
use super::replication::{CommitError, CommittedPush, PendingPush, Replication, RolloutDecision};
use super::repository::HostedRepository;
use super::review::{Review, review};
use super::rollouts::{PendingRollouts, RepositoryRollouts, StagedBranch};
use super::shared_staging::SharedStaging;
use super::staging::{self, StagingWords};
use super::trial;
use super::updates::{self, Question, Update};
use super::waiting::{BranchChange, OpenedRollout, Waits};
use crate::access::PolicyPreview;
use crate::snapshot::Snapshot;
use crate::source::SourceError;
use crate::source::git::{Rewind, RewindRecord};
use crate::telemetry::trace::{Span, SpanContext};
use crate::telemetry::{PushStage, StageTimer};

/// The line for the pusher when the push is in etcd and this replica cannot make it yet.
pub(super) const COMMITTED_ONLY: &str = "the push is committed in etcd, and this replica cannot write it to its disk yet. \
     Tell the operator";
/// The maximum time that a push waits for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(60);

/// The repository that a push goes to, the policy for it, and the pusher.
pub(super) struct PushContext {
    pub(super) repository: Arc<HostedRepository>,
    /// The replication through etcd, if replicas share the repository.
    pub(super) replication: Option<Arc<Replication>>,
    pub(super) policy: Arc<PushPolicy>,
    /// The place of pushes that wait for instances.
    pub(super) waits: Arc<Waits>,
    /// The holder of the push token, if it has a name.
    pub(super) who: Option<Arc<str>>,
    /// The principal, if a policy decides.
    pub(super) pusher: Option<Pusher>,
    /// The recording in the audit trail, if there is one.
    pub(super) recorder: Option<PushRecorder>,
    /// The span of the push, if it is traced.
    pub(super) trace: Option<SpanContext>,
}

/// An accepted push, with the references that git may move.
///
/// Locking: it holds the push turn and the write side of the references lock. No other push moves a reference and no
/// client lists references until it is dropped.
pub(super) struct AcceptedPush {
    /// The lines for the pusher.
    pub(super) lines: Vec<String>,
    /// What the push holds, by the name of the branch, to follow the line on its publication.
    pub(super) held: Vec<(Name, String)>,
    pub(super) references: Vec<String>,
    /// The wait that the pusher asked for.
    pub(super) wait: Option<PendingWait>,
    /// The push as it is in etcd, if the repository is shared.
    pub(super) committed: Option<CommittedPush>,
    pub(super) turn: PushTurn,
    pub(super) refs: RefsWriteGuard,
    /// The decisions about rollouts, which take effect with the publication. `None` for a repository without rollouts.
    pub(super) rollouts: Option<PendingRollouts>,
    /// The snapshots that the checks have read, which the publisher need not read again.
    _snapshots: Vec<Snapshot>,
}

/// The wait of an accepted push, which begins once the push is published.
pub(super) struct PendingWait {
    pub(super) wait: Wait,
    pub(super) changes: Vec<BranchChange>,
    /// The rollouts that the push has opened.
    pub(super) rollouts: Vec<OpenedRollout>,
}

/// Decides about a push.
///
/// # Errors
/// The answer for the hook when git must not make the push.
pub(super) async fn decide(
    context: &PushContext,
    question: Question,
) -> Result<AcceptedPush, Rejection> {
    let options = read_options(context, &question)?;
    let waiting = StageTimer::start(context.trace, PushStage::Wait);
    let turn = take_turn(context).await?;
    let mut pending = Box::pin(begin_replication(context, &turn, &question)).await?;
    drop(waiting);
    check_references(context, &question.updates)?;
    let mut pusher = context.pusher.clone();
    if let Some(policy) = &context.repository.hosted_policy {
        policy_repository::authorize(context, policy.as_ref())?;
    } else {
        authorize(context, &mut pusher, &question).await?;
    }
    let head = context.repository.source.head_branch();
    if let Some(line) = updates::head_deletion(&question.updates, head.as_deref()) {
        log_rejection(context);
        return Err(line.into());
    }
    let published = context.repository.source.references().into_keys();
    if let Some(line) = updates::name_conflict(&question.updates, published) {
        log_rejection(context);
        return Err(line.into());
    }
    if options.is_dry_run {
        let rehearsal = rehearse(context, pusher, question, &options, pending.as_ref());
        return Err(Box::pin(rehearsal).await);
    }
    let (updates, pushed) = (question.updates.clone(), question.clone());
    let prepared = prepare(context, pusher.clone(), question, pending.as_mut());
    let reviewed = Box::pin(prepared).await?;
    if context.repository.hosted_policy.is_none()
        && pusher.as_ref().is_some_and(|pusher| !pusher.is_current())
    {
        authorize(context, &mut pusher, &pushed).await?;
    }
    let idle = idle_options(context, &options, &reviewed.staged)?;
    let staged = reviewed.staged;
    let shared = SharedStaging::new(context, &pushed, &options, &staged);
    let opened = match (&shared, &pending) {
        (Some(shared), Some(pending)) => shared.rehearse(pending).await,
        _ => staging::open(context, &pushed, &options, staged).await,
    };
    let opened = opened.inspect_err(|_| log_rejection(context))?;
    let facts = (&reviewed.rewinds[..], reviewed.policy.as_ref());
    let pending = (pending, shared.as_ref());
    let recorded = Box::pin(record(context, &turn, pending, (&pushed, &options), facts)).await;
    let Recorded { committed, refs, rollouts } = match recorded {
        Ok(recorded) => recorded,
        Err(rejection) => {
            if let Some(opened) = opened {
                opened.abandon(&context.repository.source).await;
            }
            return Err(rejection);
        }
    };
    let opened = opened.or(rollouts);
    log_overrides(context, &options);
    let changes = reviewed.changes;
    let branches = opened.as_ref().map(|own| &own.branches[..]).unwrap_or_default();
    let StagingWords { held, lines, opened: awaited } = staging::describe(context, branches);
    Ok(AcceptedPush {
        lines: [reviewed.lines, lines, idle, options.notices()].concat(),
        held,
        wait: options.wait.map(|wait| PendingWait { wait, changes, rollouts: awaited }),
        references: updates.into_iter().map(|update| update.reference).collect(),
        committed,
        turn,
        refs,
        rollouts: opened,
        _snapshots: reviewed.snapshots,
    })
}

/// A push that is recorded everywhere, so that git may move references.
struct Recorded {
    /// The push as it is in etcd, if the repository is shared.
    committed: Option<CommittedPush>,
    refs: RefsWriteGuard,
    /// The decisions about rollouts that are in etcd.
    rollouts: Option<PendingRollouts>,
}

/// Records a push in the audit trail and in etcd, and makes its rewinds and its rollouts durable.
async fn record(
    context: &PushContext,
    turn: &PushTurn,
    (pending, shared): (Option<PendingPush>, Option<&SharedStaging<'_>>),
    (question, options): (&Question, &PushOptions),
    (rewinds, policy): (&[Rewind], Option<&(String, PolicyPreview)>),
) -> Result<Recorded, Rejection> {
    recording::record_accepted(context, question, options).await?;
    recording::record_policy(context, policy).await?;
    let (mut committed, refs) = commit(context, turn, (pending, shared), rewinds).await?;
    record_rewinds(context, &refs, &question.updates, rewinds, committed.as_ref()).await?;
    let rollouts = match (shared, &mut committed) {
        (Some(shared), Some(committed)) => shared.hold(committed).await?,
        _ => None,
    };
    Ok(Recorded { committed, refs, rollouts })
}

/// Authenticates the pusher by the policy in force, and decides whether it may push this.
///
/// A policy that changes after the last decision does not stop the push. Only its record in the audit trail and in etcd
/// follows then.
async fn authorize(
    context: &PushContext,
    pusher: &mut Option<Pusher>,
    question: &Question,
) -> Result<(), Rejection> {
    let Some(pusher) = pusher else { return Ok(()) };
    *pusher = pusher.renewed().inspect_err(|_| log_rejection(context))?;
    authorization::authorize(&context.repository, pusher, question).await
}

/// Returns the options of a push.
fn read_options(context: &PushContext, question: &Question) -> Result<PushOptions, Rejection> {
    question.options.clone().map_err(|error: OptionError| {
        log_rejection(context);
        error.rejection().into()
    })
}

/// Returns the lines on options that have no effect, because no plan governs the pushed branches.
fn idle_options(
    context: &PushContext,
    options: &PushOptions,
    staged: &[StagedBranch],
) -> Result<Vec<String>, Rejection> {
    let has_rollouts = |own: &RepositoryRollouts| own.settings.default.is_some();
    if !staged.is_empty() || context.repository.rollouts.as_ref().is_some_and(has_rollouts) {
        return Ok(Vec::new());
    }
    options.without_rollouts().map(|line| line.into_iter().collect()).map_err(|error| {
        log_rejection(context);
        error.rejection().into()
    })
}

/// Answers a dry run: checks everything that the push would need, and moves nothing.
///
/// Invariant: a dry run writes no object, no pack and no reference, here and in etcd. Git removes the quarantine.
async fn rehearse(
    context: &PushContext,
    pusher: Option<Pusher>,
    question: Question,
    options: &PushOptions,
    pending: Option<&PendingPush>,
) -> Rejection {
    let named = match pending {
        Some(pending) => pending.check_names(),
        None => Ok(()),
    };
    if let Err(line) = named {
        log_rejection(context);
        return line.into();
    }
    let pushed = question.clone();
    let rehearsed = async {
        let reviewed = review_content(context, pusher, question).await?;
        let idle = idle_options(context, options, &reviewed.staged)?;
        let opened = staging::rehearse(context, &pushed, options, reviewed.staged).await;
        let opened = opened.inspect_err(|_| log_rejection(context))?;
        let lines = staging::describe_rehearsal(context, &opened);
        Ok([reviewed.lines, lines, idle, options.notices()].concat())
    };
    match rehearsed.await {
        Ok(lines) => {
            let who = context.who.as_deref();
            let repository = &context.repository.name;
            tracing::info!(repository, who, "dry run of a push, it would be accepted");
            Rejection::dry_run(lines)
        }
        Err(rejection) => rejection,
    }
}

/// Waits for the turn of this push, and completes the publication of earlier ones.
async fn take_turn(context: &PushContext) -> Result<PushTurn, Rejection> {
    let PushContext { repository, replication, .. } = context;
    if replication.as_ref().is_some_and(|replication| !replication.is_loaded()) {
        return Err(rejected(
            "this replica has not loaded the repository from etcd yet. Push again",
        )
        .into());
    }
    let Ok(turn) = timeout(TURN_WAIT_MAX, repository.locks.push_lock.acquire()).await else {
        return Err(rejected(&format!(
            "pushes before this one took more than {} s. Push again",
            TURN_WAIT_MAX.as_secs()
        ))
        .into());
    };
    repository.retry_publication(&turn).await.map_err(|_| Rejection::from(UNWRITABLE))?;
    Ok(turn)
}

/// Brings a shared repository to the newest content of etcd.
async fn begin_replication(
    context: &PushContext,
    turn: &PushTurn,
    question: &Question,
) -> Result<Option<PendingPush>, Rejection> {
    let Some(replication) = &context.replication else { return Ok(None) };
    let (repository, who) = (&context.repository, context.who.clone());
    let pending = PendingPush::begin(turn, repository, replication, question, who).await?;
    Ok(Some(pending))
}

/// Compares the push with the published references.
fn check_references(context: &PushContext, updates: &[Update]) -> Result<(), Rejection> {
    let PushContext { repository, policy, .. } = context;
    let rejection = updates::rejection(updates, policy.deleting, |reference| {
        repository.source.published(reference)
    });
    match rejection {
        Some(line) => {
            log_rejection(context);
            Err(line.into())
        }
        None => Ok(()),
    }
}

/// Syncs the objects, reviews the content and packs the objects for etcd, all at the same time.
async fn prepare(
    context: &PushContext,
    pusher: Option<Pusher>,
    question: Question,
    pending: Option<&mut PendingPush>,
) -> Result<Review, Rejection> {
    let packing = async {
        match pending {
            Some(pending) => {
                let _packing = Span::part_of(context.trace, "pack");
                pending.prepare().await
            }
            None => Ok(()),
        }
    };
    let syncing = async {
        let _timer = StageTimer::start(context.trace, PushStage::Sync);
        context.repository.sync_objects().await
    };
    let (synced, reviewed, packed) =
        tokio::join!(syncing, review_content(context, pusher, question), packing);
    // Invariant: a reference does not become durable before the objects that it leads to.
    synced.map_err(|_| Rejection::from(UNWRITABLE))?;
    let reviewed = reviewed?;
    log_exceptions(context, &reviewed);
    packed?;
    Ok(reviewed)
}

/// Reviews the content of a push, and lets running instances try it.
async fn review_content(
    context: &PushContext,
    pusher: Option<Pusher>,
    question: Question,
) -> Result<Review, Rejection> {
    let PushContext { repository, policy, .. } = context;
    let timer = StageTimer::start(context.trace, PushStage::Check);
    let mut reviewed = review(repository, policy, pusher.clone(), question).await?;
    drop(timer);
    if reviewed.is_rejected {
        log_rejection(context);
        return Err(Rejection::new(reviewed.lines));
    }
    trial::run(context, pusher.as_ref(), &mut reviewed)
        .await
        .inspect_err(|_| log_rejection(context))?;
    Ok(reviewed)
}

fn log_rejection(context: &PushContext) {
    let who = context.who.as_deref();
    tracing::info!(repository = context.repository.name, who, "push rejected");
}

/// Logs that a push overrides rules, with the reason of the pusher.
fn log_overrides(context: &PushContext, options: &PushOptions) {
    if options.has_overrides() {
        let (repository, who) = (&context.repository.name, context.who.as_deref());
        let options = options.facts().join(", ");
        tracing::info!(repository, who, options, "a push overrides rules");
    }
}

/// Logs that a push is accepted only because of a setting.
fn log_exceptions(context: &PushContext, reviewed: &Review) {
    let (repository, who) = (&context.repository.name, context.who.as_deref());
    if reviewed.has_problems {
        tracing::warn!(
            repository,
            who,
            "a push with problems was accepted, because push.checks = warn"
        );
    }
    if !reviewed.is_finished {
        tracing::warn!(repository, who, "a push was accepted although its checks did not finish");
    }
}

/// Takes the last step before git may move references. Afterwards a push to a shared repository is in etcd.
async fn commit(
    context: &PushContext,
    turn: &PushTurn,
    (pending, shared): (Option<PendingPush>, Option<&SharedStaging<'_>>),
    rewinds: &[Rewind],
) -> Result<(Option<CommittedPush>, RefsWriteGuard), Rejection> {
    let Some(pending) = pending else {
        let refs = context.repository.lock_refs(turn).await;
        return refs.map(|refs| (None, refs)).ok_or_else(|| BUSY.into());
    };
    let _timer = StageTimer::start(context.trace, PushStage::Replicate);
    let decision = shared.map(|shared| shared as &dyn RolloutDecision);
    match pending.commit(turn, rewinds, decision).await {
        Ok((committed, refs)) => Ok((Some(committed), refs)),
        Err(CommitError::Rejected(line)) => Err(line.into()),
        Err(CommitError::Staging(rejection)) => {
            log_rejection(context);
            Err(rejection)
        }
        Err(CommitError::Unknown(line)) => {
            let who = context.who.as_deref();
            tracing::error!(
                repository = context.repository.name,
                who,
                "the outcome of a push is unknown, because etcd does not answer"
            );
            Err(Rejection::unknown(line))
        }
    }
}

/// Makes the rewinds of a push durable before git moves a reference.
async fn record_rewinds(
    context: &PushContext,
    refs: &RefsWriteGuard,
    updates: &[Update],
    rewinds: &[Rewind],
    committed: Option<&CommittedPush>,
) -> Result<(), Rejection> {
    if rewinds.is_empty() {
        return Ok(());
    }
    let repository = &context.repository;
    let written = match committed.and_then(CommittedPush::rewind_record) {
        Some(record) => repository.write_rewind_record(refs, record.clone()).await,
        None => match next_rewind_record(repository, updates, rewinds).await {
            Ok(record) => repository.write_rewind_record(refs, record).await,
            Err(error) => Err(error),
        },
    };
    let Err(error) = written else { return Ok(()) };
    tracing::error!(
        repository = repository.name,
        %error,
        "the rewinds of a push cannot be recorded, git moves no reference"
    );
    match committed {
        None => Err(UNWRITABLE.into()),
        // The push is in etcd. The follower makes it here once that is possible.
        Some(committed) => {
            committed.leave_to_follower();
            Err(Rejection::unknown(COMMITTED_ONLY.to_owned()))
        }
    }
}

/// Returns the record of rewinds after a push to a repository that is not shared.
async fn next_rewind_record(
    repository: &Arc<HostedRepository>,
    updates: &[Update],
    rewinds: &[Rewind],
) -> Result<RewindRecord, SourceError> {
    let (repository, updates) = (Arc::clone(repository), updates.to_vec());
    let rewinds = rewinds.to_vec();
    let name = repository.name.clone();
    let next = tokio::task::spawn_blocking(move || {
        let references = updates::moved(repository.source.references(), &updates);
        let before = repository.source.rewind_record()?;
        let exists = |label: &str| updates::is_label(&references, label);
        Ok(RewindRecord::after(before.as_ref(), &rewinds, exists))
    });
    next.await.unwrap_or_else(|_| {
        Err(SourceError::Unavailable { name, message: "the read was interrupted".to_owned() })
    })
}
