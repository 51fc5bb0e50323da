//! The decision about the rollouts of a push: which applications it holds, before git moves a reference.

use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::open::{self, Change, NowPolicy, Options, Push};
use headwater_rollout::plan::{Touched, WallTime};
use headwater_rollout::state::{OTHERS, State};
use jiff::Timestamp;

use super::authorization::Pusher;
use super::decision::PushContext;
use super::options::PushOptions;
use super::rejection::{Rejection, UNWRITABLE, rejected};
use super::rollout_lines::RolloutLines;
use super::rollouts::{OpenedBranch, PendingRollouts, RepositoryRollouts, StagedBranch};
use super::updates::{self, Question, Update};
use super::waiting::OpenedRollout;
use crate::model::{Label, Query};
use crate::source::SourceError;
use crate::source::git::Incoming;

/// The rejection of a push whose decision panicked.
pub(super) const INTERRUPTED: &str = "push rejected, no branch was updated: the decision about its rollouts failed because of a fault \
     in the server. Tell the operator; its log has the details";

/// The profile of an environment without profiles.
const DEFAULT_PROFILE: &str = "default";

/// Everything that decides about the rollouts of a push.
pub(super) struct Decision {
    staged: Vec<StagedBranch>,
    deleted: Vec<Name>,
    options: Options,
    now_policy: NowPolicy,
    by: String,
    now: WallTime,
    /// A live replica whose version does not know rollouts.
    unsupported: Option<Name>,
    incoming: Incoming,
}

/// Decides which applications a push holds, without any effect. An empty result for a repository without rollouts.
///
/// # Errors
/// The answer for the hook when a rollout does not permit the push.
pub(super) async fn rehearse(
    context: &PushContext,
    question: &Question,
    options: &PushOptions,
    staged: Vec<StagedBranch>,
) -> Result<Vec<OpenedBranch>, Rejection> {
    let Some(rollouts) = &context.repository.rollouts else { return Ok(Vec::new()) };
    let decision = Decision::new(context, rollouts, question, options, staged)?;
    let state = rollouts.ledger.state();
    let deciding = tokio::task::spawn_blocking(move || decision.decide(&state));
    let (opened, _) = deciding.await.map_err(|_| Rejection::from(INTERRUPTED))??;
    Ok(opened)
}

/// Decides which applications a push holds, and makes that durable. Git may move the references afterwards.
///
/// # Errors
/// The answer for the hook when a rollout does not permit the push, or the disk does not accept the state.
pub(super) async fn open(
    context: &PushContext,
    question: &Question,
    options: &PushOptions,
    staged: Vec<StagedBranch>,
) -> Result<Option<PendingRollouts>, Rejection> {
    let Some(rollouts) = &context.repository.rollouts else { return Ok(None) };
    let ledger = Arc::clone(&rollouts.ledger);
    let turn = ledger.take_turn().await;
    let decision = Decision::new(context, rollouts, question, options, staged)?;
    let state = ledger.state();
    let deciding = tokio::task::spawn_blocking(move || decision.decide(&state));
    let (branches, intended) = deciding.await.map_err(|_| Rejection::from(INTERRUPTED))??;
    if let Some(intended) = intended {
        let intended = Arc::new(intended);
        let written = ledger.write(&turn, Arc::clone(&intended)).await;
        written.map_err(|_| Rejection::from(UNWRITABLE))?;
        ledger.adopt(&turn, State::clone(&intended), Vec::new());
    }
    Ok(Some(PendingRollouts { ledger, turn, branches, before: None }))
}

impl Decision {
    pub(super) fn new(
        context: &PushContext,
        rollouts: &RepositoryRollouts,
        question: &Question,
        options: &PushOptions,
        staged: Vec<StagedBranch>,
    ) -> Result<Self, Rejection> {
        let incoming = context.repository.incoming(question.quarantine.clone());
        let unreadable = |error: SourceError| {
            rejected(&format!("the server cannot read the repository: {error}. Tell the operator"))
        };
        let deleted = question.updates.iter().filter(|update| update.new.is_none());
        let who = context.who.as_deref().unwrap_or("pusher");
        let by = context.pusher.as_ref().map_or(who, |pusher| pusher.identity.name());
        Ok(Self {
            staged,
            deleted: deleted.filter_map(Update::branch).map(Name::from).collect(),
            options: options.for_rollout(),
            now_policy: rollouts.settings.now,
            by: by.to_owned(),
            now: WallTime(Timestamp::now().as_second()),
            unsupported: rollouts.group.as_ref().and_then(|group| group.standing().unsupported),
            incoming: incoming.map_err(unreadable)?,
        })
    }

