//! The decision of the policy about a push: each branch and tag that it moves, and each path that its commits change.
//!
//! Invariant: the decision comes before every check that reads content. What it tells the pusher of a commit is in
//! commits that the pusher made, or may read.

use std::fmt;
use std::sync::Arc;

use super::rejection::{Rejection, rejected};
use super::repository::HostedRepository;
use super::updates::{self, Question, Update};
use crate::access::{Guard, Identity, Operation, Permission, ReferenceUpdate, Resource};
use crate::check::Audience;
use crate::model::{Label, Query};
use crate::source::SourceError;
use crate::source::git::{ChangedPath, ChangedPaths, Incoming};

/// The characters of a commit id that are shown.
const ID_SHOWN: usize = 7;
/// The characters of a path that are shown.
const PATH_SHOWN_MAX: usize = 200;

/// Authenticates the request of a push again, by the policy in force. Returns `None` for a credential that is not valid.
pub type Reauthentication = Arc<dyn Fn() -> Option<Arc<Identity>> + Send + Sync>;

/// A principal that pushes.
#[derive(Clone)]
pub struct Pusher {
    pub guard: Arc<Guard>,
    /// The identity by the policy in force when the push began, or when it was last authenticated again.
    pub identity: Arc<Identity>,
    pub reauthenticate: Reauthentication,
    /// True if the request comes from this machine. A policy that only records opens pushes no further.
    pub is_local: bool,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pusher({:?})", self.identity)
    }
}

impl Pusher {
    /// Returns true if no other policy has come into force and the credential has not expired.
    pub(super) fn is_current(&self) -> bool {
        self.guard.is_current(&self.identity)
    }

    /// Returns the pusher by the policy in force. A push can take minutes from its headers to its decision.
    ///
    /// # Errors
    /// The line for a pusher whose credential is not valid any more.
    pub(super) fn renewed(&self) -> Result<Self, String> {
        if self.is_current() {
            return Ok(self.clone());
        }
        let identity = (self.reauthenticate)();
        let identity = identity.ok_or_else(|| {
            rejected("your credential has been revoked or has expired since this push began")
        })?;
        Ok(Self { identity, ..self.clone() })
    }

    /// Returns true for a pusher that may read the whole repository.
    pub(super) fn may_clone(&self) -> bool {
        self.may(Operation::ReadRepository)
    }

    /// Returns true for a pusher that may read the whole repository, or lists of everything in it.
    pub(super) fn reads_all(&self) -> bool {
        self.may_clone() || self.may(Operation::ReadOverview)
    }

    fn may(&self, operation: Operation) -> bool {
        self.identity.permission(operation, Resource::Server) != Permission::Denied
    }

    /// Returns true if some push to this reference is allowed.
    pub(super) fn may_push_to(&self, reference: &str) -> bool {
        let update = ReferenceUpdate { reference, is_forced: false, is_deletion: false };
        self.identity.push_permission(update, None) != Permission::Denied
    }
}

/// Rejects a push that the policy does not allow.
///
/// # Errors
/// The lines for the pusher.
pub(super) async fn authorize(
    repository: &Arc<HostedRepository>,
    pusher: &Pusher,
    question: &Question,
) -> Result<(), Rejection> {
    let (repository, pusher) = (Arc::clone(repository), pusher.clone());
    let question = question.clone();
    let deciding = tokio::task::spawn_blocking(move || {
        let incoming = repository.incoming(question.quarantine.clone())?;
        let updates = &question.updates;
        Authorization { repository: &repository, pusher: &pusher, incoming, updates }.decide()
    });
    match deciding.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(AuthorizationError::Denied(reason))) => Err(rejected(&reason).into()),
        Ok(Err(AuthorizationError::Source(error))) => {
            let reason = format!("the server cannot read the repository: {error}");
            Err(rejected(&format!("{reason}. Tell the operator")).into())
        }
        Err(_) => Err(rejected(
            "the decision about it failed because of a fault in the server. Tell the operator; its log has the details",
        )
        .into()),
    }
}

/// The reason for which a push is not allowed.
enum AuthorizationError {
    /// The sentence for the pusher.
    Denied(String),
    Source(SourceError),
}

impl From<SourceError> for AuthorizationError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

struct Authorization<'a> {
    repository: &'a HostedRepository,
    pusher: &'a Pusher,
    incoming: Incoming,
    updates: &'a [Update],
}

