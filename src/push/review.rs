//! The review of a push: what its content would change, and whether the policy permits it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::authorization::{Pusher, ReportReader};
use super::earlier_commits::{EarlierCommits, EarlierCommitsError};
use super::policy::{Permission, PushPolicy};
use super::policy_repository::{self, HostedPolicy, ReviewedPolicy};
use super::rejection::rejected;
use super::repository::HostedRepository;
use super::rollouts::{StagedBranch, StagingError};
use super::updates::{self, Question, Update};
use super::waiting::BranchChange;
use crate::access::PolicyPreview;
use crate::check::{self, CheckPolicy, CheckReport, Enforcement, EnvironmentInUse, RunningBuilds};
use crate::model::{Label, Query};
use crate::snapshot::{Member, Snapshot};
use crate::source::SourceError;
use crate::source::git::{Incoming, MovedReference, Rewind};
use crate::tree::TreeError;

/// The reason to reject a branch that would lead to another object than a commit.
const NO_COMMIT_OF_BRANCH: &str = "a branch leads to a commit, and this object is none";

/// The most environments of builds without a connected instance that one review checks. Clients name them.
const IDLE_ENVIRONMENT_COUNT_MAX: usize = 256;

/// The result for one branch or tag. `None` if the push adds no content to it.
type Checked = Option<CheckedBranch>;

/// The result for one branch or tag with new content.
struct CheckedBranch {
    report: CheckReport,
    snapshot: Snapshot,
    staged: Option<StagedBranch>,
}

/// The results for the content of a push.
pub(super) struct Review {
    /// The lines for the pusher.
    pub(super) lines: Vec<String>,
    /// True if the policy rejects the push because of its content.
    pub(super) is_rejected: bool,
    pub(super) has_problems: bool,
    /// True if every check was done in time.
    pub(super) is_finished: bool,
    /// The snapshots that the checks have read. They are held until the push is published, so that the cache keeps
    /// their files and the store reads none of them again.
    pub(super) snapshots: Vec<Snapshot>,
    /// The labels that the push rewinds.
    pub(super) rewinds: Vec<Rewind>,
    /// The commit of the next policy, and what it changes. Only the repository of the policy has one.
    pub(super) policy: Option<(String, PolicyPreview)>,
    /// The environments that the push changes, for a push that waits for them.
    pub(super) changes: Vec<BranchChange>,
    /// What the push changes at each branch with rollouts.
    pub(super) staged: Vec<StagedBranch>,
    /// The heading of the first branch or tag, which is added once there is a second one.
    first_heading: Option<String>,
}

/// The reason for which a review ends without a result, as a line for the pusher.
#[derive(Debug, thiserror::Error)]
enum ReviewError {
    #[error("{0}")]
    Rejected(String),
    #[error(
        "push rejected, no branch was updated: the server cannot read the repository: {0}. Tell the operator"
    )]
    Source(#[from] SourceError),
    #[error(
        "push rejected, no branch was updated: the server cannot read the repository: {0}. Tell the operator"
    )]
    Tree(#[from] TreeError),
    #[error(
        "push rejected, no branch was updated: the server cannot read the repository: {0}. Tell the operator"
    )]
    EarlierCommits(#[from] EarlierCommitsError),
    #[error(
        "push rejected, no branch was updated: the server cannot read the repository: {0}. Tell the operator"
    )]
    Staging(#[from] StagingError),
}

impl ReviewError {
    fn rejected(name: &str, reason: &str) -> Self {
        Self::Rejected(rejected(&format!("{name}: {reason}")))
    }
}

/// Reviews the content of a push, on a blocking thread.
///
/// # Errors
/// The line for the pusher when the push is rejected before its content is checked.
pub(super) async fn review(
    repository: &Arc<HostedRepository>,
    policy: &Arc<PushPolicy>,
    pusher: Option<Pusher>,
    question: Question,
) -> Result<Review, String> {
    let (repository, policy) = (Arc::clone(repository), Arc::clone(policy));
    let reviewing = tokio::task::spawn_blocking(move || {
        let reviewer = Reviewer::new(repository, policy, pusher, question);
        reviewer.and_then(Reviewer::review).map_err(|error| error.to_string())
    });
    reviewing.await.unwrap_or_else(|_| {
        Err(rejected("the check failed because of a fault in the server. Tell the operator; its log has the details"))
    })
}

