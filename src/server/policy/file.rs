//! A policy file beside the settings.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use super::{PolicyDirectory, PolicyFollowers, READ_AGAIN_AFTER, give_way};
use crate::access::{Guard, KeySource, POLICY_BYTES_MAX, PolicyChange};
use crate::audit::Audit;
use crate::http::KeyRequests;
use crate::regular_file;
use crate::server::StartError;
use crate::server::file_watch::{FileChanges, FileWatch, Wait};
use crate::store::Store;

/// The permissions that would let another user than the owner change the policy.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads the file at the start.
pub(super) fn load(path: &Path, default_label: Option<&str>) -> Result<Guard, StartError> {
    let fault = |reason| StartError::File { what: "policy file", path: path.to_owned(), reason };
    let text = read(path).map_err(fault)?;
    let guard = Guard::new(&name(path), &text, default_label);
    let guard = guard.map_err(|error| {
        fault(format!("the policy cannot take effect. Correct these lines:\n{error}"))
    })?;
    tracing::info!(digest = guard.digest(), "policy in force");
    Ok(guard)
}

/// A policy that follows its file and the key sets that are files. The watch ends when this is dropped.
pub(in crate::server) struct FileFollowing {
    watch: Arc<FileWatch>,
    key_requests: Arc<KeyRequests>,
}

impl FileFollowing {
    /// Follows the file of the policy in force.
    pub(in crate::server) fn new(
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
        let requests = OnceLock::from(Arc::clone(&key_requests));
        let follower = Follower {
            path: path.to_owned(),
            files: PolicyDirectory::of(path),
            followers: PolicyFollowers { guard, audit, store, key_requests: requests },
            watch: Arc::downgrade(&watch),
            replaced: Box::new(replaced),
        };
        std::thread::spawn(move || follower.follow(&changes));
        // The file may have changed between the first read and the watch.
        watch.read_again();
        Ok(Self { watch, key_requests })
    }

    /// Reads the files and the keys of all issuers soon, whether a change was noticed or not.
    pub(in crate::server) fn read_again(&self) {
        self.watch.read_again();
        self.key_requests.request_all();
    }
}

struct Follower {
    path: PathBuf,
    files: PolicyDirectory,
    followers: PolicyFollowers,
    watch: Weak<FileWatch>,
    /// Called after another policy is in force.
    replaced: Box<dyn Fn() + Send>,
}

impl Follower {
    fn follow(&self, changes: &FileChanges) {
        give_way();
        while changes.wait(READ_AGAIN_AFTER) != Wait::Ended {
            match self.read_policy() {
                Ok(is_new) => {
                    if is_new {
                        self.followers.follow();
                        (self.replaced)();
                    }
                    self.followers.report_usable();
                }
                Err(reason) => self.followers.report_unusable(&reason),
            }
            self.watch_key_files();
            self.followers.read_named(&self.files);
        }
    }

    fn read_policy(&self) -> Result<bool, String> {
        let text = read(&self.path)?;
        let permit = |change: &PolicyChange<'_>| self.followers.record(change);
        self.followers.replace(&name(&self.path), &text, permit)
    }

    /// Watches the directories of the key sets that are files. Without a watch they are read every minute.
    fn watch_key_files(&self) {
        let Some(watch) = self.watch.upgrade() else { return };
        for source in self.followers.guard.key_sources() {
            if let KeySource::File(file) = source
                && let Err(error) = watch.add(&self.files.path(&file))
            {
                tracing::warn!(%error, "changes of a jwks_file are noticed after a minute only");
            }
        }
    }
}

/// Reads the file, and examines the permissions of what was opened.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = regular_file::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "its mode is {mode:04o}, so that other users can write it and grant themselves any \
             right. Run chmod go-w on it"
        ));
    }
    // A list that grows would leave as much free memory again.
    let length = usize::try_from(metadata.len()).unwrap_or(0).min(POLICY_BYTES_MAX);
    let mut text = Vec::with_capacity(length + 1);
    file.take(POLICY_BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() > POLICY_BYTES_MAX {
        return Err(format!("it has more than {POLICY_BYTES_MAX} bytes"));
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
