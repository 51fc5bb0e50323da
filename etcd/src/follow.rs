//! Follows all keys below a prefix: reads them at one revision, then watches from the next revision on.
//!
//! A connection that stays silent is replaced by one to another member, which continues at the last reported revision.
//!
//! Invariant: the reported events have no gap. When etcd has compacted the next revision, all keys are read again.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::{Changes, WatchMessage};
use crate::{Change, Cluster, Connection, EtcdError, Position};

/// The interval at which a silent watch is asked for a sign of life.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// The time after which a watch without any message is replaced by a watch at another member.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// The interval at which the probe key is read during a watch. etcd continues to serve an open watch to a client whose
/// permission was revoked, or that connected before authentication was enabled. Only a request reveals that.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// The pause after every member has failed once. It doubles up to the maximum.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// One step of following a prefix.
pub enum FollowEvent {
    /// All keys are read again. Their pages follow.
    SnapshotStart,
    /// A page of the snapshot, in key order.
    SnapshotPage(Vec<(Vec<u8>, Vec<u8>)>),
    /// The snapshot is complete. An earlier key that it did not contain has been deleted.
    SnapshotEnd,
    /// A watch has started, on the same or on another member.
    WatchStart,
    /// All changes of one or several revisions.
    Changes(Vec<Change>),
    /// The member is reachable and has nothing to report.
    Heartbeat,
    /// The connection failed. The next call of [`Follower::next`] connects to another member.
    Disconnected(EtcdError),
}

/// Follows the keys below a prefix. It works only while [`Follower::next`] is awaited.
pub struct Follower {
    cluster: Cluster,
    prefix: String,
    member: usize,
    failed_count: usize,
    pause: Duration,
    /// The revision up to which everything has been reported. `None` when all keys have to be read.
    position: Option<Position>,
    stage: Stage,
}

enum Stage {
    Disconnected,
    Reading {
        connection: Connection,
        at: Position,
        /// The first key of the next page. `None` after the last page.
        from: Option<Vec<u8>>,
        is_start_reported: bool,
    },
    Connected {
        connection: Connection,
        at: Position,
    },
    Watching {
        changes: Changes,
        connection: Box<Connection>,
        last_contact: Instant,
        last_probe: Instant,
    },
}

impl Follower {
    /// Creates a follower of the keys below `prefix`. It connects on the first call of [`Follower::next`].
    pub fn new(cluster: Cluster, prefix: String) -> Self {
        let member = fastrand::usize(..cluster.address.endpoints.len());
        Self {
            cluster,
            prefix,
            member,
            failed_count: 0,
            pause: PAUSE_MIN,
            position: None,
            stage: Stage::Disconnected,
        }
    }

    /// Starts again with a snapshot, because the caller could not apply the reported events.
    pub fn restart(&mut self) {
        self.position = None;
        self.stage = Stage::Disconnected;
        // The next attempt would most likely fail in the same way, so it has to wait for the pause.
        self.failed_count = self.cluster.address.endpoints.len();
    }

    /// Returns the next event.
    ///
    /// Cancellation: dropping the future loses the connection, and with it the pages of a snapshot that were already
    /// reported. The next call connects again.
    pub async fn next(&mut self) -> FollowEvent {
        let stage = std::mem::replace(&mut self.stage, Stage::Disconnected);
        let event = match stage {
            Stage::Disconnected => self.connect().await,
            Stage::Reading { connection, at, from, is_start_reported: false } => {
                self.stage = Stage::Reading { connection, at, from, is_start_reported: true };
                return FollowEvent::SnapshotStart;
            }
            Stage::Reading { connection, at, from, is_start_reported: true } => {
                self.read(connection, at, from).await
            }
            Stage::Connected { connection, at } => self.watch(connection, at).await,
            Stage::Watching { changes, connection, last_contact, last_probe } => {
                self.poll_watch(changes, connection, last_contact, last_probe).await
            }
        };
        match event {
            Ok(event) => event,
            Err(EtcdError::Compacted) => {
                self.position = None;
                FollowEvent::Heartbeat
            }
            Err(error) => {
                self.member = (self.member + 1) % self.cluster.address.endpoints.len();
                self.failed_count += 1;
                FollowEvent::Disconnected(error)
            }
        }
    }