impl Authorization<'_> {
    fn decide(&self) -> Result<(), AuthorizationError> {
        for update in self.updates {
            let tip = match &update.new {
                Some(new) => self.incoming.commit(new)?,
                None => None,
            };
            let old = match &update.old {
                Some(old) => self.incoming.commit(old)?,
                None => None,
            };
            let asked = ReferenceUpdate {
                reference: &update.reference,
                is_forced: self.is_forced(update, tip.as_deref(), old.as_deref())?,
                is_deletion: update.new.is_none(),
            };
            self.reference(update, asked)?;
            // An object that is no commit is rejected by the check of its kind.
            if let Some(tip) = tip.filter(|_| !self.pusher.identity.may_push_every_path(asked)) {
                self.paths(update, asked, &tip, old)?;
            }
        }
        Ok(())
    }

    /// Returns true if the update leaves commits behind, or moves a tag.
    fn is_forced(
        &self,
        update: &Update,
        tip: Option<&str>,
        old: Option<&str>,
    ) -> Result<bool, SourceError> {
        match (update.branch(), tip, old) {
            (None, Some(_), _) => Ok(update.old.is_some()),
            (Some(_), Some(tip), Some(old)) => Ok(!self.incoming.follows(tip, old)?),
            _ => Ok(false),
        }
    }

    fn reference(
        &self,
        update: &Update,
        asked: ReferenceUpdate<'_>,
    ) -> Result<(), AuthorizationError> {
        let act = match (asked.is_deletion, asked.is_forced, update.old.is_some()) {
            (true, ..) => "delete",
            (_, true, _) => "force-push",
            (.., true) => "push to",
            _ => "create",
        };
        let (who, name) = (self.pusher.identity.name(), update.shown());
        if self.is_permitted(asked, None, &format!("{act} {name}")) {
            return Ok(());
        }
        Err(AuthorizationError::Denied(format!(
            "{who} may not {act} {name}. Push to another branch; the operator can add a rule to the policy"
        )))
    }

    fn paths(
        &self,
        update: &Update,
        asked: ReferenceUpdate<'_>,
        tip: &str,
        old: Option<String>,
    ) -> Result<(), AuthorizationError> {
        let published: Vec<String> = self.repository.source.references().into_values().collect();
        let known = match &old {
            Some(old) => vec![old.clone()],
            None => published.clone(),
        };
        let name = update.shown();
        let (old, is_forced) = (old.as_deref(), asked.is_forced);
        let compared = self.incoming.changed_paths(tip, &known, old, is_forced, &published)?;
        let changed = match compared {
            ChangedPaths::All(changed) => changed,
            ChangedPaths::TooManyCommits(max) => {
                return Err(too_large(&name, max, "commits"));
            }
            ChangedPaths::TooManyPaths(max) => return Err(too_large(&name, max, "changed files")),
        };
        for change in &changed {
            let path = String::from_utf8_lossy(&change.path);
            if !self.is_permitted(asked, Some(&path), &format!("push {path} to {name}")) {
                let label = Label::Named(name.as_str().into());
                return Err(AuthorizationError::Denied(
                    self.sentence(change, &path, &name, &label),
                ));
            }
        }
        Ok(())
    }

    /// Decides about an update, and records it if the policy denies it.
    fn is_permitted(&self, asked: ReferenceUpdate<'_>, path: Option<&str>, object: &str) -> bool {
        let Pusher { guard, identity, is_local, .. } = self.pusher;
        let permission = match identity.push_permission(asked, path) {
            Permission::WouldDeny if !is_local => Permission::Denied,
            permission => permission,
        };
        if permission != Permission::Allowed {
            guard.record_denied_object(identity, object, permission);
        }
        permission != Permission::Denied
    }

    /// Names the commit and the path. A path that the pusher did not write and may not read is not named.
    fn sentence(&self, change: &ChangedPath, path: &str, name: &str, label: &Label) -> String {
        let identity = &self.pusher.identity;
        let commit = &change.commit[..ID_SHOWN.min(change.commit.len())];
        let verb = if change.is_deleted { "deletes" } else { "changes" };
        let may_clone = identity.permission(Operation::ReadRepository, Resource::Server);
        let is_shown = change.is_new && !change.is_deleted
            || may_clone == Permission::Allowed
            || identity.file_permission(label, path) == Permission::Allowed;
        let what = if is_shown { shown(path) } else { "a file".to_owned() };
        let who = identity.name();
        format!(
            "commit {commit} {verb} {what}, which {who} may not push to {name}. Remove the change from that commit, and \
             push again; the operator can add a rule to the policy"
        )
    }
}

fn too_large(name: &str, max: usize, noun: &str) -> AuthorizationError {
    AuthorizationError::Denied(format!(
        "{name}: the push has more than {max} {noun}, which cannot all be compared with the policy. Push fewer commits at \
         a time; a principal with a rule for all files can push them together"
    ))
}

/// A path for a message, shortened and escaped.
fn shown(path: &str) -> String {
    path.chars().take(PATH_SHOWN_MAX).flat_map(char::escape_debug).collect()
}

/// A pusher as the reader of the report on one branch or tag.
#[derive(Debug)]
pub(super) struct ReportReader {
    pusher: Pusher,
    reference: String,
    labels: Vec<Label>,
}

impl ReportReader {
    /// The reader of a report. `None` for a pusher that may read everything.
    pub(super) fn of(pusher: &Pusher, update: &Update, head: &str) -> Option<Arc<dyn Audience>> {
        if pusher.reads_all() {
            return None;
        }
        let name = updates::short(&update.reference).unwrap_or(&update.reference);
        Some(Arc::new(Self {
            pusher: pusher.clone(),
            reference: update.reference.clone(),
            labels: updates::labels(name, head),
        }))
    }
}

impl Audience for ReportReader {
    fn reads_environment(&self, query: &Query) -> bool {
        self.pusher.identity.may_read_at(&self.labels, query)
    }

    fn reads_file(&self, path: &str) -> bool {
        let update =
            ReferenceUpdate { reference: &self.reference, is_forced: false, is_deletion: false };
        let identity = &self.pusher.identity;
        identity.push_permission(update, Some(path)) != Permission::Denied
            || self
                .labels
                .iter()
                .any(|label| identity.file_permission(label, path) != Permission::Denied)
    }
}
