//! One Headwater server of the fleet: the real binary, its data directory, and its own ways to etcd.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http;
use crate::process::{Program, until};
use crate::proxy::Proxy;

/// The repository that the fleet hosts.
pub(crate) const REPOSITORY: &str = "config";
/// What the fleet's keys begin with in etcd.
pub(crate) const PREFIX: &str = "fleet";
/// How long a replica may take to listen, and to serve.
const START_MAX: Duration = Duration::from_secs(60);
/// The library that gives a process a clock of its own, as Debian's package `faketime` installs it.
const CLOCK_LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A replica. It is killed when it is dropped.
pub(crate) struct Replica {
    pub(crate) name: String,
    /// Its ways to the members of etcd, in their order.
    pub(crate) ways: Vec<Proxy>,
    binary: PathBuf,
    place: PathBuf,
    seed: PathBuf,
    has_own_clock: bool,
    is_at_fault: AtomicBool,
    running: Mutex<Option<Program>>,
    address: Mutex<SocketAddr>,
}

/// What all replicas have in common.
pub(crate) struct Common<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) place: &'a Path,
    pub(crate) seed: &'a Path,
}

impl Replica {
    /// Not started yet.
    pub(crate) fn new(name: String, ways: Vec<Proxy>, common: &Common) -> Result<Self> {
        let place = common.place.join(&name);
        fs::create_dir_all(&place)?;
        Ok(Self {
            name,
            ways,
            binary: common.binary.to_owned(),
            place,
            seed: common.seed.to_owned(),
            has_own_clock: false,
            is_at_fault: AtomicBool::new(false),
            running: Mutex::default(),
            address: Mutex::new(([127, 0, 0, 1], 0).into()),
        })
    }

    /// The same with a clock of its own, which can be moved.
    pub(crate) fn with_own_clock(mut self) -> Result<Self> {
        if !Path::new(CLOCK_LIBRARY).exists() {
            bail!("faketime is not installed: run scripts/install-test-deps.sh once");
        }
        self.has_own_clock = true;
        self.set_clock(0)?;
        Ok(self)
    }

    fn running(&self) -> MutexGuard<'_, Option<Program>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens; another port after each start.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something was done to it that lets its GETs fail.
    pub(crate) fn is_at_fault(&self) -> bool {
        self.is_at_fault.load(Ordering::SeqCst)
    }

    /// Its process.
    pub(crate) fn id(&self) -> Result<u32> {
        self.running().as_ref().map(Program::id).context("a replica that runs")
    }

    /// Its repository on its disk.
    pub(crate) fn repository(&self) -> PathBuf {
        self.data().join(format!("hosted/{REPOSITORY}.git"))
    }

    fn data(&self) -> PathBuf {
        self.place.join("data")
    }

    /// Starts it and returns once it says where it listens.
    pub(crate) fn start(&self) -> Result<()> {
        let said = || self.said().unwrap_or_default();
        let before = said().len();
        *self.running() = Some(Program::start(&mut self.command(), &self.log())?);
        until(&format!("{} listens", self.name), START_MAX, || {
            let ended = self.running().as_mut().map(Program::has_ended).transpose()?;
            if ended != Some(false) {
                bail!("{} has ended by itself: {}", self.name, &said()[before..]);
            }
            let Some(address) = listening(&said()[before..]) else { return Ok(false) };
            *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
            Ok(true)
        })
    }

    fn log(&self) -> PathBuf {
        self.place.with_extension("log")
    }

    /// All that it has written into its log since the fleet was started.
    pub(crate) fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(self.log())?)
    }

    fn command(&self) -> Command {
        let members: Vec<String> = self.ways.iter().map(|way| way.address.to_string()).collect();
        let share = format!("etcd://{}/{PREFIX}", members.join(","));
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("HEADWATER_")) {
                command.env_remove(name);
            }
        }
        command
            .args(["serve", "--source", &format!("hosted:{REPOSITORY}")])
            .args(["--share", &share, "--replica", &self.name, "--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(self.data())
            .arg("--seed")
            .arg(&self.seed)
            .env("HEADWATER_ROLLOUT_DEFAULT", "off")
            .current_dir(&self.place);
        if self.has_own_clock {
            command
                .env("LD_PRELOAD", CLOCK_LIBRARY)
                .env("FAKETIME_TIMESTAMP_FILE", self.clock())
                .env("FAKETIME_CACHE_DURATION", "1")
                // What jumps is the time of day.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
    }

    /// Waits until it serves.
    pub(crate) fn wait(&self, path: &str) -> Result<()> {
        until(&format!("{} serves", self.name), START_MAX, || {
            Ok(http::get(self.address(), path).is_ok_and(|reply| reply.status == 200))
        })
    }

    /// Kills it. From now on nobody expects an answer of it.
    pub(crate) fn kill(&self) {
        self.is_at_fault.store(true, Ordering::SeqCst);
        drop(self.running().take());
    }

    /// Starts it again; from when it serves, answers are expected of it.
    pub(crate) fn restart(&self, path: &str) -> Result<()> {
        self.start()?;
        self.wait(path)?;
        self.is_at_fault.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Takes away all that it kept.
    pub(crate) fn lose_disk(&self) -> Result<()> {
        let data = self.data();
        until("nothing of it writes any more", START_MAX, || {
            // Git that it had started may still write.
            Ok(fs::remove_dir_all(&data).is_ok() && !data.exists())
        })
    }

    fn clock(&self) -> PathBuf {
        self.place.with_extension("clock")
    }

    /// Moves its clock to so many seconds beside everybody's.
    pub(crate) fn set_clock(&self, seconds: i64) -> Result<()> {
        let beside = self.clock().with_extension("new");
        fs::write(&beside, format!("{seconds:+}\n"))?;
        Ok(fs::rename(beside, self.clock())?)
    }
}

/// Where a log says that its server listens.
fn listening(log: &str) -> Option<SocketAddr> {
    // The last line may be half written.
    let complete = log.rsplit_once('\n')?.0;
    let line = complete.lines().find(|line| line.contains("\"listening\""))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["url"].as_str()?.split_once("://")?.1.split('/').next()?.parse().ok()
}
