//! One replica of a shared repository: its requests to etcd, and the position that it has reached.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use headwater_etcd::{Cluster, Connection, EtcdError, Transaction, Value};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::checkpoint;
use super::error::{ReplicationError, no_answer_for};
use super::evidence::EvidenceExchange;
use super::group::{Fleet, FleetPlace};
use super::manifest::{Checkpoint, Keys, Manifest, ManifestRelation};
use super::rollouts::{RolloutPosition, StoredRollouts};
use super::status::ReplicationStatus;
use crate::sync::lock;

/// The length of an outage after which the server no longer sends requests to etcd. Until then another member may take
/// over.
const OUTAGE_MIN: Duration = Duration::from_secs(1);
/// The number of attempts at a request, each to another member.
const ATTEMPT_COUNT_MAX: usize = 2;

/// The replication of one repository.
pub struct Replication {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) seed: Option<PathBuf>,
    pub(super) keys: Keys,
    pub(super) cluster: Cluster,
    pub(super) status: watch::Sender<ReplicationStatus>,
    /// Wakes the follower when etcd may have a change, or when this replica has to write its checkpoint.
    pub(super) wake: Notify,
    /// Notified after a push to this replica.
    pub(super) pushed: Notify,
    /// What is known of the rollouts in etcd.
    pub(super) rollouts: RolloutPosition,
    /// What replicas report to each other about the rollouts.
    pub(super) evidence: EvidenceExchange,
    /// The other replicas, once they are known.
    pub(super) fleet: FleetPlace,
    connection: Mutex<Option<Connection>>,
}

/// The manifest and the rollouts in etcd at one revision of etcd.
pub(super) struct StoredManifest {
    /// `None` if etcd has no manifest.
    pub(super) manifest: Option<Manifest>,
    /// The etcd revision that wrote the manifest. 0 if etcd has none.
    pub(super) written_at: i64,
    pub(super) rollouts: StoredRollouts,
}

