//! The means of a server to open sealed values: read at the start, and again when their files change.

mod directory;
mod vaults;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::directory::SecretDirectory;
use self::vaults::ConfiguredVault;
use super::file_watch::{FileChanges, FileWatch, Wait};
use super::keys::read_keys;
use super::{StartError, audit};
use crate::access::Guard;
use crate::audit::Audit;
use crate::faults::{FaultKind, Faults};
use crate::http::KeyFiles;
use crate::model::SealedKind;
use crate::reveal::{Keyring, Lookup, Reference, References, VaultFigures};
use crate::settings::{OnFailure, SecretsSettings, Settings};
use crate::store::Store;
use crate::sync::lock;
use crate::vault::Follower;

/// The interval between two reads if the system reports no changes, as on a network file system.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The object of a fault of the keys.
const KEYS: &str = "the keys of the server";

/// The keys and the secrets of a server.
pub(super) struct Secrets {
    settings: SecretsSettings,
    pub(super) keys: Arc<Keyring>,
    directory: Option<Arc<SecretDirectory>>,
    vaults: Arc<[ConfiguredVault]>,
    /// The number of changes so far.
    changes: watch::Sender<u64>,
    /// The state of the key files when they were read last.
    read: Mutex<FileStates>,
    guard: Option<Arc<Guard>>,
    /// The digest of the policy for which answers were made.
    rules: Mutex<Option<String>>,
}

/// A watch of the files, with the tasks of the Vaults.
struct WatchedFiles {
    watch: Mutex<FileWatch>,
    _vaults: Vec<AbortOnDropHandle<()>>,
}

impl KeyFiles for WatchedFiles {
    fn read_again(&self) {
        lock(&self.watch).read_again();
    }
}

/// For each file, its inode, size and time of change in nanoseconds. None for a file that is missing.
type FileStates = Vec<Option<(u64, u64, i64, i64)>>;

impl Secrets {
    /// Reads the keys and secrets of the settings.
    pub(super) fn open(
        settings: &Settings,
        guard: Option<&Arc<Guard>>,
    ) -> Result<Arc<Self>, StartError> {
        let settings = settings.secrets.clone();
        let read = file_states(&settings);
        let keys = read_keys(&settings)?;
        let directory = settings.directory.as_deref().map(|path| {
            SecretDirectory::read(path, &keys.bound).map(Arc::new).map_err(|error| {
                let reason = error.to_string();
                StartError::File { what: "secret directory", path: path.to_owned(), reason }
            })
        });
        let directory = directory.transpose()?;
        let vaults = settings.vault.iter().map(ConfiguredVault::open);
        let vaults: Arc<[ConfiguredVault]> = vaults.collect::<Result<_, _>>()?;
        let mut keyring = Keyring::new(keys).with_holding(settings.on_failure == OnFailure::Hold);
        if directory.is_some() || !vaults.is_empty() {
            let (vaults, guard) = (Arc::clone(&vaults), guard.cloned());
            let references = SecretReferences { directory: directory.clone(), vaults, guard };
            keyring = keyring.with_references(Arc::new(references));
        }
        if !keyring.is_empty() {
            prevent_core_dumps();
        }
        let keys = Arc::new(keyring);
        let guard = guard.cloned();
        let rules = Mutex::new(guard.as_ref().map(|guard| guard.digest()));
        let (files, changes) = (Mutex::new(read), watch::Sender::new(0));
        Ok(Arc::new(Self { settings, keys, directory, vaults, changes, read: files, guard, rules }))
    }

