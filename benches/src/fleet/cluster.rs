//! Three members of etcd on free ports, with their data where repositories that are pushed to are kept: each write waits
//! for the disk, as theirs does.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headwater::source::OpenOptions;
use headwater::source::etcd::EtcdSource;
use headwater_etcd::{Access, Address, Connection};
use tokio::runtime::Runtime;

use crate::Options;
use crate::client::Client;
use crate::process::free_address;

/// How many members there are.
const MEMBER_COUNT: usize = 3;
/// How long they may take to choose a leader.
const START_MAX: Duration = Duration::from_secs(30);
/// How often they are asked whether they have one.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The cluster, and what talks to it.
pub(super) struct Cluster {
    members: Vec<Member>,
    pub(super) runtime: Runtime,
}

struct Member {
    process: Child,
    address: SocketAddr,
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Cluster {
    /// A new one, without anything in it. Returns once each member takes requests.
    pub(super) fn start(options: &Options) -> anyhow::Result<Self> {
        let place = options.disk()?.join("etcd");
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place)?;
        let mut ports = Vec::new();
        for _ in 0..MEMBER_COUNT {
            ports.push((free_address()?, free_address()?));
        }
        let peers = ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}=http://{peer}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (at, (address, peer)) in ports.iter().enumerate() {
            let (url, peer) = (format!("http://{address}"), format!("http://{peer}"));
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(place.join(format!("m{at}")));
            command.args(["--name", &format!("m{at}")]);
            command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &peers, "--logger", "zap", "--log-level", "fatal"]);
            // Nobody is elected because of a full machine.
            command.args(["--heartbeat-interval", "200", "--election-timeout", "2000"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = command.spawn().context("cannot start etcd")?;
            members.push(Member { process, address: *address });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let cluster = Self { members, runtime };
        for at in 0..MEMBER_COUNT {
            cluster.member_ready(at)?;
        }
        Ok(cluster)
    }

    fn member_ready(&self, at: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let client = Client::connect(self.address(at)).ok();
            let answer = client.and_then(|mut client| client.get("/health").ok());
            if answer.is_some_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if begun.elapsed() > START_MAX {
                bail!("etcd does not take requests");
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Where clients find a member.
    pub(super) fn address(&self, at: usize) -> SocketAddr {
        self.members[at % MEMBER_COUNT].address
    }

    /// What a source or a share is told.
    pub(super) fn uri(&self, prefix: &str) -> String {
        let members: Vec<String> =
            self.members.iter().map(|member| member.address.to_string()).collect();
        format!("etcd://{}/{prefix}", members.join(","))
    }

    /// A source of this process.
    pub(super) fn source(&self, prefix: &str) -> anyhow::Result<EtcdSource> {
        let options = OpenOptions::default();
        let runtime = self.runtime.handle();
        Ok(EtcdSource::open(&self.uri(prefix), options, Access::default(), runtime)?)
    }

    /// The revision of etcd.
    pub(super) fn revision(&self) -> anyhow::Result<i64> {
        Ok(self.connection()?.1)
    }

    /// How many keys below a prefix were written after a revision, and their bytes.
    pub(super) fn written_after(
        &self,
        prefix: &str,
        revision: i64,
    ) -> anyhow::Result<(usize, usize)> {
        let (mut connection, now) = self.connection()?;
        self.runtime.block_on(async {
            let (mut count, mut byte_count) = (0, 0);
            for (key, written_at) in connection.names(&format!("{prefix}/"), now).await? {
                if written_at > revision {
                    let key = String::from_utf8(key)?;
                    let value = connection.read(&[&key]).await?.pop().and_then(|it| it.bytes);
                    count += 1;
                    byte_count += key.len() + value.map_or(0, |value| value.len());
                }
            }
            Ok((count, byte_count))
        })
    }

    fn connection(&self) -> anyhow::Result<(Connection, i64)> {
        let address =
            Address::parse(&self.uri("bench")).map_err(|error| anyhow::anyhow!("{}", error.0))?;
        let endpoint = address.endpoints.first().context("no member")?.clone();
        let probe = format!("{}/", address.prefix);
        let cluster = headwater_etcd::Cluster { address, access: Access::default(), probe };
        let opened = self.runtime.block_on(Connection::open(&cluster, &endpoint));
        let (connection, position) = opened.map_err(|fault| anyhow::anyhow!("etcd: {fault}"))?;
        Ok((connection, position.revision))
    }

    /// Ends all members.
    pub(super) fn stop(&mut self) {
        for member in &mut self.members {
            // They may have ended by themselves.
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}