impl Replication {
    /// Creates the replication of the repository at `path`. The seed becomes the first commit if etcd and the
    /// repository are empty.
    pub fn new(cluster: Cluster, name: &str, path: &Path, seed: Option<&Path>) -> Arc<Self> {
        let keys = Keys::new(&cluster.address.prefix, name);
        let checkpoint = checkpoint::read(path, &cluster.address.prefix).map(Arc::new);
        let status = ReplicationStatus { checkpoint, ..ReplicationStatus::default() };
        Arc::new(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            seed: seed.map(Path::to_owned),
            keys,
            cluster,
            status: watch::Sender::new(status),
            wake: Notify::new(),
            pushed: Notify::new(),
            rollouts: RolloutPosition::default(),
            evidence: EvidenceExchange::default(),
            fleet: FleetPlace::new(),
            connection: Mutex::default(),
        })
    }

    /// Waits until there is something to serve, or until an outage or a refusal is known.
    ///
    /// # Errors
    /// When this repository cannot be shared, because its content differs from the shared content.
    pub(in crate::push) async fn ready(&self, wait_max: Duration) -> Result<(), String> {
        let mut status = self.status.subscribe();
        // A repository that is not settled in time is served once it is.
        let _ = timeout(wait_max, status.wait_for(ReplicationStatus::is_settled)).await;
        match &self.status.borrow().refusal {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Returns true if there is something to serve.
    pub(in crate::push) fn is_loaded(&self) -> bool {
        self.status.borrow().checkpoint.is_some()
    }

    /// Waits up to `wait_max` until every push that any replica acknowledged is here.
    pub(in crate::push) async fn catch_up(&self, wait_max: Duration) {
        if self.outage_duration().is_some() {
            return;
        }
        let caught_up = async {
            let Ok(StoredManifest { manifest: Some(manifest), .. }) = self.read_manifest().await
            else {
                return;
            };
            if self.relation(&manifest) == Some(ManifestRelation::Same) {
                return;
            }
            self.wake.notify_one();
            let mut status = self.status.subscribe();
            let is_here = |status: &ReplicationStatus| {
                let checkpoint = status.checkpoint.as_ref();
                checkpoint.is_some_and(|checkpoint| checkpoint.sequence >= manifest.sequence)
            };
            // The wait fails only when the server stops.
            let _ = status.wait_for(is_here).await;
        };
        if timeout(wait_max, caught_up).await.is_err() {
            tracing::debug!(
                repository = self.name,
                "references are listed before all pushes to other replicas are applied"
            );
        }
    }

    /// Returns the duration of etcd's outage, once it is so long that requests are pointless.
    pub(super) fn outage_duration(&self) -> Option<Duration> {
        let status = self.status.borrow();
        let duration = status.etcd.outage().map(|outage| outage.since.elapsed());
        duration.filter(|duration| *duration >= OUTAGE_MIN)
    }

    pub(super) fn checkpoint(&self) -> Option<Arc<Checkpoint>> {
        self.status.borrow().checkpoint.clone()
    }

    /// Returns the checkpoint of a replica that has taken a manifest.
    pub(super) fn checkpoint_of(&self, manifest: &Manifest) -> Arc<Checkpoint> {
        Arc::new(manifest.checkpoint(&self.cluster.address.prefix))
    }

    /// Returns the relation of a manifest to this replica. `None` if the replica has taken no manifest.
    pub(super) fn relation(&self, manifest: &Manifest) -> Option<ManifestRelation> {
        self.checkpoint().map(|checkpoint| manifest.relation(&checkpoint))
    }

    /// Sets the other replicas. A server sets them once.
    pub(in crate::push) fn set_fleet(&self, fleet: &Arc<Fleet>) {
        let _ = self.fleet.set(Arc::clone(fleet));
        self.evidence.wake();
    }

    /// Reads the manifest and the rollouts on which the members of etcd agree.
    pub(super) async fn read_manifest(&self) -> Result<StoredManifest, ReplicationError> {
        let (manifest, rollouts) = (self.keys.manifest(), self.keys.rollouts());
        let [found, rollouts] = self.read_all([&manifest, &rollouts]).await?;
        let manifest = found.bytes.as_deref().map(Manifest::parse).transpose();
        let manifest = manifest.map_err(|reason| ReplicationError::Unfit(reason.to_owned()))?;
        self.record_contact();
        let rollouts = self.parse_rollouts(&rollouts)?;
        Ok(StoredManifest { manifest, written_at: found.mod_revision, rollouts })
    }

    pub(super) async fn read(&self, key: &str) -> Result<Value, EtcdError> {
        self.read_all([key]).await.map(|[found]| found)
    }

    /// Reads keys at one revision of etcd.
    async fn read_all<const N: usize>(&self, keys: [&str; N]) -> Result<[Value; N], EtcdError> {
        let read = || async { self.connection().await?.read(&keys).await };
        let found = self.attempt(read, |_| false).await?;
        let mut found = found.into_iter();
        Ok(std::array::from_fn(|_| found.next().unwrap_or_default()))
    }

    /// Commits a transaction that is safe to repeat. Returns true if its conditions held.
    pub(super) async fn write(
        &self,
        transaction: impl Fn() -> Transaction,
    ) -> Result<bool, EtcdError> {
        let write = || async { self.connection().await?.commit(transaction()).await };
        self.attempt(write, |error| matches!(error, EtcdError::Rejected(_))).await
    }

    /// Sends a request, and repeats it on another connection after an error that is not final.
    async fn attempt<T, F>(
        &self,
        request: impl Fn() -> F,
        is_final: impl Fn(&EtcdError) -> bool,
    ) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let mut attempt_count = 1;
        loop {
            match self.unless_unreachable(request()).await {
                Err(error) if !is_final(&error) => {
                    self.forget_connection();
                    if attempt_count == ATTEMPT_COUNT_MAX {
                        return Err(error);
                    }
                    attempt_count += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Sends a request, and gives up once an outage of etcd is known. Etcd may not answer for a long time.
    async fn unless_unreachable<T>(
        &self,
        request: impl Future<Output = Result<T, EtcdError>>,
    ) -> Result<T, EtcdError> {
        tokio::select! {
            biased;
            answer = request => answer,
            reason = self.unreachable() => Err(EtcdError::Other(reason)),
        }
    }

    /// Returns the reason once etcd's outage is so long that requests are pointless.
    async fn unreachable(&self) -> String {
        let mut status = self.status.subscribe();
        loop {
            let outage = status.wait_for(|status| status.etcd.outage().is_some()).await;
            let outage = outage.ok().and_then(|status| status.etcd.outage().cloned());
            // The wait fails only when the server stops.
            let Some(outage) = outage else { return std::future::pending().await };
            let ended = status.wait_for(|status| status.etcd.outage().is_none());
            let deadline = (outage.since + OUTAGE_MIN).into();
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                return no_answer_for(outage.since.elapsed());
            }
        }
    }

    /// Returns the open connection, or a new one.
    pub(super) async fn connection(&self) -> Result<Connection, EtcdError> {
        if let Some(connection) = lock(&self.connection).clone() {
            return Ok(connection);
        }
        let connection = self.cluster.connect().await?;
        *lock(&self.connection) = Some(connection.clone());
        Ok(connection)
    }

    pub(super) fn forget_connection(&self) {
        *lock(&self.connection) = None;
    }

    pub(super) fn record_contact(&self) {
        self.status.send_modify(|status| status.last_contact = Some(SystemTime::now()));
    }

    /// Records that this manifest is here, durable and published.
    pub(super) fn record_applied(&self, manifest: &Manifest) {
        let checkpoint = self.checkpoint_of(manifest);
        self.status.send_modify(|status| status.checkpoint = Some(checkpoint));
    }

    /// Records that this repository cannot be shared, which only the operator can change.
    pub(super) fn record_refusal(&self, reason: &str) {
        tracing::error!(repository = self.name, reason, "a repository cannot be shared");
        self.status.send_modify(|status| status.refusal = Some(reason.to_owned()));
    }

    /// Records that the manifest in etcd cannot be applied here.
    pub(super) fn record_application_failure(&self, error: &ReplicationError) {
        let reason = error.to_string();
        let is_new = self
            .status
            .send_if_modified(|status| status.application.record_reason(reason.as_str()));
        if is_new {
            tracing::error!(
                repository = self.name,
                reason,
                "the repository in etcd cannot be applied here, its last state is served"
            );
        }
    }

    /// Records that the manifest in etcd has been applied here.
    pub(super) fn record_application_success(&self) {
        let has_recovered =
            self.status.send_if_modified(|status| status.application.record_success().is_some());
        if has_recovered {
            tracing::info!(repository = self.name, "the repository in etcd is applied here again");
        }
    }

    /// Records a failed attempt to follow etcd.
    pub(super) fn record_disconnect(&self, error: &EtcdError) {
        let is_new = self.status.send_if_modified(|status| {
            status.etcd.record_failure(format!("etcd is unreachable: {error}"))
        });
        if is_new {
            tracing::warn!(
                repository = self.name,
                reason = %error,
                "etcd is unreachable, pushes are rejected and the last state is served"
            );
        }
    }

    /// Records that etcd is followed.
    pub(super) fn record_connect(&self) {
        self.status.send_modify(|status| {
            if let Some(duration) = status.etcd.record_success() {
                let seconds = duration.as_secs();
                tracing::info!(
                    repository = self.name,
                    seconds,
                    "etcd is reachable again, pushes are accepted"
                );
            }
            status.last_contact = Some(SystemTime::now());
        });
    }
}
