//! Faults that stop the pushes to a hosted repository. The server retries until the repository accepts pushes again.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::process::Command;

use super::command::{Running, Service};
use super::repository::HostedRepository;
use crate::faults::FaultKind;

/// The pause between attempts to repeat a failed operation.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// The size of the file that tests whether the disk accepts data, in bytes.
const PROBE_BYTES: usize = 1024 * 1024;
/// The name of git in a fault. All repositories share one git program.
const GIT: &str = "git";

impl HostedRepository {
    /// Starts git and records whether it started.
    pub(super) fn start_git(self: &Arc<Self>, command: Command) -> io::Result<Running> {
        let started = self.git.start(command);
        match &started {
            Ok(_) => self.store.faults.end(FaultKind::GitUnavailable, GIT),
            Err(error) => {
                self.begin_fault(FaultKind::GitUnavailable, GIT, &error.kind().to_string())
            }
        }
        started
    }

    /// Records that pushed references could not be made durable.
    pub(super) fn record_not_durable(self: &Arc<Self>, reason: &str) {
        self.begin_fault(FaultKind::PushNotDurable, &self.name, reason);
    }

    /// Tests the disk after a push that git gave up before the server reviewed it. Git reports a full disk to its
    /// client and not to this server.
    pub(super) async fn probe_disk(self: &Arc<Self>) {
        let path = self.path.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || write_probe(&path)).await {
            self.record_not_durable(&error.kind().to_string());
        }
    }

    fn begin_fault(self: &Arc<Self>, kind: FaultKind, object: &str, reason: &str) {
        let is_new = !self.store.faults.contains(kind, object);
        if self.store.faults.begin(kind, object, reason) && is_new {
            self.runtime.spawn(recover(Arc::downgrade(self), kind, object.to_owned()));
        }
    }

    /// Repeats the failed operation. Returns true if it succeeds.
    async fn retry_operation(self: &Arc<Self>, kind: FaultKind) -> bool {
        if kind == FaultKind::GitUnavailable {
            return self.advertise(Service::UploadPack).await.is_ok();
        }
        let turn = self.locks.push_lock.acquire_in_background().await;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write_probe(&path)).await;
        matches!(written, Ok(Ok(()))) && self.retry_publication(&turn).await.is_ok()
    }
}

/// Retries until the operation works, the fault has ended elsewhere, or the repository is no longer served.
async fn recover(repository: Weak<HostedRepository>, kind: FaultKind, object: String) {
    loop {
        tokio::time::sleep(RETRY_PAUSE).await;
        let Some(repository) = repository.upgrade() else { return };
        if !repository.store.faults.contains(kind, &object) {
            return;
        }
        if repository.retry_operation(kind).await {
            repository.store.faults.end(kind, &object);
            return;
        }
    }
}

/// Writes an unnamed file and syncs it. Blocking.
fn write_probe(repository: &Path) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(repository)?;
    file.write_all(&vec![0; PROBE_BYTES])?;
    file.sync_all()
}
