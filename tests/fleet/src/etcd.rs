//! Three members of a real etcd on loopback, and what an operator, or bad luck, does to them.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, DeleteOptions, Error,
};
use tokio::runtime::Runtime;

use crate::process::{Program, until};

/// How many members there are.
pub(crate) const MEMBER_COUNT: usize = 3;
/// How large the database of a member may grow: little, so that it is soon full.
const QUOTA_BYTES: &str = "67108864";
/// How many revisions are kept, so that the load by itself never fills it.
const RETAINED_COUNT: &str = "1000";
/// How long a member may take to answer, and the cluster to find itself.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const READY_MAX: Duration = Duration::from_secs(60);
/// Where the filling lies: nothing of Headwater's is below it.
const FILLING: &str = "filling/";
/// The filling comes in pieces of this size, and no more of them than fit twice.
const PIECE_BYTES: usize = 1_000_000;
const PIECE_COUNT_MAX: usize = 140;

/// The cluster. Its members end when it is dropped.
pub(crate) struct Cluster {
    members: Vec<Member>,
    runtime: Runtime,
}

struct Member {
    client: SocketAddr,
    arguments: Vec<String>,
    log: PathBuf,
    program: Mutex<Option<Program>>,
}

impl Member {
    fn program(&self) -> MutexGuard<'_, Option<Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<()> {
        let program = Program::start(Command::new("etcd").args(&self.arguments), &self.log)?;
        *self.program() = Some(program);
        Ok(())
    }

    /// Starts it again if it has ended by itself: something else may have had its port for a moment.
    fn keep(&self) -> Result<()> {
        let has_ended = self.program().as_mut().map(Program::has_ended).transpose()?;
        if has_ended == Some(true) { self.start() } else { Ok(()) }
    }
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Cluster {
    /// Starts it below a directory, and waits until it takes requests.
    pub(crate) fn start(place: &Path) -> Result<Self> {
        let ports: Vec<(SocketAddr, SocketAddr)> =
            (0..MEMBER_COUNT).map(|_| Ok((free()?, free()?))).collect::<Result<_>>()?;
        let peers = ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}=http://{peer}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        let member = |(at, (client, peer)): (usize, &(SocketAddr, SocketAddr))| Member {
            client: *client,
            arguments: [
                ("name", format!("m{at}")),
                ("data-dir", place.join(format!("m{at}")).display().to_string()),
                ("listen-client-urls", format!("http://{client}")),
                ("advertise-client-urls", format!("http://{client}")),
                ("listen-peer-urls", format!("http://{peer}")),
                ("initial-advertise-peer-urls", format!("http://{peer}")),
                ("initial-cluster", peers.clone()),
                ("heartbeat-interval", "100".to_owned()),
                ("election-timeout", "1000".to_owned()),
                ("quota-backend-bytes", QUOTA_BYTES.to_owned()),
                ("auto-compaction-mode", "revision".to_owned()),
                ("auto-compaction-retention", RETAINED_COUNT.to_owned()),
                ("logger", "zap".to_owned()),
            ]
            .map(|(name, value)| format!("--{name}={value}"))
            .to_vec(),
            log: place.join(format!("m{at}.log")),
            program: Mutex::default(),
        };
        let members: Vec<Member> = ports.iter().enumerate().map(member).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("a runtime")?;
        let cluster = Self { members, runtime };
        (0..MEMBER_COUNT).try_for_each(|at| cluster.members[at].start())?;
        cluster.wait()?;
        Ok(cluster)
    }

    /// Where clients find a member.
    pub(crate) fn address(&self, at: usize) -> SocketAddr {
        self.members[at].client
    }

    /// The process of a member.
    pub(crate) fn id(&self, at: usize) -> Result<u32> {
        self.members[at].program().as_ref().map(Program::id).context("a member that runs")
    }

    pub(crate) fn kill(&self, at: usize) {
        drop(self.members[at].program().take());
    }

    /// Starts members again that were killed, and waits for them.
    pub(crate) fn restart(&self, killed: &[usize]) -> Result<()> {
        killed.iter().try_for_each(|at| self.members[*at].start())?;
        self.wait()
    }

    /// Waits until every member takes requests.
    fn wait(&self) -> Result<()> {
        until("every member of etcd takes requests", READY_MAX, || {
            self.members.iter().try_for_each(Member::keep)?;
            let takes = |at| self.on(at, async |mut it| it.get("ready", None).await).is_ok();
            Ok((0..MEMBER_COUNT).all(takes))
        })
    }

    /// Asks one member for something.
    fn on<T>(&self, at: usize, work: impl AsyncFnOnce(Client) -> Result<T, Error>) -> Result<T> {
        let url = format!("http://{}", self.members[at].client);
        let asked = async { work(Client::connect([url], None).await?).await };
        Ok(self.limited(asked)??)
    }

    fn limited<T>(&self, asked: impl Future<Output = T>) -> Result<T> {
        let limited = async { tokio::time::timeout(ANSWER_MAX, asked).await };
        self.runtime.block_on(limited).context("etcd does not answer")
    }

    /// The member that leads.
    pub(crate) fn leader(&self) -> Result<usize> {
        let leads = |at: &usize| {
            let status = self.on(*at, async |mut it| it.status().await);
            status.is_ok_and(|status| {
                status.header().is_some_and(|header| header.member_id() == status.leader())
            })
        };
        (0..MEMBER_COUNT).find(leads).context("no member leads")
    }

    /// Forgets all that is older than now.
    pub(crate) fn compact(&self) -> Result<()> {
        self.on(0, async |mut it| {
            let now = it.get("ready", None).await?;
            let revision = now.header().map_or(0, etcd_client::ResponseHeader::revision);
            let options = CompactionOptions::new().with_physical();
            match it.compact(revision, Some(options)).await {
                // It has compacted by itself meanwhile.
                Err(Error::GRpcStatus(status)) if status.message().contains("compacted") => Ok(()),
                other => other.map(drop),
            }
        })
    }

    /// Rewrites the database of one member after the other, as operators do.
    pub(crate) fn defragment(&self) -> Result<()> {
        (0..MEMBER_COUNT)
            .try_for_each(|at| self.on(at, async |mut it| it.defragment().await.map(drop)))
    }

    /// Fills the database until etcd takes nothing any more.
    pub(crate) fn fill(&self) -> Result<()> {
        for piece in 0..PIECE_COUNT_MAX {
            let value = vec![b'x'; PIECE_BYTES];
            let key = format!("{FILLING}{piece}");
            let put = self.on(0, async |mut it| it.put(key, value, None).await);
            match put {
                Ok(_) => {}
                Err(error) if format!("{error:#}").contains("space exceeded") => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        bail!("etcd is never full")
    }

    /// Takes the filling away and lets etcd take everything again.
    pub(crate) fn empty(&self) -> Result<()> {
        self.on(0, async |mut it| {
            it.delete(FILLING, Some(DeleteOptions::new().with_prefix())).await
        })?;
        self.compact()?;
        self.defragment()?;
        until("etcd has no alarm", READY_MAX, || {
            let raised = self.on(0, async |mut it| {
                let raised = it.alarm(AlarmAction::Get, AlarmType::None, None).await?;
                for alarm in raised.alarms() {
                    let mut whose = AlarmOptions::new();
                    whose.with_member(alarm.member_id());
                    it.alarm(AlarmAction::Deactivate, alarm.alarm(), Some(whose)).await?;
                }
                Ok(raised.alarms().len())
            });
            Ok(raised? == 0)
        })
    }
}
