//! The task that writes the values of this replica to etcd, and keeps their lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_etcd::{Connection, EtcdError, Lease, Transaction, Write};
use tokio::time::{Instant, sleep_until, timeout};

use super::EvidenceExchange;
use crate::push::replication::replica::Replication;
use crate::sync::lock;

/// The time to live of the lease, in seconds. It is that of the lease by which a replica counts as live.
const LEASE_SECONDS: i64 = 10;
/// The interval at which the lease is kept.
const KEEP_INTERVAL: Duration = Duration::from_secs(3);
/// The shortest time between two writes that are not urgent.
const WRITE_SPACING: Duration = Duration::from_secs(2);
/// The time that etcd has for one round. It leaves time to try another member before the lease ends.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Writes the values until the task is aborted. The lease then ends by itself.
pub(in crate::push::replication) async fn run(replication: Arc<Replication>) {
    let mut writer = Writer::new(&replication);
    loop {
        let next = match timeout(ANSWER_MAX, writer.round()).await {
            Ok(Ok(())) => Instant::now() + KEEP_INTERVAL,
            // The health of the repository reports that etcd is unreachable.
            Ok(Err(_)) | Err(_) => {
                writer.lose_connection();
                Instant::now() + RETRY_PAUSE
            }
        };
        writer.wait(next).await;
    }
}

struct Writer<'r> {
    replication: &'r Replication,
    connection: Option<Connection>,
    /// The lease, and when it was last kept.
    lease: Option<(Lease, Instant)>,
    /// The values in etcd under the lease. Empty for a key whose value is not known.
    written: BTreeMap<String, Bytes>,
    last_write: Instant,
}

impl<'r> Writer<'r> {
    fn new(replication: &'r Replication) -> Self {
        let last_write = Instant::now();
        Self { replication, connection: None, lease: None, written: BTreeMap::new(), last_write }
    }

    fn exchange(&self) -> &'r EvidenceExchange {
        &self.replication.evidence
    }

    /// Forgets what etcd has, which a write without an answer may have changed.
    fn lose_connection(&mut self) {
        self.connection = None;
        self.written.values_mut().for_each(Bytes::clear);
        lock(&self.exchange().own).is_urgent = true;
    }

    /// Waits until `next`, or until a value has changed that may be written.
    async fn wait(&self, next: Instant) {
        let may_write = self.last_write + WRITE_SPACING;
        tokio::select! {
            () = sleep_until(next) => return,
            () = self.exchange().changed.notified() => {}
        }
        while !lock(&self.exchange().own).is_urgent {
            tokio::select! {
                () = sleep_until(may_write) => return,
                () = self.exchange().changed.notified() => {}
            }
        }
    }

    /// Keeps the lease, and writes the values that etcd does not have.
    async fn round(&mut self) -> Result<(), EtcdError> {
        let Some(fleet) = self.replication.fleet.get() else { return Ok(()) };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.replication.cluster.connect().await?,
        };
        let lease = self.keep_lease(&mut connection).await?;
        let values = {
            let mut own = lock(&self.exchange().own);
            own.is_urgent = false;
            own.texts.clone()
        };
        let root = format!("{}{}/", self.replication.keys.evidence(), fleet.own_id);
        let ended = self.written.keys().filter(|name| !values.contains_key(*name));
        let ended: Vec<String> = ended.cloned().collect();
        for name in ended {
            let deletes = vec![format!("{root}{name}").into_bytes()];
            connection.commit(Transaction { deletes, ..Transaction::default() }).await?;
            self.written.remove(&name);
        }
        for (name, value) in values {
            if self.written.get(&name) == Some(&value) {
                continue;
            }
            self.last_write = Instant::now();
            let write =
                Write { key: format!("{root}{name}"), value: value.clone(), lease: Some(lease) };
            self.written.insert(name.clone(), Bytes::new());
            connection
                .commit(Transaction { writes: vec![write], ..Transaction::default() })
                .await?;
            self.written.insert(name, value);
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Keeps the lease if that is due, or grants one.
    async fn keep_lease(&mut self, connection: &mut Connection) -> Result<Lease, EtcdError> {
        if let Some((lease, kept)) = self.lease {
            let requested = Instant::now();
            if kept.elapsed() < KEEP_INTERVAL {
                return Ok(lease);
            }
            if connection.renew(lease).await? {
                self.lease = Some((lease, requested));
                return Ok(lease);
            }
        }
        self.lease = None;
        self.written.clear();
        let requested = Instant::now();
        let lease = connection.grant(LEASE_SECONDS).await?;
        self.lease = Some((lease, requested));
        Ok(lease)
    }
}