/// The content of a push and what it is reviewed against.
struct Reviewer {
    repository: Arc<HostedRepository>,
    policy: Arc<PushPolicy>,
    pusher: Option<Pusher>,
    updates: Vec<Update>,
    /// True if the pusher waits for the environments that the push changes.
    is_awaited: bool,
    incoming: Incoming,
    check_policy: CheckPolicy,
    builds: RunningBuilds,
}

impl Reviewer {
    fn new(
        repository: Arc<HostedRepository>,
        policy: Arc<PushPolicy>,
        pusher: Option<Pusher>,
        question: Question,
    ) -> Result<Self, ReviewError> {
        let incoming = repository.incoming(question.quarantine)?;
        // Options with an error have rejected the push before.
        let options = question.options.unwrap_or_default();
        let is_awaited = options.wait.is_some();
        let rollouts = repository.rollouts.as_ref();
        let plan_checks = rollouts.map(|own| own.settings.checks.clone());
        let check_policy = CheckPolicy {
            overrides: policy.overrides.clone(),
            keys: Arc::clone(&policy.keys),
            until: Some(Instant::now() + policy.check_max),
            are_contracts_overridden: options.ignores_contracts(),
            plan_checks: plan_checks.unwrap_or_default(),
            ..CheckPolicy::new(policy.strictness)
        };
        let builds = policy.builds.running();
        let updates = question.updates;
        Ok(Self { repository, policy, pusher, updates, is_awaited, incoming, check_policy, builds })
    }

    fn review(self) -> Result<Review, ReviewError> {
        let mut review = Review::new();
        for update in &self.updates {
            let Some(new) = &update.new else { continue };
            self.check_forced(update, new)?;
            self.check_kind(update, new)?;
            if let Some(policy) = &self.repository.hosted_policy {
                review.add_policy(self.review_policy(policy.as_ref(), update)?);
                continue;
            }
            let checked = match update.branch() {
                Some(branch) => self.check(update, branch, update.old.as_deref(), new)?,
                None => self.check_tag(update, new)?,
            };
            if let Some(CheckedBranch { report, snapshot, staged }) = checked {
                review.changes.extend(self.branch_change(update, &report));
                review.staged.extend(staged);
                review.add(&update.shown(), &report, self.policy.enforcement, snapshot);
            }
        }
        review.rewinds = self.rewinds()?;
        Ok(review)
    }

    /// Reviews a branch or tag of the repository with the policy. No setting accepts problems of a policy.
    fn review_policy(
        &self,
        policy: &dyn HostedPolicy,
        update: &Update,
    ) -> Result<ReviewedPolicy, ReviewError> {
        policy_repository::review(&self.repository, policy, &self.incoming, update)
            .map_err(|reason| ReviewError::rejected(&update.shown(), &reason))
    }

    /// Returns the environments that an awaited push changes at a branch.
    fn branch_change(&self, update: &Update, report: &CheckReport) -> Option<BranchChange> {
        let branch = update.branch().filter(|_| self.is_awaited)?;
        let head = self.repository.source.head_branch().unwrap_or_default();
        Some(BranchChange {
            reference: update.reference.clone(),
            labels: updates::labels(branch, &head),
            environments: report.changes.iter().map(|change| change.query.clone()).collect(),
            hidden_count: report.hidden.environments,
        })
    }

    /// Returns the labels that the push rewinds.
    fn rewinds(&self) -> Result<Vec<Rewind>, SourceError> {
        let source = &self.repository.source;
        let moves = self.updates.iter().map(Update::to_move).collect::<Vec<MovedReference>>();
        let record = source.rewind_record()?;
        self.incoming.rewinds(&moves, record.as_ref(), |name| source.published(name))
    }

    /// Rejects a move that is not permitted: a branch that does not follow its old commit, or a tag that moves.
    fn check_forced(&self, update: &Update, new: &str) -> Result<(), ReviewError> {
        let (Some(old), Permission::Denied) = (&update.old, self.policy.forcing) else {
            return Ok(());
        };
        if update.branch().is_none() {
            return Err(ReviewError::rejected(
                &update.shown(),
                "a tag stays where it is. Push under another name; the operator can set push.allow_force",
            ));
        }
        if self.incoming.follows(new, old)? {
            return Ok(());
        }
        Err(ReviewError::rejected(
            &update.shown(),
            "the new commit does not follow the one before it. Rebase onto it and push again; \
             the operator can set push.allow_force",
        ))
    }

