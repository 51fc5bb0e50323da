//! The hosted repository of the policy: who may use it, and the review of a push to it.
//!
//! Invariant: the tip of its default branch is a policy that could take effect when it was pushed. Other branches and
//! tags are drafts, which nothing reads.

use std::sync::Arc;

use super::authorization::Pusher;
use super::decision::PushContext;
use super::rejection::{Rejection, rejected};
use super::repository::HostedRepository;
use super::updates::Update;
use crate::access::{Operation, Permission, PolicyPreview, Resource};
use crate::source::git::{GitSource, Incoming};
use crate::tree::Tree;

/// The rejection of a push that was authenticated by another version of the policy, or of its issuers' keys.
const CHANGED: &str =
    "the policy has changed since this push began. Push again; the new policy decides about it";
/// The rejection while this server follows another policy than the repository has.
const NOT_IN_FORCE: &str = "the policy of the last push is not in force on this server yet. Push again; the fault \
     policy-unusable has the reason";
/// The last line for a pusher whose policy cannot take effect.
const UNUSABLE: &str = "push rejected, no branch was updated: the policy cannot take effect. Correct the lines above, \
     commit, and push again";

/// The policy that follows a hosted repository.
pub trait HostedPolicy: Send + Sync {
    /// Checks files as the next policy. Blocking.
    ///
    /// # Errors
    /// The problems for which they cannot take effect, one line each.
    fn review(&self, files: &CommitFiles) -> Result<PolicyPreview, Vec<String>>;

    /// Records that the audit trail has the line of a push, so that [`HostedPolicy::apply`] writes no second one.
    fn mark_recorded(&self, commit: &str);

    /// Puts the tip of the default branch in force. A fault reports a tip that cannot take effect. Blocking.
    fn apply(&self);

    /// Returns true if the policy in force is that of a commit.
    fn is_in_force(&self, commit: &str) -> bool;

    /// Reads the files of the tip again soon.
    fn read_again(&self);
}

/// The files of one commit of the repository.
#[derive(Clone)]
pub struct CommitFiles {
    commit: String,
    tree: Tree,
}

/// The repository as the policy reads it.
pub struct PolicyRepository {
    name: String,
    source: Arc<GitSource>,
}

impl CommitFiles {
    fn of(incoming: &Incoming, commit: &str) -> Result<Option<Self>, String> {
        let member = incoming.member(commit, "").map_err(|error| error.to_string())?;
        Ok(member.map(|member| Self { commit: commit.to_owned(), tree: member.tree }))
    }

    /// The full id of the commit.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Reads a file by its path.
    ///
    /// # Errors
    /// The reason, without any content.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let unreadable = |error: crate::tree::TreeError| error.to_string();
        let file = self.tree.file(path).map_err(unreadable)?;
        let file = file.ok_or_else(|| format!("the commit has no file {path}"))?;
        if self.tree.size(&file).map_err(unreadable)? > bytes_max {
            return Err(format!("{path} has more than {bytes_max} bytes"));
        }
        self.tree.bytes(&file).map_err(unreadable)
    }
}

impl PolicyRepository {
    pub(super) fn new(name: &str, source: &Arc<GitSource>) -> Self {
        Self { name: name.to_owned(), source: Arc::clone(source) }
    }

    /// The name of the repository.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The full id of the commit at the tip of the default branch.
    pub fn tip(&self) -> Option<String> {
        tip_of(&self.source)
    }

    /// The files at the tip of the default branch. `None` if the repository has no such branch. Blocking.
    ///
    /// # Errors
    /// The reason for which the repository cannot be read.
    pub fn files(&self) -> Result<Option<CommitFiles>, String> {
        let Some(tip) = self.tip() else { return Ok(None) };
        let incoming = self.source.incoming(Vec::new()).map_err(|error| error.to_string())?;
        CommitFiles::of(&incoming, &tip)
    }
}

/// The full id of the commit at the tip of the default branch.
fn tip_of(source: &GitSource) -> Option<String> {
    let head = source.head_branch()?;
    source.published(&format!("refs/heads/{head}"))
}

/// Rejects a push by a principal that may not change the policy in force, or on top of a policy that is not in force.
///
/// Locking: the push turn is held. No other push changes the policy between this decision and the end of the push, and a
/// replica has applied every push that etcd has.
pub(super) fn authorize(context: &PushContext, policy: &dyn HostedPolicy) -> Result<(), Rejection> {
    let Some(Pusher { guard, identity, .. }) = &context.pusher else {
        return Err(rejected("no policy has identified the pusher. Tell the operator").into());
    };
    let permission = identity.permission(Operation::ChangePolicy, Resource::Server);
    if permission != Permission::Allowed {
        guard.record_denied_object(identity, "change the policy", permission);
        let who = identity.name();
        return Err(
            rejected(&format!("{who} may not change the policy. Ask an administrator")).into()
        );
    }
    if !guard.is_current(identity) {
        return Err(rejected(CHANGED).into());
    }
    match tip_of(&context.repository.source) {
        Some(tip) if policy.is_in_force(&tip) => Ok(()),
        _ => Err(rejected(NOT_IN_FORCE).into()),
    }
}

/// The result of the review of one branch or tag.
pub(super) struct ReviewedPolicy {
    /// The commit, and what it changes. `None` for a draft, and for a policy that cannot take effect.
    pub(super) accepted: Option<(String, PolicyPreview)>,
    /// The lines for the pusher.
    pub(super) lines: Vec<String>,
    pub(super) is_rejected: bool,
}

/// Reviews the new content of a branch or tag. Blocking.
///
/// # Errors
/// The reason for which the objects of the push cannot be read.
pub(super) fn review(
    repository: &HostedRepository,
    policy: &dyn HostedPolicy,
    incoming: &Incoming,
    update: &Update,
) -> Result<ReviewedPolicy, String> {
    let head = repository.source.head_branch();
    let tip = update.new.as_deref().filter(|_| update.branch() == head.as_deref());
    let Some(tip) = tip.filter(|_| head.is_some()) else {
        let line = format!("{}: a draft, which the server does not read", update.shown());
        return Ok(ReviewedPolicy { accepted: None, lines: vec![line], is_rejected: false });
    };
    let files = CommitFiles::of(incoming, tip)?;
    let files = files.ok_or_else(|| "the commit is missing".to_owned())?;
    Ok(match policy.review(&files) {
        Ok(preview) => {
            let mut lines = preview.warnings.clone();
            lines.extend(preview.difference.iter().cloned());
            if preview.difference.is_empty() {
                lines.push("no principal gains or loses a right or a credential".to_owned());
            }
            let accepted = Some((tip.to_owned(), preview));
            ReviewedPolicy { accepted, lines, is_rejected: false }
        }
        Err(mut lines) => {
            lines.push(UNUSABLE.to_owned());
            ReviewedPolicy { accepted: None, lines, is_rejected: true }
        }
    })
}
