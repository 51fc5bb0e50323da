//! The policy file: read at the start and again when it changes, completely or not at all.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::file_watch::{FileChanges, FileWatch, Wait};
use super::{StartError, audit, jwks};
use crate::access::{Guard, JWKS_BYTES_MAX, KeySource, PolicyChange};
use crate::audit::Audit;
use crate::faults::{Expiry, ExpiryKind, FaultKind, Faults};
use crate::http::{KeyRefresh, KeyRequests};
use crate::regular_file;
use crate::settings::Settings;
use crate::store::Store;

/// The largest policy file, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The permissions that would let another user than the owner change the policy.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The interval between two reads if the system reports no changes, as on a network file system.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The time from the decisions of a new policy to the files that only the new policy permits.
const OPENED_AFTER: Duration = Duration::from_millis(200);
/// The object of a fault of the policy.
const OBJECT: &str = "the policy of the server";

/// Reads the policy of the settings, if there is one.
pub(super) fn load(settings: &Settings) -> Result<Option<Arc<Guard>>, StartError> {
    let Some(path) = settings.access.policy_file.as_deref() else {
        return Ok(None);
    };
    let fault = |reason| StartError::File { what: "policy file", path: path.to_owned(), reason };
    let text = read(path).map_err(fault)?;
    let default_label = common_default_label(settings);
    let guard = Guard::new(&name(path), &text, default_label);
    let guard = guard.map_err(|error| {
        fault(format!("the policy cannot take effect. Correct these lines:\n{error}"))
    })?;
    tracing::info!(digest = guard.digest(), "policy in force");
    Ok(Some(Arc::new(guard)))
}

/// Reads the keys of the policy's issuers, and continues to read those with a URL.
pub(super) fn read_keys(
    path: &Path,
    guard: &Arc<Guard>,
    faults: &Arc<Faults>,
    runtime: &Handle,
) -> KeyRefresh {
    let directory = directory(path);
    read_key_files(guard, directory, faults);
    report_expiries(guard, faults);
    jwks::start(guard, directory.to_owned(), Arc::clone(faults), runtime)
}

/// Reads the key sets that are files. The keys that were read last stay in force for a file that cannot be used.
fn read_key_files(guard: &Guard, directory: &Path, faults: &Faults) {
    for issuer in guard.issuers() {
        let KeySource::File(file) = &issuer.source else { continue };
        let document = regular_file::read(&directory.join(file), JWKS_BYTES_MAX as u64);
        let replaced = document.map_err(|error| error.to_string()).and_then(|document| {
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

/// The directory to which the file names of a policy are relative.
fn directory(policy: &Path) -> &Path {
    policy.parent().unwrap_or(Path::new(""))
}

/// The default label that all sources name. The branch of `HEAD` is not known here.
fn common_default_label(settings: &Settings) -> Option<&str> {
    let mut labels = settings.sources.iter().map(|source| source.default_label.as_deref());
    let first = labels.next()??;
    labels.all(|label| label == Some(first)).then_some(first)
}

/// A policy that follows its file and the key sets that are files. The watch ends when this is dropped.
pub(super) struct Following {
    watch: Arc<FileWatch>,
    key_requests: Arc<KeyRequests>,
}

impl Following {
    /// Follows the file of the policy in force.
    pub(super) fn new(
        path: &Path,
        guard: Arc<Guard>,
        audit: Option<Arc<Audit>>,
        store: Arc<Store>,
        key_requests: Arc<KeyRequests>,
        replaced: impl Fn() + Send + 'static,
    ) -> Result<Self, StartError> {
        let (watch, changes) = FileWatch::new(&[path]).map_err(|error| StartError::File {
            what: "policy file",
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let watch = Arc::new(watch);
        let follower = Follower {
            path: path.to_owned(),
            guard,
            audit,
            store,
            key_requests: Arc::clone(&key_requests),
            watch: Arc::downgrade(&watch),
            replaced: Box::new(replaced),
        };
        std::thread::spawn(move || follower.follow(&changes));
        // The file may have changed between the first read and the watch.
        watch.read_again();
        Ok(Self { watch, key_requests })
    }

    /// Reads the files and the keys of all issuers soon, whether a change was noticed or not.
    pub(super) fn read_again(&self) {
        self.watch.read_again();
        self.key_requests.request_all();
    }
}

struct Follower {
    path: PathBuf,
    guard: Arc<Guard>,
    audit: Option<Arc<Audit>>,
    store: Arc<Store>,
    /// Read the keys of issuers with a URL.
    key_requests: Arc<KeyRequests>,
    watch: Weak<FileWatch>,
    /// Called after another policy is in force.
    replaced: Box<dyn Fn() + Send>,
}

impl Follower {
    fn follow(&self, changes: &FileChanges) {
        while changes.wait(READ_AGAIN_AFTER) != Wait::Ended {
            let replaced = read(&self.path).and_then(|text| {
                let permit = |change: &PolicyChange<'_>| {
                    audit::record_policy_change(self.audit.as_ref(), change)
                };
                let narrow = |areas| self.store.narrow_areas(&areas);
                let replaced = self.guard.replace(&name(&self.path), &text, permit, narrow);
                replaced.map_err(|error| error.to_string())
            });
            match replaced {
                Ok(is_new) => {
                    if is_new {
                        self.open_areas();
                        tracing::info!(digest = self.guard.digest(), "policy in force");
                        self.key_requests.update();
                        (self.replaced)();
                        forget_removed_issuers(&self.guard, &self.store.faults);
                    }
                    self.store.faults.end(FaultKind::PolicyUnusable, OBJECT);
                }
                Err(reason) => self.report(&reason),
            }
            self.watch_key_files();
            read_key_files(&self.guard, directory(&self.path), &self.store.faults);
            report_expiries(&self.guard, &self.store.faults);
        }
    }

    /// Watches the directories of the key sets that are files. Without a watch they are read every minute.
    fn watch_key_files(&self) {
        let Some(watch) = self.watch.upgrade() else { return };
        for source in self.guard.key_sources() {
            if let KeySource::File(file) = source
                && let Err(error) = watch.add(&directory(&self.path).join(file))
            {
                tracing::warn!(%error, "changes of a jwks_file are noticed after a minute only");
            }
        }
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

    fn report(&self, reason: &str) {
        if !self.store.faults.contains(FaultKind::PolicyUnusable, OBJECT) {
            audit::record_rejected_policy(self.audit.as_ref(), reason);
            tracing::error!(
                reason,
                "the policy was not read again: the previous one stays in force"
            );
        }
        self.store.faults.begin(FaultKind::PolicyUnusable, OBJECT, reason);
    }
}

/// Reads the file, and examines the permissions of what was opened.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = regular_file::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "its mode is {mode:04o}, so that other users can write it and grant themselves any \
             right. Run chmod go-w on it"
        ));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// The name of the file without its directory, because clients with the right `overview` read it in faults.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;

    #[test]
    fn a_file_that_others_can_write_is_rejected_with_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        std::fs::write(&path, "version = 1\n").unwrap();
        for (mode, is_accepted) in
            [(0o600, true), (0o644, true), (0o640, true), (0o664, false), (0o606, false)]
        {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let result = read(&path);
            assert_eq!(result.is_ok(), is_accepted, "{mode:o}");
            if let Err(reason) = result {
                assert!(reason.contains(&format!("{mode:04o}")), "{reason}");
            }
        }
        assert!(read(directory.path()).is_err());
    }
}
