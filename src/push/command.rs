//! How git is run: a fixed line of arguments, an empty environment, and no configuration but ours.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Permission, Service, Terms};
use crate::data::DataDirectory;

/// Where programs are looked for when the environment does not say.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What one process of git may use of a processor, in seconds.
const PROCESSOR_SECONDS_MAX: u64 = 300;
/// The memory that one process of git may map, in bytes; packs are mapped.
const MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// How long git may take to end by itself once nothing more comes.
const BY_ITSELF_MAX: Duration = Duration::from_secs(10);
/// How long git may take to clean up when it is told to end.
const CLEAN_UP_MAX: Duration = Duration::from_secs(5);
/// What a file may be larger than the largest pack, in bytes.
const FILE_BYTES_SLACK: u64 = 64 * 1024 * 1024;

/// How git is run for the repositories of this server.
pub(super) struct Git {
    hooks: PathBuf,
    program: PathBuf,
    search: OsString,
    configuration: Vec<String>,
    file_bytes_max: u64,
    data: Arc<DataDirectory>,
}

impl Git {
    /// With the directory of our hook.
    pub(super) fn new(hooks: PathBuf, terms: &Terms, data: Arc<DataDirectory>) -> Self {
        let denied = |permission| permission == Permission::Denied;
        let configuration = vec![
            "receive.fsckObjects=true".to_owned(),
            "receive.autogc=false".to_owned(),
            "receive.updateServerInfo=false".to_owned(),
            "receive.advertisePushOptions=false".to_owned(),
            "receive.denyDeleteCurrent=refuse".to_owned(),
            format!("receive.denyDeletes={}", denied(terms.deleting)),
            format!("receive.denyNonFastForwards={}", denied(terms.forcing)),
            format!("receive.maxInputSize={}", terms.pack_bytes_max),
            // Which ids are given out is decided here before git is asked; the second version of the protocol, in which it
            // does not see to that, is not spoken.
            "uploadpack.allowAnySHA1InWant=false".to_owned(),
            "uploadpack.allowTipSHA1InWant=false".to_owned(),
            "uploadpack.allowReachableSHA1InWant=true".to_owned(),
            "uploadpack.allowFilter=false".to_owned(),
            "core.protectHFS=true".to_owned(),
            "core.protectNTFS=true".to_owned(),
            // A reference never names a file that is empty after a power cut. The objects are synced before it moves.
            "core.fsync=reference".to_owned(),
            "core.fsyncMethod=fsync".to_owned(),
            "core.logAllRefUpdates=false".to_owned(),
            // The quarantine borrows from the repository itself, whose references are known: one process less.
            "core.alternateRefsCommand=true".to_owned(),
            "core.fsmonitor=false".to_owned(),
            "gc.auto=0".to_owned(),
        ];
        let search = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        Self {
            hooks,
            program: program(&search),
            search,
            configuration,
            file_bytes_max: terms.pack_bytes_max.saturating_add(FILE_BYTES_SLACK),
            data,
        }
    }

    /// A service on a repository, the request on its standard input and the answer on its standard output.
    pub(super) fn serve(&self, service: Service, repository: &Path) -> Command {
        self.command(service, &["--stateless-rpc"], repository)
    }

    /// What a service has to offer.
    pub(super) fn advertise(&self, service: Service, repository: &Path) -> Command {
        self.command(service, &["--http-backend-info-refs"], repository)
    }

    /// Puts loose objects and small packs together, and on the disk before anything is taken away.
    pub(super) fn repack(&self, repository: &Path) -> Command {
        let mut command = self.git(repository);
        command.args(["-c", "core.fsync=all", "-c", "pack.threads=1"]);
        command.args(["repack", "--geometric=2", "-d", "-l", "-q"]);
        command.env("GIT_DIR", repository).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn command(&self, service: Service, arguments: &[&str], repository: &Path) -> Command {
        let mut command = self.git(repository);
        command.arg(service.name()).args(arguments).arg(repository);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Git with our settings, and nothing that it is to do yet.
    pub(super) fn git(&self, repository: &Path) -> Command {
        let mut command = Command::new(&self.program);
        clean(command.as_std_mut(), &self.search, repository);
        let mut hooks = OsString::from("core.hooksPath=");
        hooks.push(&self.hooks);
        command.arg("-c").arg(hooks);
        for setting in &self.configuration {
            command.arg("-c").arg(setting);
        }
        command.process_group(0).kill_on_drop(true);
        command
    }

    /// Starts what works on our own account. What it has to complain of is not heard: in place of it stands what tells the
    /// next server that it is still at work, should this one be killed.
    pub(super) fn start_own(&self, mut command: Command) -> std::io::Result<Running> {
        command.stderr(self.data.at_work()?);
        let child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Running { child, group })
    }

    /// Starts what works for a client, with bounds on what it and its children may use.
    pub(super) fn start(&self, command: Command) -> std::io::Result<Running> {
        let running = self.start_own(command)?;
        let id = running.group;
        let bound = |resource, most| {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            // Where it cannot be had, the limits on time and input stand still.
            let _ = prlimit(id, resource, limit);
        };
        if id.is_some() {
            bound(Resource::Cpu, PROCESSOR_SECONDS_MAX);
            bound(Resource::As, MEMORY_BYTES_MAX);
            bound(Resource::Fsize, self.file_bytes_max);
        }
        Ok(running)
    }
}

/// Where git is. A program that is named by its path is started without a copy of this process, which takes the longer the
/// more is in memory; one that is not found keeps its bare name, and the start says what is wrong.
fn program(search: &OsString) -> PathBuf {
    let found = std::env::split_paths(search).map(|directory| directory.join("git"));
    found
        .into_iter()
        .find(|path| path.is_absolute() && path.is_file())
        .unwrap_or_else(|| "git".into())
}

/// Nothing of our own environment, nobody's configuration, and no doubt about whose repository it is.
pub(super) fn clean(command: &mut std::process::Command, search: &OsString, repository: &Path) {
    let mut safe = OsString::from("safe.directory=");
    safe.push(repository);
    command
        .env_clear()
        .env("PATH", search)
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_COMMITTER_NAME", "Headwater")
        .env("GIT_COMMITTER_EMAIL", "headwater@localhost")
        .current_dir(repository.parent().unwrap_or(repository))
        .arg("-c")
        .arg(safe);
}

/// A process of git with its children; they end with this.
pub(super) struct Running {
    pub(super) child: Child,
    group: Option<Pid>,
}

impl Running {
    /// Asks all of them to end, so that they clean up, and sees to it that they have ended.
    pub(super) async fn end(&mut self) {
        // One whose input is over ends by itself, and cleans up, which it may not yet do when it is told to end.
        if timeout(BY_ITSELF_MAX, self.child.wait()).await.is_ok() {
            return;
        }
        self.signal(Signal::TERM);
        if timeout(CLEAN_UP_MAX, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // What cannot be waited for has been waited for.
            let _ = self.child.wait().await;
        }
    }

    fn signal(&self, signal: Signal) {
        // Until it was waited for, the id belongs to this child and to no other process.
        if let Some(group) = self.group.filter(|_| self.child.id().is_some()) {
            // A group that has ended already cannot be told, and need not be.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
