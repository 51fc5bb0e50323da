//! The one task that keeps this replica's lease, and its key.
//!
//! The lease is kept often and the key is written seldom: etcd remembers every value that was ever written until it is
//! compacted, and nobody may do that.

use std::sync::Arc;
use std::time::Duration;

use headwater_etcd::{Cluster, Connection, Fault, Lease, Transaction, Write};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::report::Report;
use super::{LEASE_SECONDS, Replicas, keys};
use crate::sync::lock;

/// How often the lease is kept.
const KEEP_EVERY: Duration = Duration::from_secs(3);
/// How soon after the last time the key is written again, whatever has changed.
const WRITE_SPACING: Duration = Duration::from_millis(500);
/// How long the key is left as it is where nothing has changed.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// How long etcd may take to keep the lease and to write the key: short enough for another member to do it.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Goes on until it is told to stop; then gives the lease up.
pub(super) async fn speak(
    replicas: Arc<Replicas>,
    cluster: Cluster,
    mut stop: oneshot::Receiver<()>,
) {
    let mut turned = replicas.store.turned();
    let mut voice = Voice::new(Arc::clone(&replicas), cluster);
    loop {
        let spoken = tokio::select! {
            spoken = voice.speak() => spoken,
            _ = &mut stop => break,
        };
        let next = match spoken {
            Ok(()) => {
                voice.is_heard();
                voice.lease.map_or_else(Instant::now, |(_, kept)| kept) + KEEP_EVERY
            }
            Err(fault) => {
                voice.is_not_heard(fault);
                Instant::now() + PAUSE
            }
        };
        tokio::select! {
            () = sleep_until(next) => {}
            // The store lives as long as the replica does.
            _ = turned.changed() => {}
            () = replicas.lost.notified() => voice.written = None,
            _ = &mut stop => break,
        }
        // What moves together is told together.
        tokio::select! {
            () = sleep_until(voice.spoken + WRITE_SPACING) => {}
            _ = &mut stop => break,
        }
    }
    if let Err(fault) = voice.leave().await {
        tracing::warn!(reason = %fault, "the other replicas were not told that this one ends");
    }
}

/// What this replica is heard through.
struct Voice {
    replicas: Arc<Replicas>,
    cluster: Cluster,
    key: String,
    connection: Option<Connection>,
    lease: Option<(Lease, Instant)>,
    /// What the key holds, and since when.
    written: Option<(Report, Instant)>,
    /// When anything was written the last time, or tried.
    spoken: Instant,
}

impl Voice {
    fn new(replicas: Arc<Replicas>, cluster: Cluster) -> Self {
        let key = keys(&cluster) + &replicas.id;
        let spoken = Instant::now();
        Self { replicas, cluster, key, connection: None, lease: None, written: None, spoken }
    }

    /// Keeps the lease and writes the key, as far as it is time to. What fails leaves no connection.
    async fn speak(&mut self) -> Result<(), Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.cluster.connect().await?,
        };
        let done = timeout(ANSWER_MAX, self.speak_over(&mut connection)).await;
        match done {
            Ok(done) => done?,
            Err(_) => {
                let seconds = ANSWER_MAX.as_secs();
                return Err(Fault::Other(format!("no answer within {seconds} s")));
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn speak_over(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        let lease = self.lease_over(connection).await?;
        let report = self.replicas.report();
        let is_due = self
            .written
            .as_ref()
            .is_none_or(|(written, at)| at.elapsed() >= WRITE_EVERY || !written.says_what(&report));
        if is_due {
            self.spoken = Instant::now();
            // Whether it is written is not known until there is an answer.
            self.written = None;
            self.write(connection, &report, lease).await?;
            self.written = Some((report, self.spoken));
        }
        Ok(())
    }

    /// The lease, kept; another one where it has ended.
    async fn lease_over(&mut self, connection: &mut Connection) -> Result<Lease, Fault> {
        if let Some((lease, kept)) = self.lease {
            if kept.elapsed() < KEEP_EVERY {
                return Ok(lease);
            }
            let asked = Instant::now();
            if connection.keep(lease).await? {
                self.lease = Some((lease, asked));
                return Ok(lease);
            }
        }
        (self.lease, self.written) = (None, None);
        let asked = Instant::now();
        let lease = connection.grant(LEASE_SECONDS.into()).await?;
        self.lease = Some((lease, asked));
        Ok(lease)
    }

    async fn write(
        &self,
        connection: &mut Connection,
        report: &Report,
        lease: Lease,
    ) -> Result<(), Fault> {
        let value = serde_json::to_vec(report).map_err(|error| Fault::Other(error.to_string()))?;
        let write = Write { key: self.key.clone(), value: value.into(), lease: Some(lease) };
        let transaction = Transaction { writes: vec![write], ..Transaction::default() };
        connection.commit(transaction).await.map(drop)
    }

    /// Says that this replica ends, and gives its lease up. While etcd is away nobody waits for that.
    async fn leave(&mut self) -> Result<(), Fault> {
        let is_away = lock(&self.replicas.ways).speaking.away.is_some();
        let Some((lease, _)) = self.lease.take().filter(|_| !is_away) else { return Ok(()) };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.cluster.connect().await?,
        };
        let report = Report { is_leaving: true, ..self.replicas.report() };
        self.write(&mut connection, &report, lease).await?;
        connection.revoke(lease).await
    }

    fn is_heard(&self) {
        if let Some(seconds) = lock(&self.replicas.ways).speaking.works().map(|it| it.as_secs()) {
            tracing::info!(seconds, "the other replicas hear of this one again");
        }
    }

    fn is_not_heard(&self, fault: Fault) {
        let reason = fault.to_string();
        if lock(&self.replicas.ways).speaking.fails(fault) {
            tracing::warn!(reason, "the other replicas do not hear of this one");
        }
    }
}
