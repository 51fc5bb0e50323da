//! The policy in force: read at the start and again when it changes, completely or not at all.
//!
//! It comes from a file beside the settings (`file`) or from a hosted repository (`repository`).

mod file;
mod repository;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;

use super::{StartError, audit, jwks};
use crate::access::{Guard, JWKS_BYTES_MAX, KeySource, PolicyChange};
use crate::audit::Audit;
use crate::faults::{Expiry, ExpiryKind, FaultKind, Faults};
use crate::http::{Http, KeyRefresh, KeyRequests};
use crate::push::{HostedPolicy, Hosts};
use crate::regular_file;
use crate::settings::Settings;
use crate::store::Store;

use self::file::FileFollowing;
pub(super) use self::repository::{RepositoryPolicy, check_seed};

/// The interval between two reads if nothing reports a change.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The time from the decisions of a new policy to the files that only the new policy permits.
const OPENED_AFTER: Duration = Duration::from_millis(200);
/// The object of a fault of the policy.
const OBJECT: &str = "the policy of the server";

/// Reads the policy file of the settings. A policy in a hosted repository allows nothing until the repository is read.
pub(super) fn load(settings: &Settings) -> Result<Option<Arc<Guard>>, StartError> {
    let default_label = common_default_label(settings);
    if settings.access.policy_repository().is_some() {
        return Ok(Some(Arc::new(Guard::closed(default_label))));
    }
    let path = settings.access.policy_file.as_deref();
    path.map(|path| file::load(path, default_label).map(Arc::new)).transpose()
}

