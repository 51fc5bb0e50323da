//! Following all keys below a prefix: read at one revision, then watched from the next one on.
//!
//! A connection that says nothing for a while is given up for one to another member, which goes on where it ended. If etcd
//! does not know any more what came next, all keys are read again: there is never a gap.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::connection::{Changes, Heard};
use crate::{Change, Cluster, Connection, Fault, Position};

/// How often a member is asked whether it is there, on a watch that says nothing.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a watch may say nothing at all before another member is tried.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// The first pause after all members failed once, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What one who follows hears.
pub enum News {
    /// All keys are read anew: they come now.
    Anew,
    /// Some of them, in their order.
    Keys(Vec<(Vec<u8>, Vec<u8>)>),
    /// That were all. Those of before that did not come are gone.
    Whole,
    /// The watch stands, on this or another member.
    Following,
    /// What changed, of one or several whole revisions.
    Changes(Vec<Change>),
    /// The member is there, and nothing changed.
    Alive,
    /// The connection is lost. Another one is tried when the next news is asked for.
    Away(Fault),
}

/// Follows the keys below a prefix. Nothing goes on while it is not asked for news.
pub struct Follower {
    cluster: Cluster,
    prefix: String,
    member: usize,
    failed_count: usize,
    pause: Duration,
    /// Up to where everything was told.
    position: Option<Position>,
    stage: Stage,
}

enum Stage {
    Apart,
    Reading { connection: Connection, at: Position, from: Option<Vec<u8>>, is_told: bool },
    Beginning { connection: Connection, at: Position },
    Following { changes: Changes, heard_at: Instant },
}

impl Follower {
    /// Of the keys that begin with `prefix`.
    pub fn new(cluster: Cluster, prefix: String) -> Self {
        let member = fastrand::usize(..cluster.address.endpoints.len());
        Self {
            cluster,
            prefix,
            member,
            failed_count: 0,
            pause: PAUSE_MIN,
            position: None,
            stage: Stage::Apart,
        }
    }

    /// Has all keys read anew, since what was told could not be taken.
    pub fn forget(&mut self) {
        self.position = None;
        self.stage = Stage::Apart;
        // It would most likely be the same again, so there is a pause before it.
        self.failed_count = self.cluster.address.endpoints.len();
    }

    /// What is next. To be awaited to its end. In a box for the reason that [`crate::Answer`] is.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is no iterator, and all asynchronous ones call it so"
    )]
    pub fn next(&mut self) -> Pin<Box<dyn Future<Output = News> + Send + '_>> {
        Box::pin(self.step())
    }

    async fn step(&mut self) -> News {
        let stage = std::mem::replace(&mut self.stage, Stage::Apart);
        let news = match stage {
            Stage::Apart => self.open().await,
            Stage::Reading { connection, at, from, is_told: false } => {
                self.stage = Stage::Reading { connection, at, from, is_told: true };
                return News::Anew;
            }
            Stage::Reading { connection, at, from, is_told: true } => {
                self.read(connection, at, from).await
            }
            Stage::Beginning { connection, at } => self.begin(&connection, at).await,
            Stage::Following { changes, heard_at } => self.listen(changes, heard_at).await,
        };
        match news {
            Ok(news) => news,
            Err(Fault::Compacted) => {
                self.position = None;
                News::Alive
            }
            Err(fault) => {
                self.member = (self.member + 1) % self.cluster.address.endpoints.len();
                self.failed_count += 1;
                News::Away(fault)
            }
        }
    }

    /// A connection that goes on where the last one ended; all keys are read first if there was none, or if it was of
    /// another cluster or another life of this one.
    async fn open(&mut self) -> Result<News, Fault> {
        let member_count = self.cluster.address.endpoints.len();
        if self.failed_count > 0 && self.failed_count.is_multiple_of(member_count) {
            // Not all who follow at the same time.
            tokio::time::sleep(self.pause.mul_f64(0.5 + fastrand::f64())).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        let endpoint = &self.cluster.address.endpoints[self.member];
        let (connection, now) = Connection::open(&self.cluster, endpoint).await?;
        let known = self
            .position
            .filter(|known| known.cluster == now.cluster && known.revision <= now.revision);
        self.stage = match known {
            Some(at) => Stage::Beginning { connection, at },
            None => Stage::Reading {
                connection,
                at: now,
                from: Some(self.prefix.clone().into_bytes()),
                is_told: false,
            },
        };
        Ok(News::Alive)
    }

    async fn read(
        &mut self,
        mut connection: Connection,
        at: Position,
        from: Option<Vec<u8>>,
    ) -> Result<News, Fault> {
        let Some(from) = from else {
            self.position = Some(at);
            self.stage = Stage::Beginning { connection, at };
            return Ok(News::Whole);
        };
        let page = connection.page(&from, &self.prefix, at.revision).await?;
        self.stage = Stage::Reading { connection, at, from: page.next, is_told: true };
        Ok(News::Keys(page.keys))
    }

    async fn begin(&mut self, connection: &Connection, at: Position) -> Result<News, Fault> {
        let changes = connection.watch(&self.prefix, at.revision + 1).await?;
        (self.failed_count, self.pause) = (0, PAUSE_MIN);
        self.stage = Stage::Following { changes, heard_at: Instant::now() };
        Ok(News::Following)
    }

    async fn listen(&mut self, mut changes: Changes, heard_at: Instant) -> Result<News, Fault> {
        loop {
            let heard = match timeout_at(Instant::now() + ASK_EVERY, changes.next()).await {
                Ok(heard) => heard?,
                Err(_) if heard_at.elapsed() > SILENCE_MAX => {
                    return Err(Fault::Other("the member says nothing any more".to_owned()));
                }
                Err(_) => {
                    changes.ask().await?;
                    continue;
                }
            };
            let news = match heard {
                Heard::Nothing => News::Alive,
                Heard::Changes { revision, changes } => {
                    if let Some(position) = &mut self.position {
                        position.revision = revision;
                    }
                    News::Changes(changes)
                }
            };
            self.stage = Stage::Following { changes, heard_at: Instant::now() };
            return Ok(news);
        }
    }
}