    /// Connects to the current member.
    ///
    /// The new connection continues at the reported position. It begins with a snapshot when there is no position, or
    /// when the position belongs to another cluster or to a state that this cluster no longer has.
    async fn connect(&mut self) -> Result<FollowEvent, EtcdError> {
        let member_count = self.cluster.address.endpoints.len();
        if self.failed_count > 0 && self.failed_count.is_multiple_of(member_count) {
            // The jitter keeps the followers of a cluster from reconnecting at the same moment.
            tokio::time::sleep(self.pause.mul_f64(0.5 + fastrand::f64())).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        let endpoint = &self.cluster.address.endpoints[self.member];
        let (connection, newest) = Connection::open(&self.cluster, endpoint).await?;
        let resumable = self
            .position
            .filter(|it| it.cluster == newest.cluster && it.revision <= newest.revision);
        self.stage = match resumable {
            Some(at) => Stage::Connected { connection, at },
            None => Stage::Reading {
                connection,
                at: newest,
                from: Some(self.prefix.clone().into_bytes()),
                is_start_reported: false,
            },
        };
        Ok(FollowEvent::Heartbeat)
    }

    async fn read(
        &mut self,
        mut connection: Connection,
        at: Position,
        from: Option<Vec<u8>>,
    ) -> Result<FollowEvent, EtcdError> {
        let Some(from) = from else {
            self.position = Some(at);
            self.stage = Stage::Connected { connection, at };
            return Ok(FollowEvent::SnapshotEnd);
        };
        let page = connection.page(&from, &self.prefix, at.revision).await?;
        self.stage = Stage::Reading { connection, at, from: page.next, is_start_reported: true };
        Ok(FollowEvent::SnapshotPage(page.keys))
    }

    async fn watch(
        &mut self,
        connection: Connection,
        at: Position,
    ) -> Result<FollowEvent, EtcdError> {
        let changes = connection.watch(&self.prefix, at.revision + 1).await?;
        (self.failed_count, self.pause) = (0, PAUSE_MIN);
        let now = Instant::now();
        let connection = Box::new(connection);
        self.stage = Stage::Watching { changes, connection, last_contact: now, last_probe: now };
        Ok(FollowEvent::WatchStart)
    }

    async fn poll_watch(
        &mut self,
        mut changes: Changes,
        mut connection: Box<Connection>,
        last_contact: Instant,
        mut last_probe: Instant,
    ) -> Result<FollowEvent, EtcdError> {
        loop {
            if last_probe.elapsed() >= PROBE_EVERY {
                let probe = timeout(SILENCE_MAX, connection.position(&self.cluster.probe));
                probe.await.map_err(|_| silent())??;
                last_probe = Instant::now();
            }
            let message = match timeout_at(Instant::now() + PROGRESS_EVERY, changes.next()).await {
                Ok(message) => message?,
                Err(_) if last_contact.elapsed() > SILENCE_MAX => return Err(silent()),
                Err(_) => {
                    changes.request_progress().await?;
                    continue;
                }
            };
            let event = match message {
                WatchMessage::Progress => FollowEvent::Heartbeat,
                WatchMessage::Changes { revision, changes } => {
                    if let Some(position) = &mut self.position {
                        position.revision = revision;
                    }
                    FollowEvent::Changes(changes)
                }
            };
            let last_contact = Instant::now();
            self.stage = Stage::Watching { changes, connection, last_contact, last_probe };
            return Ok(event);
        }
    }
}

fn silent() -> EtcdError {
    EtcdError::Other(format!("the member sent nothing for {} s", SILENCE_MAX.as_secs()))
}