    /// Rejects a branch that would not lead to a commit. Git would reject it as well, but too late for a message.
    fn check_kind(&self, update: &Update, new: &str) -> Result<(), ReviewError> {
        if update.branch().is_none() || self.incoming.commit(new)?.as_deref() == Some(new) {
            return Ok(());
        }
        Err(ReviewError::rejected(&update.shown(), NO_COMMIT_OF_BRANCH))
    }

    /// Checks the commit of a tag, because a tag is a label like a branch. A commit that a branch of this push contains
    /// is not checked: once the branch is published, a request can name that commit by its id anyway.
    fn check_tag(&self, update: &Update, new: &str) -> Result<Checked, ReviewError> {
        let name = update.shown();
        let Some(commit) = self.incoming.commit(new)? else {
            let reason = "a tag leads to a commit, and this object is none";
            return Err(ReviewError::rejected(&name, reason));
        };
        for branch in self.updates.iter().filter(|update| update.branch().is_some()) {
            if let Some(tip) = &branch.new
                && self.incoming.follows(tip, &commit)?
            {
                return Ok(None);
            }
        }
        let checked = self.check(update, &name, None, &commit)?;
        // The comparison with the branch of `HEAD` only limits the check to what differs. A tag changes no environment
        // of that branch, so that the report lists no changes.
        Ok(checked.map(|checked| CheckedBranch {
            report: CheckReport { is_compared: false, ..checked.report },
            ..checked
        }))
    }

    /// Checks a branch against its old commit, or a new branch against the branch of `HEAD`.
    fn check(
        &self,
        update: &Update,
        branch: &str,
        old: Option<&str>,
        new: &str,
    ) -> Result<Checked, ReviewError> {
        // A commit that a published branch or tag contains adds no content under a new name.
        if old.is_none() && self.repository.source.leads_to(new)? {
            return Ok(None);
        }
        let head = self.repository.source.head_branch().unwrap_or_default();
        let labels = updates::labels(branch, &head);
        let Some(member) = self.incoming.member(new, branch)? else {
            return Err(ReviewError::rejected(branch, NO_COMMIT_OF_BRANCH));
        };
        let mut old = self.old_snapshot(branch, old, &head, &labels)?;
        let mut snapshot = new_snapshot(member, old.as_ref());
        let areas = self.repository.store.areas();
        snapshot.set_areas(&areas);
        old.iter_mut().for_each(|old| old.set_areas(&areas));
        let builds = self.builds.at(&labels);
        let in_use = self.in_use(&labels, &snapshot, &builds)?;
        let audience =
            self.pusher.as_ref().and_then(|pusher| ReportReader::of(pusher, update, &head));
        let builds = Arc::new(builds);
        let check_policy = CheckPolicy { audience, builds, ..self.check_policy.clone() };
        let mut report = check::check(&snapshot, old.as_ref(), &in_use, &check_policy)?;
        if areas.exist() {
            let published: Vec<String> =
                self.repository.source.references().into_values().collect();
            let earlier = EarlierCommits {
                incoming: &self.incoming,
                published: &published,
                branch,
                tip: new,
                old: old.as_ref(),
            };
            let with_areas = |member| {
                let mut snapshot = new_snapshot(member, old.as_ref());
                snapshot.set_areas(&areas);
                snapshot
            };
            earlier.check(&check_policy, with_areas, &mut report)?;
        }
        let staged = match &old {
            Some(old) if !self.policy.enforcement.rejects(&report) => {
                self.stage(update, &labels, (old, &snapshot), &report)?
            }
            _ => None,
        };
        Ok(Some(CheckedBranch { report, snapshot, staged }))
    }

    /// Finds what the push changes for the rollouts of a branch.
    fn stage(
        &self,
        update: &Update,
        labels: &[Label],
        sides: (&Snapshot, &Snapshot),
        report: &CheckReport,
    ) -> Result<Option<StagedBranch>, StagingError> {
        let Some(rollouts) = &self.repository.rollouts else { return Ok(None) };
        let overrides = self.check_policy.overrides.as_ref();
        let staged = rollouts.stage(update, labels, sides, &self.incoming, overrides)?;
        let changes_environments = !report.changes.is_empty() || report.hidden.environments > 0;
        Ok(staged.map(|staged| StagedBranch { changes_environments, ..staged }))
    }

