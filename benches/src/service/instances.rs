//! A process with many instances of a service, each with a client of its own: a child of the figures, which tells over its
//! output when each of them knew what.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use headwater_client::{Client, HealthState, Live};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::process::busy_seconds;
use crate::service::Service;

/// How long all instances may take to be configured.
const STARTED_MAX: Duration = Duration::from_secs(60);

/// What each instance does.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// Asks once
    Connect,
    /// Follows
    Live,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Live => "live",
        }
    }
}

/// Nanoseconds of the clock that all processes of the machine share.
pub(super) fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A child that runs instances.
pub(super) struct Instances {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Instances {
    /// Starts the process; the instances wait for [`Instances::begin`].
    pub(super) fn spawn(
        server: SocketAddr,
        application: &str,
        count: usize,
        way: Way,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["instances", &format!("http://{server}"), application])
            .args([&count.to_string(), way.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut instances = Self { child, input, output };
        instances.line("SPAWNED")?;
        Ok(instances)
    }

    /// Lets all instances start at once.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        Ok(self.input.write_all(b"begin\n")?)
    }

    /// Milliseconds from [`Instances::begin`] until the last had its configuration.
    pub(super) fn begun(&mut self) -> anyhow::Result<f64> {
        Ok(self.line("CONFIGURED")?.parse()?)
    }

    /// Returns once every instance says that it is live.
    pub(super) fn live(&mut self) -> anyhow::Result<()> {
        self.line("LIVE").map(drop)
    }

    /// When each instance was told of a change, by [`now`].
    pub(super) fn told(&mut self, mark: &str) -> anyhow::Result<Vec<i64>> {
        let line = self.line("TOLD")?;
        let (told, times) = line.split_once(' ').context("nobody was told")?;
        if told != mark {
            bail!("told of {told} in place of {mark}");
        }
        Ok(times.split(' ').map(str::parse).collect::<Result<_, _>>()?)
    }

    /// Seconds of processor time that the process has used.
    pub(super) fn busy_seconds(&self) -> anyhow::Result<f64> {
        busy_seconds(self.child.id())
    }

    /// What memory the process has of its own, in bytes: pages that it shares are divided among those who share them.
    pub(super) fn proportional_bytes(&self) -> anyhow::Result<f64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).context("no Pss")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no size")?.parse()?;
        Ok(kib * 1024.0)
    }

    fn line(&mut self, word: &str) -> anyhow::Result<String> {
        let line = self.output.next().context("the instances ended")??;
        let rest = line.strip_prefix(word).with_context(|| format!("{line} in place of {word}"))?;
        Ok(rest.trim_start().to_owned())
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child itself: a runtime as services have it, and all instances in it.
pub(crate) fn run(url: &str, application: &str, count: usize, way: Way) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    say("SPAWNED")?;
    std::io::stdin().lock().lines().next().context("nobody says begin")??;
    let begun = now();
    let mut starts = JoinSet::new();
    for _ in 0..count {
        let client = Client::builder().url(url).application(application);
        starts.spawn_on(async move { start(client.build()?, way).await }, runtime.handle());
    }
    let lives = runtime.block_on(configured(starts))?;
    say(&format!("CONFIGURED {}", (now() - begun) as f64 / 1e6))?;
    let lives: Vec<_> = lives.into_iter().flatten().collect();
    if lives.is_empty() {
        return Ok(());
    }
    runtime.block_on(all_live(&lives))?;
    let (seen, told) = unbounded_channel();
    for live in lives {
        runtime.spawn(follow(live, seen.clone()));
    }
    say("LIVE")?;
    runtime.block_on(tell(told, count))
}

async fn start(client: Client, way: Way) -> anyhow::Result<Option<Live<Service>>> {
    match way {
        Way::Connect => {
            client.connect().await?.get::<Service>()?;
            Ok(None)
        }
        Way::Live => Ok(Some(client.live().await?)),
    }
}

async fn configured(
    mut starts: JoinSet<anyhow::Result<Option<Live<Service>>>>,
) -> anyhow::Result<Vec<Option<Live<Service>>>> {
    let mut lives = Vec::new();
    while let Some(started) = tokio::time::timeout(STARTED_MAX, starts.join_next()).await? {
        lives.push(started??);
    }
    Ok(lives)
}

async fn all_live(lives: &[Live<Service>]) -> anyhow::Result<()> {
    for live in lives {
        let mut health = live.health();
        while health.state() != HealthState::Live {
            if !tokio::time::timeout(STARTED_MAX, health.changed()).await? {
                bail!("an instance follows no more");
            }
        }
    }
    Ok(())
}

/// One instance: the moment of each change, and which one it was.
async fn follow(mut live: Live<Service>, seen: UnboundedSender<(String, i64)>) {
    while let Some(service) = live.changed().await {
        let at = now();
        // `http://<mark>.production.internal:<port>/api`
        let url = service.server.endpoint_url.strip_prefix("http://");
        let mark = url.and_then(|url| url.split('.').next()).unwrap_or_default();
        if seen.send((mark.to_owned(), at)).is_err() {
            return;
        }
    }
}

/// A line for each change, once all instances know it.
async fn tell(mut told: UnboundedReceiver<(String, i64)>, count: usize) -> anyhow::Result<()> {
    let mut times = Vec::new();
    while let Some((mark, at)) = told.recv().await {
        times.push(at.to_string());
        if times.len() == count {
            say(&format!("TOLD {mark} {}", times.join(" ")))?;
            times.clear();
        }
    }
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