    /// Returns the decisions, and the state with their intents if it differs. Blocking.
    pub(super) fn decide(
        self,
        state: &Arc<State>,
    ) -> Result<(Vec<OpenedBranch>, Option<State>), Rejection> {
        for branch in &self.deleted {
            let kept = state.without_branch(branch);
            kept.map_err(|reason| rejected(&format!("{branch}: {reason}")))?;
        }
        let (mut working, mut intended) = (State::clone(state), None::<State>);
        let mut decided = Vec::new();
        for staged in self.staged {
            let contains =
                |commit: &str| self.incoming.follows(&staged.to, commit).unwrap_or(false);
            let push = Push {
                branch: &staged.branch,
                from: &staged.from,
                to: &staged.to,
                changes: &staged.changes.changes,
                is_shared: staged.changes.is_shared,
                contains: &contains,
                headcount: &|application| staged.changes.headcount(application),
                fleet: staged.fleet,
                plans: &staged.plans,
                options: &self.options,
                now_policy: self.now_policy,
                by: &self.by,
                now: self.now,
                unsupported: self.unsupported.as_ref(),
            };
            let opened = open::open(&working, &push)
                .map_err(|reason| rejected(&format!("{}: {reason}", staged.branch)))?;
            if let Some(next) = &opened.next {
                let base = intended.unwrap_or_else(|| State::clone(state));
                intended = Some(base.intending(&staged.branch, &staged.from, &staged.to, next));
                working = next.clone();
            }
            let StagedBranch { branch, changes, plans, changes_environments, .. } = staged;
            let before = Arc::clone(state);
            decided.push(OpenedBranch {
                branch,
                opened,
                before,
                changes,
                plans,
                changes_environments,
            });
        }
        Ok((decided, intended))
    }
}

/// What a pusher reads about the rollouts of a push.
pub(super) struct StagingWords {
    /// What the push holds, by the name of the branch, to follow the line on its publication.
    pub(super) held: Vec<(Name, String)>,
    pub(super) lines: Vec<String>,
    /// The rollouts that a push with `-o wait` waits for.
    pub(super) opened: Vec<OpenedRollout>,
}

/// Describes the decisions about the rollouts of a push.
pub(super) fn describe(context: &PushContext, branches: &[OpenedBranch]) -> StagingWords {
    let mut words = StagingWords { held: Vec::new(), lines: Vec::new(), opened: Vec::new() };
    for branch in branches {
        let reader = RolloutReader::new(context, branch);
        with_lines(branch, &reader, |lines| {
            words.held.extend(lines.held().map(|held| (branch.branch.clone(), held)));
            words.lines.extend(lines.lines());
        });
        words.opened.extend(branch.opened.rollout.as_ref().map(|id| OpenedRollout {
            id: id.clone(),
            branch: branch.branch.to_string(),
            is_readable: reader.reads_all_of(branch),
        }));
    }
    words
}

/// The lines of a dry run.
pub(super) fn describe_rehearsal(context: &PushContext, branches: &[OpenedBranch]) -> Vec<String> {
    let mut told = Vec::new();
    for branch in branches {
        let reader = RolloutReader::new(context, branch);
        with_lines(branch, &reader, |lines| told.extend(lines.rehearsal()));
    }
    told
}

fn with_lines(
    branch: &OpenedBranch,
    reader: &RolloutReader<'_>,
    tell: impl FnOnce(&RolloutLines<'_>),
) {
    let any = Touched { application: OTHERS, profiles: &[] };
    let has_stages = !branch.plans.choose([any]).is_all_at_once();
    tell(&RolloutLines {
        branch: &branch.branch,
        before: &branch.before,
        opened: &branch.opened,
        headcount: &|application| branch.changes.headcount(application),
        is_visible: &|application| reader.reads(application),
        could_stage: branch.changes_environments && has_stages,
    });
}

/// The pusher as the reader of lines on rollouts.
struct RolloutReader<'a> {
    /// `None` without a policy. Everyone then reads everything.
    pusher: Option<&'a Pusher>,
    labels: Vec<Label>,
    changes: &'a [Change],
}

impl<'a> RolloutReader<'a> {
    fn new(context: &'a PushContext, branch: &'a OpenedBranch) -> Self {
        let head = context.repository.source.head_branch().unwrap_or_default();
        let labels = updates::labels(&branch.branch, &head);
        Self { pusher: context.pusher.as_ref(), labels, changes: &branch.changes.changes }
    }

    /// Returns true if the pusher may read an application, in one of the changed environments.
    fn reads(&self, application: &str) -> bool {
        let Some(pusher) = self.pusher else { return true };
        let change = self.changes.iter().find(|change| *change.application == *application);
        let profiles = change.map(|change| &change.profiles[..]).unwrap_or_default();
        let reads = |profiles: &str| {
            let query = Query {
                application: application.into(),
                profiles: profiles.into(),
                label: Label::Default,
            };
            pusher.identity.may_read_at(&self.labels, &query)
        };
        match profiles {
            [] => reads(DEFAULT_PROFILE),
            profiles => profiles.iter().any(|profiles| reads(profiles)),
        }
    }

    /// Returns true if the pusher may read every application of the opened rollout.
    fn reads_all_of(&self, branch: &OpenedBranch) -> bool {
        let next = branch.opened.next.as_ref().and_then(|next| next.branch(&branch.branch));
        let rollout = next.zip(branch.opened.rollout.as_ref());
        let Some(rollout) = rollout.and_then(|(next, id)| next.running(id)) else { return true };
        let is_of_everyone = rollout.members.contains_key(OTHERS);
        let reads_everyone = || self.pusher.is_none_or(Pusher::reads_all);
        (!is_of_everyone || reads_everyone()) && rollout.applications().all(|own| self.reads(own))
    }
}
