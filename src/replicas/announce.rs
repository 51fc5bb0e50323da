//! The task that announces this replica: it keeps the lease and writes the key.
//!
//! The lease is kept often, but the key is written seldom. Etcd keeps every value that was ever written until it is
//! compacted, and compaction is left to the operator of etcd.

use std::sync::Arc;
use std::time::Duration;

use headwater_etcd::{Cluster, Connection, EtcdError, Lease, Transaction, Write};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::report::ReplicaReport;
use super::{LEASE_SECONDS, Replicas, key_prefix};
use crate::sync::lock;

/// The interval at which the lease is kept.
const KEEP_INTERVAL: Duration = Duration::from_secs(3);
/// The shortest time between two writes of the key.
const WRITE_SPACING: Duration = Duration::from_millis(500);
/// The interval at which an unchanged report is written again.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);
/// The time that etcd has to keep the lease and to write the key. It leaves time to try another member before the lease
/// ends.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Announces the replica until `stop` is signalled or its sender is dropped, then gives up the lease.
pub(super) async fn run(
    replicas: Arc<Replicas>,
    cluster: Cluster,
    mut stop: oneshot::Receiver<()>,
) {
    let mut status_changed = replicas.store.status_changed();
    let mut announcer = Announcer::new(Arc::clone(&replicas), cluster);
    loop {
        let announced = tokio::select! {
            announced = announcer.announce() => announced,
            _ = &mut stop => break,
        };
        let next = match announced {
            Ok(()) => {
                announcer.record_success();
                announcer.lease.map_or_else(Instant::now, |(_, kept)| kept) + KEEP_INTERVAL
            }
            Err(error) => {
                announcer.record_failure(&error);
                Instant::now() + RETRY_PAUSE
            }
        };
        tokio::select! {
            () = sleep_until(next) => {}
            // An error is impossible: the replica holds the store.
            _ = status_changed.changed() => {}
            () = replicas.key_removed.notified() => announcer.written = None,
            _ = &mut stop => break,
        }
        // Changes in quick succession are written once.
        tokio::select! {
            () = sleep_until(announcer.last_write + WRITE_SPACING) => {}
            _ = &mut stop => break,
        }
    }
    if let Err(error) = announcer.leave().await {
        tracing::warn!(
            reason = %error,
            "this replica stops without an announcement: the others list it as gone"
        );
    }
}

struct Announcer {
    replicas: Arc<Replicas>,
    cluster: Cluster,
    key: String,
    connection: Option<Connection>,
    /// The lease, and when it was last kept.
    lease: Option<(Lease, Instant)>,
    /// The value of the key, and when it was written. `None` while the value in etcd is unknown.
    written: Option<(ReplicaReport, Instant)>,
    /// The time of the last attempt to write the key.
    last_write: Instant,
}

impl Announcer {
    fn new(replicas: Arc<Replicas>, cluster: Cluster) -> Self {
        let key = key_prefix(&cluster) + &replicas.id;
        let last_write = Instant::now();
        Self { replicas, cluster, key, connection: None, lease: None, written: None, last_write }
    }

    /// Keeps the lease and writes the key, as far as they are due. After a failure the next attempt makes a new
    /// connection.
    async fn announce(&mut self) -> Result<(), EtcdError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.cluster.connect().await?,
        };
        match timeout(ANSWER_MAX, self.announce_over(&mut connection)).await {
            Ok(done) => done?,
            Err(_) => {
                let seconds = ANSWER_MAX.as_secs();
                return Err(EtcdError::Other(format!("no answer within {seconds} s")));
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn announce_over(&mut self, connection: &mut Connection) -> Result<(), EtcdError> {
        let lease = self.keep_lease(connection).await?;
        let report = self.replicas.report();
        let is_due = self.written.as_ref().is_none_or(|(written, at)| {
            at.elapsed() >= WRITE_INTERVAL || !written.equals_without_ages(&report)
        });
        if is_due {
            self.last_write = Instant::now();
            // Until etcd answers, the value of the key is unknown.
            self.written = None;
            self.write(connection, &report, lease).await?;
            self.written = Some((report, self.last_write));
        }
        Ok(())
    }

    /// Keeps the lease if that is due. Requests a new lease if the old one has ended.
    async fn keep_lease(&mut self, connection: &mut Connection) -> Result<Lease, EtcdError> {
        if let Some((lease, kept)) = self.lease {
            if kept.elapsed() < KEEP_INTERVAL {
                return Ok(lease);
            }
            let requested = Instant::now();
            if connection.renew(lease).await? {
                self.lease = Some((lease, requested));
                return Ok(lease);
            }
        }
        (self.lease, self.written) = (None, None);
        let requested = Instant::now();
        let lease = connection.grant(LEASE_SECONDS.into()).await?;
        self.lease = Some((lease, requested));
        Ok(lease)
    }

    async fn write(
        &self,
        connection: &mut Connection,
        report: &ReplicaReport,
        lease: Lease,
    ) -> Result<(), EtcdError> {
        let value =
            serde_json::to_vec(report).map_err(|error| EtcdError::Other(error.to_string()))?;
        let write = Write { key: self.key.clone(), value: value.into(), lease: Some(lease) };
        let transaction = Transaction { writes: vec![write], ..Transaction::default() };
        connection.commit(transaction).await.map(drop)
    }

    /// Writes a last report and gives up the lease. During an outage it does nothing, so that the stop is not delayed.
    async fn leave(&mut self) -> Result<(), EtcdError> {
        let has_outage = lock(&self.replicas.links).announcement.connectivity.outage().is_some();
        let Some((lease, _)) = self.lease.take().filter(|_| !has_outage) else { return Ok(()) };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.cluster.connect().await?,
        };
        let report = ReplicaReport { is_leaving: true, ..self.replicas.report() };
        self.write(&mut connection, &report, lease).await?;
        connection.revoke(lease).await
    }

    fn record_success(&self) {
        let outage = lock(&self.replicas.links).announcement.record_success();
        if let Some(seconds) = outage.map(|length| length.as_secs()) {
            tracing::info!(seconds, "this replica is announced in etcd again");
        }
    }

    fn record_failure(&self, error: &EtcdError) {
        let reason = error.to_string();
        if lock(&self.replicas.links).announcement.connectivity.record_failure(reason.as_str()) {
            tracing::warn!(
                reason,
                "this replica cannot be announced in etcd: the others may list it as gone"
            );
        }
    }
}
