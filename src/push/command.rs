//! Git processes: fixed arguments, an empty environment, and no configuration but the server's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::policy::{Permission, PushPolicy};
use crate::data::DataDirectory;
use crate::telemetry::{GitTimer, GitUse};

/// The search path for programs when the environment has none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The processor time that one git process may use, in seconds.
const PROCESSOR_SECONDS_MAX: u64 = 300;
/// The memory that one git process may map, in bytes. Git maps packs into memory.
const MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// The maximum time for git to exit by itself after its input has ended.
const EXIT_MAX: Duration = Duration::from_secs(10);
/// The maximum time for git to clean up after it is told to exit.
const CLEAN_UP_MAX: Duration = Duration::from_secs(5);
/// The number of bytes by which a file may exceed the largest pack.
const FILE_BYTES_SLACK: u64 = 64 * 1024 * 1024;

/// The git service that a client requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Clone and fetch.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    /// The service's name in the protocol, after `git-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }
}

/// The program, environment and configuration of git for the repositories of this server.
pub(super) struct GitProgram {
    hooks: PathBuf,
    program: PathBuf,
    search: OsString,
    configuration: Vec<String>,
    file_bytes_max: u64,
    data: Arc<DataDirectory>,
}

impl GitProgram {
    /// Creates the configuration. `hooks` is the directory with the server's hook.
    pub(super) fn new(hooks: PathBuf, policy: &PushPolicy, data: Arc<DataDirectory>) -> Self {
        let denied = |permission| permission == Permission::Denied;
        let configuration = vec![
            "receive.fsckObjects=true".to_owned(),
            "receive.autogc=false".to_owned(),
            "receive.updateServerInfo=false".to_owned(),
            "receive.advertisePushOptions=true".to_owned(),
            "receive.denyDeleteCurrent=refuse".to_owned(),
            // The record of rewinds belongs to the server. Mirrors fetch it, and no push moves it.
            "receive.hideRefs=refs/headwater".to_owned(),
            format!("receive.denyDeletes={}", denied(policy.deleting)),
            format!("receive.denyNonFastForwards={}", denied(policy.forcing)),
            format!("receive.maxInputSize={}", policy.pack_bytes_max),
            // The server decides which ids are given out before it asks git. It does not offer version 2 of the
            // protocol, in which git does not restrict the ids.
            "uploadpack.allowAnySHA1InWant=false".to_owned(),
            "uploadpack.allowTipSHA1InWant=false".to_owned(),
            "uploadpack.allowReachableSHA1InWant=true".to_owned(),
            "uploadpack.allowFilter=false".to_owned(),
            "core.protectHFS=true".to_owned(),
            "core.protectNTFS=true".to_owned(),
            // Invariant: a reference never names a file that is empty after a power failure. The objects are synced
            // before it moves.
            "core.fsync=reference".to_owned(),
            "core.fsyncMethod=fsync".to_owned(),
            "core.logAllRefUpdates=false".to_owned(),
            // The quarantine borrows objects from the repository itself, whose references are known. The setting saves
            // one process.
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
            file_bytes_max: policy.pack_bytes_max.saturating_add(FILE_BYTES_SLACK),
            data,
        }
    }

    /// Builds the command of a service, with the request on its standard input and the answer on its standard output.
    pub(super) fn serve(&self, service: Service, repository: &Path) -> Command {
        self.command(service, &["--stateless-rpc"], repository)
    }

    /// Builds the command that receives a push of a client that may not clone. Every object of its pack has to be
    /// complete: a difference from an object of the repository would show that object to a client that knows its id.
    pub(super) fn receive_whole(&self, repository: &Path) -> Command {
        let mut command = self.git(repository);
        // Git unpacks a small pack by other means, which always add to objects of the repository.
        command.args(["-c", "receive.unpackLimit=1", Service::ReceivePack.name()]);
        // The option has this name in all versions. A git without it receives nothing.
        command.args(["--reject-thin-pack-for-testing", "--stateless-rpc"]).arg(repository);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Builds the command that lists references and capabilities for a service.
    pub(super) fn advertise(&self, service: Service, repository: &Path) -> Command {
        self.command(service, &["--http-backend-info-refs"], repository)
    }

    /// Builds the command that packs loose objects and small packs. Git syncs the new pack before it removes anything.
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

    /// Builds a git command with the server's settings and no subcommand yet.
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

    /// Starts a git process for the server's own work.
    ///
    /// Its standard error is not read. In its place git keeps a file open, which tells the next server that git is
    /// still at work if this server is killed.
    pub(super) fn start_own(&self, mut command: Command) -> std::io::Result<Running> {
        command.stderr(self.data.at_work()?);
        let child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Running { child, group, _timer: GitTimer::start(GitUse::Hosted) })
    }

    /// Starts a git process for a client, and limits the resources of the process and its children.
    pub(super) fn start(&self, command: Command) -> std::io::Result<Running> {
        let running = self.start_own(command)?;
        let id = running.group;
        let bound = |resource, most| {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            // A limit that cannot be set is left out. The limits on time and input apply regardless.
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

/// Finds the git program.
///
/// A program with a full path starts without a copy of this process, which takes longer the more memory is in use. A
/// program that is not found keeps its bare name, and its start reports the error.
fn program(search: &OsString) -> PathBuf {
    let found = std::env::split_paths(search).map(|directory| directory.join("git"));
    found
        .into_iter()
        .find(|path| path.is_absolute() && path.is_file())
        .unwrap_or_else(|| "git".into())
}

/// Gives a command an empty environment and no foreign configuration, and makes git trust the repository regardless of
/// its owner.
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

/// A git process with its children, which are killed when this is dropped.
pub(super) struct Running {
    pub(super) child: Child,
    group: Option<Pid>,
    _timer: GitTimer,
}

impl Running {
    /// Asks the processes to exit, so that they clean up, and makes sure that they have exited.
    pub(super) async fn end(&mut self) {
        // A process whose input has ended exits by itself and cleans up. An early signal may keep it from cleaning up.
        if timeout(EXIT_MAX, self.child.wait()).await.is_ok() {
            return;
        }
        self.signal(Signal::TERM);
        if timeout(CLEAN_UP_MAX, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // A failed wait leaves nothing else to wait for.
            let _ = self.child.wait().await;
        }
    }

    fn signal(&self, signal: Signal) {
        // Invariant: until the child is waited for, the id belongs to it and to no other process.
        if let Some(group) = self.group.filter(|_| self.child.id().is_some()) {
            // A group that has already exited cannot receive a signal and needs none.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