    /// Follows the files of the keys and of the directory. The watch ends when the result is dropped.
    pub(super) fn follow(
        self: &Arc<Self>,
        store: &Arc<Store>,
        audit: Option<&Arc<Audit>>,
        runtime: &Handle,
    ) -> Result<Option<Arc<dyn KeyFiles>>, StartError> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        store.follow_opened_values(self.changes.subscribe());
        let in_directory = self.settings.directory.as_deref().map(|path| path.join("secret"));
        let files = self.settings.files().chain(in_directory.as_deref());
        let (watch, changes) =
            FileWatch::new(&files.collect::<Vec<_>>()).map_err(|error| StartError::File {
                what: "files of",
                path: PathBuf::from("[secrets]"),
                reason: error.to_string(),
            })?;
        let (secrets, faults, audit) =
            (Arc::clone(self), Arc::clone(&store.faults), audit.cloned());
        std::thread::spawn(move || secrets.follow_changes(&changes, &faults, audit.as_ref()));
        // A file may have changed between the first read and the watch.
        watch.read_again();
        let vaults = self.follow_vaults(store, runtime)?;
        Ok(Some(Arc::new(WatchedFiles { watch: Mutex::new(watch), _vaults: vaults })))
    }

    /// Starts the task of each Vault. The tasks end when the result is dropped.
    fn follow_vaults(
        self: &Arc<Self>,
        store: &Arc<Store>,
        runtime: &Handle,
    ) -> Result<Vec<AbortOnDropHandle<()>>, StartError> {
        let mut tasks = Vec::new();
        for vault in self.vaults.iter() {
            let changes = self.changes.clone();
            let follower = Follower {
                object: vault.object(),
                address: vault.address.clone(),
                client: vault.client()?,
                cache: Arc::clone(&vault.cache),
                keys: Arc::clone(&self.keys),
                faults: Arc::clone(&store.faults),
                changed: Box::new(move || changes.send_modify(|count| *count += 1)),
            };
            tasks.push(AbortOnDropHandle::new(runtime.spawn(follower.follow())));
        }
        Ok(tasks)
    }

    fn follow_changes(&self, changes: &FileChanges, faults: &Faults, audit: Option<&Arc<Audit>>) {
        while changes.wait(READ_AGAIN_AFTER) != Wait::Ended {
            self.read_again(faults, audit);
        }
    }

    /// Reads the files again. What cannot be read stays as it was.
    fn read_again(&self, faults: &Faults, audit: Option<&Arc<Audit>>) {
        let has_new_keys = self.read_keys_again(faults, audit);
        let has_new_secrets = self.directory.as_ref().is_some_and(|directory| {
            let is_new = directory.read_again(&self.keys.current().bound);
            faults.replace(FaultKind::SecretUnreadable, &self.faults_of(directory, faults));
            is_new
        });
        let has_references = self.directory.is_some() || !self.vaults.is_empty();
        let has_new_rules = has_references && self.has_new_rules();
        if has_new_secrets || has_new_rules {
            self.keys.record_changed_reference();
        }
        if has_new_keys || has_new_secrets || has_new_rules {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Returns true if another policy is in force than before. It decides which files may refer to a secret.
    fn has_new_rules(&self) -> bool {
        let now = self.guard.as_ref().map(|guard| guard.digest());
        let mut before = lock(&self.rules);
        let is_new = *before != now;
        *before = now;
        is_new
    }

    /// The faults of the directory, with a present fault of the keys.
    fn faults_of(&self, directory: &SecretDirectory, faults: &Faults) -> BTreeMap<String, String> {
        let mut now = directory.faults();
        let present = faults.list().into_iter();
        let of_keys =
            present.filter(|it| it.kind == FaultKind::SecretUnreadable && it.object == KEYS);
        now.extend(of_keys.map(|fault| (fault.object, fault.reason)));
        now
    }

    /// Reads the keys again if one of their files has changed. Returns true if there are new keys.
    fn read_keys_again(&self, faults: &Faults, audit: Option<&Arc<Audit>>) -> bool {
        let now = file_states(&self.settings);
        if *lock(&self.read) == now {
            return false;
        }
        match read_keys(&self.settings) {
            Ok(keys) => {
                self.keys.replace(keys);
                *lock(&self.read) = now;
                faults.end(FaultKind::SecretUnreadable, KEYS);
                let present = self.keys.current();
                audit::record_new_keys(audit, &self.settings, present.bound.ids());
                let seal_keys: Vec<&str> = present.bound.ids().collect();
                tracing::info!(?seal_keys, "keys for sealed values re-read");
                true
            }
            Err(error) => {
                if !faults.contains(FaultKind::SecretUnreadable, KEYS) {
                    tracing::error!(%error, "the keys were not read again: the previous ones stay in use");
                }
                let reason = format!("{}. The previous keys stay in use", error.reason());
                faults.begin(FaultKind::SecretUnreadable, KEYS, &reason);
                false
            }
        }
    }
}

fn file_states(settings: &SecretsSettings) -> FileStates {
    let state = |path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
    };
    settings.files().map(state).collect()
}

/// Keeps keys and opened values out of core files, and other processes of the same user out of the memory.
fn prevent_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core files of this process can contain keys and opened values");
    }
}

/// The access of the configuration to secrets, limited by the policy.
struct SecretReferences {
    directory: Option<Arc<SecretDirectory>>,
    vaults: Arc<[ConfiguredVault]>,
    guard: Option<Arc<Guard>>,
}

impl References for SecretReferences {
    fn resolves(&self, kind: SealedKind) -> bool {
        match kind {
            SealedKind::File => self.directory.is_some(),
            SealedKind::Vault => !self.vaults.is_empty(),
            SealedKind::Cipher | SealedKind::Bound | SealedKind::Sops => false,
        }
    }

    fn may_reference(&self, file: &str, reference: &Reference<'_>) -> bool {
        match (&self.guard, reference) {
            (None, _) => true,
            (Some(guard), Reference::File { name, .. }) => guard.may_reference_file(file, name),
            (Some(guard), Reference::Vault { path, .. }) => guard.may_reference_vault(file, path),
        }
    }

    fn look_up(&self, reference: &Reference<'_>) -> Lookup {
        match (reference, &self.directory) {
            (Reference::File { name, key }, Some(directory)) => directory.look_up(name, *key),
            (Reference::File { .. }, None) => Lookup::Missing("no directory is configured".into()),
            (Reference::Vault { store, path, key }, _) => {
                vaults::look_up(&self.vaults, store, path, key)
            }
        }
    }

    fn vaults(&self) -> Vec<VaultFigures> {
        self.vaults.iter().map(ConfiguredVault::figures).collect()
    }
}
