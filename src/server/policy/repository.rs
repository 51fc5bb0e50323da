//! A policy in a hosted repository.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use super::file;
use super::{PolicyDirectory, PolicyFiles, PolicyFollowers, READ_AGAIN_AFTER, give_way};
use crate::access::{
    Guard, JWKS_BYTES_MAX, KeySource, POLICY_BYTES_MAX, PolicyChange, PolicyPreview, check_keys,
};
use crate::audit::Audit;
use crate::http::{KeyFiles, KeyRequests};
use crate::push::{CommitFiles, HostedPolicy, PolicyRepository};
use crate::server::StartError;
use crate::settings::AccessSettings;
use crate::store::Store;
use crate::sync::lock;

/// The interval between two attempts to put the tip in force.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The largest file of certificate authorities, in bytes.
const CA_BYTES_MAX: u64 = 1024 * 1024;
/// The reason while the repository has no commit.
const EMPTY: &str = "the repository has no commit on its default branch";

/// The policy of a hosted repository.
pub(in crate::server) struct RepositoryPolicy {
    repository: PolicyRepository,
    /// The path of the policy in the repository.
    path: String,
    followers: PolicyFollowers,
    /// The reason for which the seed makes no first commit.
    seed_problem: Option<String>,
    /// The secrets whose access the policy limits.
    secret_files: Option<Weak<dyn KeyFiles>>,
    /// Locking: held while the tip is read and put in force.
    applying: Mutex<()>,
    state: Mutex<State>,
    changed: Sender<()>,
}

#[derive(Default)]
struct State {
    /// The commit of the policy in force.
    in_force: Option<CommitFiles>,
    /// The commit that a push has recorded in the audit trail and that is not in force yet.
    recorded: Option<String>,
}

impl RepositoryPolicy {
    /// Prepares to follow the repository. [`RepositoryPolicy::start`] puts its policy in force.
    pub(in crate::server) fn new(
        repository: PolicyRepository,
        access: &AccessSettings,
        guard: &Arc<Guard>,
        audit: Option<&Arc<Audit>>,
        store: &Arc<Store>,
        secret_files: Option<&Arc<dyn KeyFiles>>,
        seed_problem: Option<String>,
    ) -> Arc<Self> {
        let (changed, changes) = channel();
        let followers = PolicyFollowers {
            guard: Arc::clone(guard),
            audit: audit.cloned(),
            store: Arc::clone(store),
            key_requests: OnceLock::new(),
        };
        let policy = Arc::new(Self {
            repository,
            path: access.policy_path.clone(),
            followers,
            seed_problem,
            secret_files: secret_files.map(Arc::downgrade),
            applying: Mutex::default(),
            state: Mutex::default(),
            changed,
        });
        let follower = Arc::downgrade(&policy);
        std::thread::spawn(move || follow(&follower, &changes));
        policy
    }

    /// Puts the policy of the tip in force, before anything is served.
    ///
    /// # Errors
    /// When the repository has no policy that can take effect.
    pub(in crate::server) fn start(&self) -> Result<(), StartError> {
        let _applying = lock(&self.applying);
        self.put_first_in_force().map_err(|reason| StartError::Policy {
            repository: self.repository.name().to_owned(),
            reason,
        })?;
        tracing::info!(digest = self.followers.guard.digest(), "policy in force");
        self.read_secrets_again();
        Ok(())
    }

    /// Sets the readers of keys with a URL, which a change of the policy wakes.
    pub(in crate::server) fn set_key_requests(&self, requests: Arc<KeyRequests>) {
        // The server sets it once.
        let _ = self.followers.key_requests.set(requests);
    }

    fn put_first_in_force(&self) -> Result<(), String> {
        let files = self.repository.files()?.ok_or_else(|| match &self.seed_problem {
            Some(problem) => format!("{EMPTY}, and access.policy_seed cannot be used: {problem}"),
            None => format!(
                "{EMPTY}. Name a directory with {} in access.policy_seed; if replicas share the \
                 repository, check that etcd is reachable",
                self.path
            ),
        })?;
        let text = self.read_text(&files)?;
        let guard = &self.followers.guard;
        // The start of the server records the first policy.
        let replaced = guard.replace(&self.path, &text, |_| Ok(()), |_| {});
        replaced.map_err(|error| {
            format!("the policy cannot take effect. Correct these lines:\n{error}")
        })?;
        self.followers.store.replace_areas(guard.areas());
        lock(&self.state).in_force = Some(files);
        Ok(())
    }

    fn read_text(&self, files: &CommitFiles) -> Result<Vec<u8>, String> {
        files.read(&self.path, POLICY_BYTES_MAX as u64)
    }