    /// Returns the snapshot that a branch is compared with: the served one if it has other sources as well, else the
    /// one of the old commit, or of the branch of `HEAD` for a new branch.
    fn old_snapshot(
        &self,
        branch: &str,
        old: Option<&str>,
        head: &str,
        labels: &[Label],
    ) -> Result<Option<Snapshot>, SourceError> {
        if let Some(served) = old.and_then(|old| self.served(labels, branch, old)) {
            return Ok(Some(Snapshot::clone(&served)));
        }
        let base = match old {
            Some(old) => Some(old.to_owned()),
            None => self.repository.source.published(&format!("refs/heads/{head}")),
        };
        match base {
            Some(base) => self.incoming.snapshot(&base, branch),
            None => Ok(None),
        }
    }

    /// Returns the served snapshot of this branch, if the branch is served together with other sources.
    fn served(&self, labels: &[Label], branch: &str, old: &str) -> Option<Arc<Snapshot>> {
        labels.iter().find_map(|label| {
            let served = self.repository.store.current_snapshot(label)?;
            let is_in = served.members.iter().any(|member| {
                member.layout == *self.incoming.layout()
                    && member.label.as_deref() == Some(branch)
                    && member.revision.as_str() == old
            });
            (is_in && served.members.len() > 1).then_some(served)
        })
    }

    /// Returns the environments that clients request under any label of this branch, the most watched first, and those of
    /// builds that do not run at the moment.
    fn in_use(
        &self,
        labels: &[Label],
        next: &Snapshot,
        builds: &RunningBuilds,
    ) -> Result<Vec<EnvironmentInUse>, TreeError> {
        let mut all: HashMap<Query, EnvironmentInUse> = HashMap::new();
        for label in labels {
            for mut in_use in self.repository.store.find_affected(label, next)? {
                // The branch of `HEAD` has two labels, its name and the default. An environment that clients request
                // under both is checked once, with the watchers of both.
                in_use.query.label = Label::Default;
                let watcher_count = in_use.watcher_count;
                let known = all.entry(in_use.query.clone());
                known.and_modify(|known| known.watcher_count += watcher_count).or_insert(in_use);
            }
        }
        for query in builds.protected().take(IDLE_ENVIRONMENT_COUNT_MAX) {
            let query = Query { label: Label::Default, ..query.clone() };
            let known = all.entry(query.clone());
            known.or_insert(EnvironmentInUse { query, watcher_count: 0 });
        }
        let mut all: Vec<EnvironmentInUse> = all.into_values().collect();
        all.sort_by(|a, b| {
            (b.watcher_count, &a.query.application, &a.query.profiles).cmp(&(
                a.watcher_count,
                &b.query.application,
                &b.query.profiles,
            ))
        });
        Ok(all)
    }
}

/// Puts the new content of a repository in place of the old one, beside the other sources of the old snapshot.
fn new_snapshot(member: Member, old: Option<&Snapshot>) -> Snapshot {
    let Some(old) = old.filter(|old| old.members.len() > 1) else {
        return Snapshot::new(vec![member]);
    };
    let mut members = old.members.clone();
    for place in &mut members {
        if place.layout == member.layout && place.label == member.label {
            let group = place.group;
            *place = Member { group, ..member.clone() };
        }
    }
    Snapshot::at(member.revision.clone(), members)
}

impl Review {
    fn new() -> Self {
        Self {
            lines: Vec::new(),
            first_heading: None,
            is_rejected: false,
            has_problems: false,
            is_finished: true,
            snapshots: Vec::new(),
            rewinds: Vec::new(),
            policy: None,
            changes: Vec::new(),
            staged: Vec::new(),
        }
    }

    fn add_policy(&mut self, reviewed: ReviewedPolicy) {
        self.is_rejected |= reviewed.is_rejected;
        self.lines.extend(reviewed.lines);
        self.policy = reviewed.accepted.or(self.policy.take());
    }

    /// Adds the lines for one branch or tag. The name is added once there is more than one.
    fn add(
        &mut self,
        name: &str,
        report: &CheckReport,
        enforcement: Enforcement,
        snapshot: Snapshot,
    ) {
        self.is_rejected |= enforcement.rejects(report);
        self.has_problems |= report.has_problems();
        self.is_finished &= report.is_finished();
        let heading = format!("{name}:");
        if self.snapshots.is_empty() {
            self.first_heading = Some(heading);
        } else {
            self.lines.splice(0..0, self.first_heading.take());
            self.lines.push(heading);
        }
        self.lines.extend(check::report_lines(report, enforcement));
        self.snapshots.push(snapshot);
    }
}
