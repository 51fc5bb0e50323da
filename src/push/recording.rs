//! Pushes in the audit trail.
//!
//! Invariant: the line of an accepted push is durable before the push is committed to etcd or moves a reference.

use std::path::PathBuf;
use std::sync::Arc;

use super::decision::{self, AcceptedPush, PushContext};
use super::options::PushOptions;
use super::rejection::{Rejection, RejectionKind};
use super::repository::HostedRepository;
use super::updates::{self, Question, Update};
use crate::access::PolicyPreview;
use crate::audit::{Audit, AuditActor, AuditEvent, Entry};
use crate::source::SourceError;

/// The rejection when the trail cannot be written.
const UNRECORDED: &str = "push rejected, no branch was updated: the server cannot write its audit trail. \
     Tell the operator; its log names the error";
/// The most commits and paths that are read for a line, which names fewer of them.
const NAME_COUNT_MAX: usize = 1_000;

/// The recording of one push.
pub struct PushRecorder {
    audit: Arc<Audit>,
    actor: AuditActor,
}

/// What a push contains, as far as lines name it.
#[derive(Debug, Clone, Default)]
struct PushedContent {
    commits: Vec<String>,
    paths: Vec<String>,
}

/// Decides about a push, and records a rejection.
///
/// # Errors
/// The answer for the hook when git must not make the push.
pub(super) async fn decide(
    context: &PushContext,
    question: Question,
) -> Result<AcceptedPush, Rejection> {
    let Some(recorder) = &context.recorder else {
        return Box::pin(decision::decide(context, question)).await;
    };
    let (updates, options) = (question.updates.clone(), question.options.clone());
    // The steps of a decision are large. On the heap, they leave room on the stack of a worker in every build.
    let decided = Box::pin(decision::decide(context, question)).await;
    if let Err(rejection) = &decided {
        let tips = updates.iter().filter_map(|update| update.new.clone()).collect();
        let content = PushedContent { commits: tips, paths: Vec::new() };
        let mut entry = recorder.entry(&context.repository, &updates, content);
        entry.details = options.as_ref().map(PushOptions::facts).unwrap_or_default();
        let outcome = match rejection.kind {
            RejectionKind::Rejected => "rejected",
            RejectionKind::DryRun => "dry_run",
            RejectionKind::OutcomeUnknown => "unknown",
        };
        entry.outcome = Some(outcome.to_owned());
        entry.reason = Some(rejection.lines.join(" "));
        recorder.record(&entry).await;
    }
    decided
}

/// Records an accepted push before anything of it takes effect.
///
/// # Errors
/// The answer for the hook when the line is not durable in time.
pub(super) async fn record_accepted(
    context: &PushContext,
    question: &Question,
    options: &PushOptions,
) -> Result<(), Rejection> {
    let Some(recorder) = &context.recorder else { return Ok(()) };
    let (repository, read) = (Arc::clone(&context.repository), question.clone());
    let content = tokio::task::spawn_blocking(move || PushedContent::read(&repository, &read));
    let (content, reason) = match content.await {
        Ok(Ok(content)) => (content, None),
        Ok(Err(_)) | Err(_) => {
            let reason = "the commits and paths could not be read";
            (PushedContent::default(), Some(reason.to_owned()))
        }
    };
    let mut entry = recorder.entry(&context.repository, &question.updates, content);
    (entry.outcome, entry.reason) = (Some("accepted".to_owned()), reason);
    entry.details = options.facts();
    recorder.audit.record_act(&entry).await.map_err(|_| UNRECORDED.into())
}

/// Records the policy of an accepted push before it takes effect.
///
/// # Errors
/// The answer for the hook when the line is not durable in time.
pub(super) async fn record_policy(
    context: &PushContext,
    reviewed: Option<&(String, PolicyPreview)>,
) -> Result<(), Rejection> {
    let Some((commit, preview)) = reviewed else { return Ok(()) };
    if let Some(recorder) = &context.recorder {
        let entry = Entry {
            path: Some(context.repository.name.clone()),
            commits: vec![commit.clone()],
            digest: Some(preview.digest.clone()),
            outcome: Some("in force".to_owned()),
            details: preview.difference.clone(),
            ..recorder.actor.entry(AuditEvent::PolicyLoaded)
        };
        recorder.audit.record_act(&entry).await.map_err(|_| Rejection::from(UNRECORDED))?;
    }
    if let Some(policy) = &context.repository.hosted_policy {
        policy.mark_recorded(commit);
    }
    Ok(())
}

/// Records that git ended a push without asking the hook, as it does for a pack that it cannot unpack.
pub(super) async fn record_unasked(context: &PushContext) {
    const REASON: &str = "git rejected the objects of the push before its review";
    let Some(recorder) = &context.recorder else { return };
    let mut entry = recorder.entry(&context.repository, &[], PushedContent::default());
    (entry.outcome, entry.reason) = (Some("rejected".to_owned()), Some(REASON.to_owned()));
    recorder.record(&entry).await;
}

/// Records the references of an accepted push that git did not move. The line of the push names them as accepted.
pub(super) async fn record_unmoved(context: &PushContext, references: &[String]) {
    let Some(recorder) = context.recorder.as_ref().filter(|_| !references.is_empty()) else {
        return;
    };
    let names: Vec<&str> =
        references.iter().map(|name| updates::short(name).unwrap_or(name)).collect();
    let mut entry = recorder.entry(&context.repository, &[], PushedContent::default());
    entry.branch = Some(names.join(","));
    entry.outcome = Some("rejected".to_owned());
    entry.reason = Some("git did not move these references of an accepted push".to_owned());
    recorder.record(&entry).await;
}

impl PushRecorder {
    pub fn new(audit: Arc<Audit>, actor: AuditActor) -> Self {
        Self { audit, actor }
    }

    /// Records a push that moves nothing. It needs no durable line. The pusher waits for one all the same, while the trail
    /// can be written.
    async fn record(&self, entry: &Entry) {
        if self.audit.record_act(entry).await.is_err() {
            self.audit.record(entry);
        }
    }

    fn entry(
        &self,
        repository: &HostedRepository,
        updates: &[Update],
        content: PushedContent,
    ) -> Entry {
        let names: Vec<String> = updates.iter().map(Update::shown).collect();
        Entry {
            path: Some(repository.name.clone()),
            branch: Some(names.join(",")),
            commits: content.commits,
            paths: content.paths,
            ..self.actor.entry(AuditEvent::Push)
        }
    }
}

impl PushedContent {
    /// Reads the new commits and the paths that they change. Blocking.
    fn read(repository: &HostedRepository, question: &Question) -> Result<Self, SourceError> {
        let objects = repository.path.join("objects");
        let quarantine = question.quarantine.clone().filter(|it| it.starts_with(objects));
        let directories: Vec<PathBuf> = quarantine.into_iter().collect();
        let tips: Vec<&str> =
            question.updates.iter().filter_map(|update| update.new.as_deref()).collect();
        let published = repository.source.references();
        let known: Vec<&str> = published.values().map(String::as_str).collect();
        let incoming = repository.source.incoming(directories)?;
        let (commits, paths) = incoming.new_commits(&tips, &known, NAME_COUNT_MAX)?;
        Ok(Self { commits, paths })
    }
}