    /// Puts the tip in force. Returns true if that changed the policy.
    fn apply_tip(&self) -> Result<bool, String> {
        let files = self.repository.files()?.ok_or(EMPTY)?;
        let text = self.read_text(&files)?;
        let is_recorded = lock(&self.state).recorded.as_deref() == Some(files.commit());
        let permit = |change: &PolicyChange<'_>| {
            if is_recorded { Ok(()) } else { self.followers.record(change) }
        };
        let is_new = self.followers.replace(&self.path, &text, permit)?;
        let mut state = lock(&self.state);
        // The line was that of one change. When the reference comes back to the commit, that is another one. A push whose
        // commit is not the one in force now has failed, and a later one needs its own line.
        state.recorded.take_if(|recorded| is_new || recorded == files.commit());
        state.in_force = Some(files);
        Ok(is_new)
    }

    /// Returns true if the policy of the tip is in force.
    fn follows_tip(&self) -> bool {
        self.repository.tip().is_some_and(|tip| self.is_in_force(&tip))
    }

    fn read_secrets_again(&self) {
        if let Some(files) = self.secret_files.as_ref().and_then(Weak::upgrade) {
            files.read_again();
        }
    }
}

/// Checks a text and the files that it names as the next policy.
///
/// # Errors
/// The problems, one line each.
fn review(
    guard: &Guard,
    path: &str,
    text: &[u8],
    files: &dyn PolicyFiles,
) -> Result<PolicyPreview, Vec<String>> {
    let preview = guard
        .preview(path, text)
        .map_err(|error| error.to_string().lines().map(str::to_owned).collect::<Vec<_>>())?;
    let problems = preview.key_sources.iter().filter_map(|source| {
        let (key, checked) = match source {
            KeySource::File(name) => {
                let keys = files.read(name, JWKS_BYTES_MAX as u64);
                ("jwks_file", keys.and_then(|document| check_keys(&document)))
            }
            KeySource::Url { ca_file, .. } => {
                let name = ca_file.as_ref()?;
                ("ca_file", files.read(name, CA_BYTES_MAX).map(drop))
            }
        };
        checked.err().map(|reason| format!("{path}: {key}: {reason}"))
    });
    let problems: Vec<String> = problems.collect();
    if problems.is_empty() { Ok(preview) } else { Err(problems) }
}

/// Returns the directory of the first policy.
///
/// # Errors
/// The reason for which it must not become the first commit.
pub(in crate::server) fn check_seed(
    access: &AccessSettings,
    guard: Option<&Arc<Guard>>,
) -> Result<Option<PathBuf>, String> {
    let Some((directory, guard)) = access.policy_seed.as_ref().zip(guard) else { return Ok(None) };
    let files = PolicyDirectory(directory.clone());
    let path = &access.policy_path;
    let text = file::read(&files.path(path)).map_err(|reason| format!("{path}: {reason}"))?;
    review(guard, path, &text, &files).map_err(|problems| problems.join("\n"))?;
    Ok(Some(directory.clone()))
}

impl PolicyFiles for CommitFiles {
    fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        Self::read(self, name, bytes_max)
    }
}

impl HostedPolicy for RepositoryPolicy {
    fn review(&self, files: &CommitFiles) -> Result<PolicyPreview, Vec<String>> {
        let text = self.read_text(files).map_err(|reason| vec![reason])?;
        review(&self.followers.guard, &self.path, &text, files)
    }

    fn mark_recorded(&self, commit: &str) {
        lock(&self.state).recorded = Some(commit.to_owned());
    }

    fn apply(&self) {
        let _applying = lock(&self.applying);
        if lock(&self.state).in_force.is_none() {
            // The start of the server reads the tip once the repository has what etcd has.
            return;
        }
        match self.apply_tip() {
            Ok(is_new) => {
                if is_new {
                    self.followers.follow();
                    self.read_secrets_again();
                }
                self.followers.report_usable();
            }
            Err(reason) => self.followers.report_unusable(&reason),
        }
        self.followers.read_named(self);
    }

    fn is_in_force(&self, commit: &str) -> bool {
        lock(&self.state).in_force.as_ref().is_some_and(|files| files.commit() == commit)
    }

    fn read_again(&self) {
        // The thread that receives ends after this.
        let _ = self.changed.send(());
        if let Some(requests) = self.followers.key_requests.get() {
            requests.request_all();
        }
    }
}

impl PolicyFiles for RepositoryPolicy {
    /// Reads a file of the commit in force.
    fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let files = lock(&self.state).in_force.clone();
        files.ok_or_else(|| EMPTY.to_owned())?.read(name, bytes_max)
    }
}

/// Applies the tip again at intervals, because a token can expire, and an attempt of a push can have failed.
fn follow(policy: &Weak<RepositoryPolicy>, changes: &Receiver<()>) {
    give_way();
    loop {
        let Some(now) = policy.upgrade() else { return };
        let pause = if now.follows_tip() { READ_AGAIN_AFTER } else { RETRY_AFTER };
        drop(now);
        match changes.recv_timeout(pause) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(policy) = policy.upgrade() {
            policy.apply();
        }
    }
}