/// Lets the threads that answer requests go first. A thread that follows the policy calls this once, because reading a large
/// policy takes many milliseconds, and a request that waited for the rest of its time slice would take as long.
fn give_way() {
    /// A quarter of the weight of other threads, so that a busy server still reads a new policy soon.
    const NICENESS: i32 = 5;
    // Linux sets the priority of the calling thread. A thread with the usual priority does the same work.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// The files that a policy names: key sets, and certificate authorities.
pub(super) trait PolicyFiles: Send + Sync {
    /// Reads a file. Blocking.
    ///
    /// # Errors
    /// The reason, without any content.
    fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, String>;
}

/// The directory of a policy file, to which the names in it are relative.
pub(super) struct PolicyDirectory(PathBuf);

impl PolicyDirectory {
    pub(super) fn of(policy: &Path) -> Self {
        Self(policy.parent().unwrap_or(Path::new("")).to_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl PolicyFiles for PolicyDirectory {
    fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        regular_file::read(&self.path(name), bytes_max).map_err(|error| error.to_string())
    }
}

/// Reads the keys that the first policy names.
pub(super) fn read_first_keys(
    settings: &Settings,
    guard: Option<&Arc<Guard>>,
    hosted: Option<Arc<RepositoryPolicy>>,
    store: &Arc<Store>,
    runtime: &Handle,
) -> KeyRefresh {
    let Some(guard) = guard else { return KeyRefresh::default() };
    let file = settings.access.policy_file.as_deref();
    let files: Arc<dyn PolicyFiles> = match (&hosted, file) {
        (Some(policy), _) => Arc::clone(policy) as Arc<_>,
        (None, file) => Arc::new(PolicyDirectory::of(file.unwrap_or(Path::new("")))),
    };
    let refresh = read_keys(&files, guard, &store.faults, runtime);
    if let Some(policy) = hosted {
        policy.set_key_requests(refresh.requests());
    }
    refresh
}

/// Reads the keys of the policy's issuers, and continues to read those with a URL.
fn read_keys(
    files: &Arc<dyn PolicyFiles>,
    guard: &Arc<Guard>,
    faults: &Arc<Faults>,
    runtime: &Handle,
) -> KeyRefresh {
    read_key_files(guard, files.as_ref(), faults);
    report_expiries(guard, faults);
    jwks::start(guard, Arc::clone(files), Arc::clone(faults), runtime)
}

/// Reads the key sets that are files. The keys that were read last stay in force for a file that cannot be used.
fn read_key_files(guard: &Guard, files: &dyn PolicyFiles, faults: &Faults) {
    for issuer in guard.issuers() {
        let KeySource::File(file) = &issuer.source else { continue };
        let replaced = files.read(file, JWKS_BYTES_MAX as u64).and_then(|document| {
            let replaced = guard.replace_keys(&issuer.source, &document);
            replaced.map_err(|error| error.to_string())
        });
        let (name, object) = (&issuer.name, jwks::object(&issuer.name));
        match replaced {
            Ok(is_new) => {
                if is_new {
                    tracing::info!(issuer = name, "keys of an issuer in force");
                }
                faults.end(FaultKind::JwksUnreachable, &object);
            }
            Err(reason) => {
                let reason = format!("jwks_file: {reason}");
                faults.begin(FaultKind::JwksUnreachable, &object, &reason);
            }
        }
    }
}

/// Reports the tokens that expire soon or have expired.
fn report_expiries(guard: &Guard, faults: &Faults) {
    let expiries = guard.expiring_tokens().into_iter().map(|token| Expiry {
        kind: ExpiryKind::Token,
        object: format!("the token {}… of {}", token.digest, token.principal),
        principal: token.principal,
        at: token.expires,
    });
    faults.replace_expiries(ExpiryKind::Token, expiries.collect());
}

/// Ends the faults of issuers that the policy does not name any more.
fn forget_removed_issuers(guard: &Guard, faults: &Faults) {
    let named: Vec<String> =
        guard.issuers().iter().map(|issuer| jwks::object(&issuer.name)).collect();
    for fault in faults.list() {
        if fault.kind == FaultKind::JwksUnreachable && !named.contains(&fault.object) {
            faults.end(FaultKind::JwksUnreachable, &fault.object);
        }
    }
}

/// The default label that all sources name. The branch of `HEAD` is not known here.
fn common_default_label(settings: &Settings) -> Option<&str> {
    let mut labels = settings.sources.iter().map(|source| source.default_label.as_deref());
    let first = labels.next()??;
    labels.all(|label| label == Some(first)).then_some(first)
}

/// The parts of a server that follow its policy.
struct PolicyFollowers {
    guard: Arc<Guard>,
    audit: Option<Arc<Audit>>,
    store: Arc<Store>,
    /// Read the keys of issuers with a URL. Absent before the first policy is in force.
    key_requests: OnceLock<Arc<KeyRequests>>,
}

impl PolicyFollowers {
    /// Replaces the policy in force. Returns false if the text is that of the policy in force.
    ///
    /// # Errors
    /// The reason for which the text cannot take effect.
    fn replace(
        &self,
        file: &str,
        text: &[u8],
        permit: impl FnOnce(&PolicyChange<'_>) -> Result<(), String>,
    ) -> Result<bool, String> {
        let narrow = |areas| self.store.narrow_areas(&areas);
        let replaced = self.guard.replace(file, text, permit, narrow);
        replaced.map_err(|error| error.to_string())
    }

    /// Brings everything to a policy that has just replaced another one.
    fn follow(&self) {
        self.open_areas();
        tracing::info!(digest = self.guard.digest(), "policy in force");
        if let Some(requests) = self.key_requests.get() {
            requests.update();
        }
        forget_removed_issuers(&self.guard, &self.store.faults);
    }

    /// Opens the files that the policy in force permits in addition to those of the previous one.
    fn open_areas(&self) {
        let areas = self.guard.areas();
        if !self.store.areas().are_same(&areas) {
            // A request that the previous policy has allowed may not have read its answer yet.
            std::thread::sleep(OPENED_AFTER);
        }
        self.store.replace_areas(areas);
    }

    /// Records the change before it takes effect.
    fn record(&self, change: &PolicyChange<'_>) -> Result<(), String> {
        audit::record_policy_change(self.audit.as_ref(), change)
    }

    /// Reads what the policy in force names, and reports what expires soon.
    fn read_named(&self, files: &dyn PolicyFiles) {
        read_key_files(&self.guard, files, &self.store.faults);
        report_expiries(&self.guard, &self.store.faults);
    }

    fn report_unusable(&self, reason: &str) {
        if !self.store.faults.contains(FaultKind::PolicyUnusable, OBJECT) {
            audit::record_rejected_policy(self.audit.as_ref(), reason);
            tracing::error!(
                reason,
                "the policy was not read again: the previous one stays in force"
            );
        }
        self.store.faults.begin(FaultKind::PolicyUnusable, OBJECT, reason);
    }

    fn report_usable(&self) {
        self.store.faults.end(FaultKind::PolicyUnusable, OBJECT);
    }
}

/// A policy that follows its place.
pub(super) enum Following {
    File(FileFollowing),
    Repository(Arc<dyn HostedPolicy>),
}

impl Following {
    /// Reads the files and the keys of all issuers soon, whether a change was noticed or not.
    pub(super) fn read_again(&self) {
        match self {
            Self::File(following) => following.read_again(),
            Self::Repository(policy) => policy.read_again(),
        }
    }
}

/// Follows the place of the policy in force.
pub(super) fn follow(
    settings: &Settings,
    http: &Http,
    replaced: impl Fn() + Send + 'static,
) -> Result<Option<Following>, StartError> {
    if let Some(policy) = http.hosts.as_ref().and_then(Hosts::policy) {
        return Ok(Some(Following::Repository(Arc::clone(policy))));
    }
    let policy = settings.access.policy_file.as_deref().zip(http.guard.as_ref());
    let policy = policy.map(|(path, guard)| {
        let (guard, audit) = (Arc::clone(guard), http.audit.clone());
        let (store, key_requests) = (Arc::clone(&http.store), http.key_refresh.requests());
        FileFollowing::new(path, guard, audit, store, key_requests, replaced)
    });
    Ok(policy.transpose()?.map(Following::File))
}
