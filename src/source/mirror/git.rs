//! One run of the `git` program: a fixed command line, an environment of our own, bounds on time and on what comes back.
//!
//! What git says is for people at a terminal and may hold what a remote put there. It is told apart here into sentences of
//! our own and goes no further.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::access::Access;
use super::address::{Remote, Transport};
use super::group::{Group, Running};
use super::reason::{Given, reason};

/// How much of what git says about a failure is looked at, in bytes.
const STDERR_BYTES_MAX: usize = 16 * 1024;
/// The largest list of references that is taken, in bytes.
const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The size of the blocks that a shell counts files in.
const BLOCK_BYTES: u64 = 512;

/// Starts git: bounds what it may write into one file, and moves what it may ask for out of its standard input, which
/// is then empty. All that varies comes as arguments.
const START: &str = r#"ulimit -f "$1" && shift && exec 3<&0 </dev/null && exec git "$@""#;
/// Answers git's question for credentials with what START put aside; it can be read once.
const HELPER: &str = r#"credential.helper=!f() { test "$1" = get && cat <&3; }; f"#;

/// What of our own environment git is given: where programs are, and how the world outside is reached.
const VARIABLES: [&str; 9] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "TMPDIR",
];

/// Settings that no repository and no user can change.
const SETTINGS: [&str; 24] = [
    "protocol.allow=never",
    "transfer.credentialsInUrl=die",
    "transfer.bundleURI=false",
    "http.followRedirects=false",
    "http.sslVerify=true",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "http.emptyAuth=false",
    "credential.helper=",
    "core.askPass=",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.fsync=committed",
    "core.bigFileThreshold=32m",
    "gc.auto=0",
    "maintenance.auto=false",
    "pack.threads=1",
    "fetch.fsckObjects=true",
    // Harmless, and in the history of many an old repository.
    "fetch.fsck.zeroPaddedFilemode=warn",
    "fetch.fsck.badTimezone=warn",
    "fetch.fsck.missingSpaceBeforeDate=warn",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "advice.fetchShowForcedUpdates=false",
];

/// Runs git for one remote.
#[derive(Debug)]
pub(super) struct Git {
    pub(super) remote: Remote,
    pub(super) access: Access,
    /// An empty directory: git and ssh find nothing of anybody's in it.
    pub(super) home: PathBuf,
    /// The longest that one run takes.
    pub(super) time_max: Duration,
    /// The most that one run writes into one file.
    pub(super) pack_bytes_max: u64,
    pub(super) running: Arc<Running>,
}

/// Why a run did not do what it was for. For people; holds no path, no credential, and nothing that a remote said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct GitError(pub(super) String);

/// What a run may do.
enum Run<'a> {
    /// Speaks to the remote.
    Remote(&'a [&'a OsStr]),
    /// Looks at our own copy.
    Local(&'a [&'a OsStr]),
}

impl Git {
    /// The references of the remote, as `git ls-remote --symref` lists them.
    pub(super) async fn list(&self) -> Result<String, GitError> {
        let address = OsStr::new(&self.remote.address);
        let arguments = ["ls-remote", "--symref", "--quiet", "--"].map(OsStr::new);
        let patterns = ["HEAD", "refs/heads/*", "refs/tags/*"].map(OsStr::new);
        let arguments = [&arguments[..], &[address], &patterns].concat();
        let listed = self.run(Run::Remote(&arguments), self.time_max).await?;
        String::from_utf8(listed)
            .map_err(|_| GitError("the remote has a reference whose name is no UTF-8".to_owned()))
    }

    /// Brings all branches and tags of the remote into a copy. Takes none away: where a host answers with something else
    /// than git, such as a page of HTML, git sees a remote without any.
    pub(super) async fn fetch(&self, copy: &Path, time_max: Duration) -> Result<(), GitError> {
        let (directory, safe) = (git_directory(copy), safe_directory(copy));
        let arguments = [
            OsStr::new("-c"),
            &safe,
            &directory,
            OsStr::new("fetch"),
            OsStr::new("--quiet"),
            OsStr::new("--no-tags"),
            OsStr::new("--no-write-fetch-head"),
            OsStr::new("--no-auto-maintenance"),
            OsStr::new("--no-recurse-submodules"),
            OsStr::new("--no-show-forced-updates"),
            OsStr::new("--update-head-ok"),
            OsStr::new("--"),
            OsStr::new(&self.remote.address),
            OsStr::new("+refs/heads/*:refs/heads/*"),
            OsStr::new("+refs/tags/*:refs/tags/*"),
        ];
        self.run(Run::Remote(&arguments), time_max).await.map(drop)
    }

    /// Whether a copy has every commit of its history, and all that the newest ones hold.
    pub(super) async fn is_whole(&self, copy: &Path) -> Result<(), GitError> {
        self.inspect(copy, &["rev-list", "--all", "--quiet"]).await?;
        self.inspect(copy, &["rev-list", "--objects", "--no-walk", "--all", "--quiet"]).await
    }

    /// Packs a copy that has become untidy. Nothing may read it meanwhile.
    pub(super) async fn tidy(&self, copy: &Path) -> Result<(), GitError> {
        let arguments =
            ["-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"];
        self.inspect(copy, &arguments).await
    }

    async fn inspect(&self, copy: &Path, arguments: &[&str]) -> Result<(), GitError> {
        let (directory, safe) = (git_directory(copy), safe_directory(copy));
        let mut all = vec![OsStr::new("-c"), &safe, &directory];
        all.extend(arguments.iter().map(OsStr::new));
        self.run(Run::Local(&all), self.time_max).await.map(drop)
    }

    async fn run(&self, run: Run<'_>, time_max: Duration) -> Result<Vec<u8>, GitError> {
        let credentials = match (&run, &self.access.credentials) {
            (Run::Remote(_), Some(credentials)) => {
                let credentials = credentials.clone();
                let answered = tokio::task::spawn_blocking(move || credentials.answer()).await;
                let broken = |_| GitError("reading the credentials was interrupted".to_owned());
                Some(answered.map_err(broken)?.map_err(GitError)?)
            }
            _ => None,
        };
        let command = self.command(&run, credentials.is_some())?;
        let mut group = Group::start(command, Arc::clone(&self.running))?;
        let ended = tokio::time::timeout(time_max, converse(&mut group.child, credentials)).await;
        match ended {
            Ok(Ok(output)) => {
                group.is_over();
                verdict(&run, output, credentials_are_set(&self.access), self.pack_bytes_max)
            }
            Ok(Err(error)) => {
                group.end().await;
                Err(error)
            }
            Err(_) => {
                group.end().await;
                Err(GitError(format!("git did not end within {} s", time_max.as_secs())))
            }
        }
    }

    fn command(&self, run: &Run<'_>, has_credentials: bool) -> Result<Command, GitError> {
        let mut command = Command::new("/bin/sh");
        let blocks = self.pack_bytes_max.div_ceil(BLOCK_BYTES).to_string();
        command.args(["-c", START, "git", &blocks]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.env_clear();
        for name in VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1");
        let arguments = match run {
            Run::Local(arguments) => {
                command.env("GIT_ALLOW_PROTOCOL", "none");
                arguments
            }
            Run::Remote(arguments) => {
                self.allow(&mut command, has_credentials)?;
                arguments
            }
        };
        command.args(*arguments);
        command
            .current_dir(&self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Opens the one way to the remote.
    fn allow(&self, command: &mut Command, has_credentials: bool) -> Result<(), GitError> {
        let protocol = self.remote.transport.protocol();
        command.args(["-c", &format!("protocol.{protocol}.allow=always")]);
        command.env("GIT_ALLOW_PROTOCOL", protocol);
        if let Some(ca_file) = &self.access.ca_file {
            let mut setting = OsString::from("http.sslCAInfo=");
            setting.push(ca_file);
            command.arg("-c").arg(setting);
        }
        if has_credentials {
            command.args(["-c", HELPER]);
        }
        if let (Transport::Ssh, Some(ssh)) = (self.remote.transport, &self.access.ssh) {
            let ssh = ssh.command().map_err(GitError)?;
            command.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        }
        Ok(())
    }
}

fn git_directory(copy: &Path) -> OsString {
    let mut argument = OsString::from("--git-dir=");
    argument.push(copy);
    argument
}

/// The owner of our own copy is known; git would ask who it is.
fn safe_directory(copy: &Path) -> OsString {
    let mut argument = OsString::from("safe.directory=");
    argument.push(copy);
    argument
}

fn credentials_are_set(access: &Access) -> Given {
    match access.credentials.is_some() || access.ssh.is_some() {
        true => Given::Something,
        false => Given::Nothing,
    }
}

/// What came back.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Gives git what it may ask for, and reads what it says until it ends.
async fn converse(child: &mut Child, credentials: Option<String>) -> Result<Output, GitError> {
    let lost = |error: std::io::Error| GitError(format!("git was lost: {}", error.kind()));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let (Some(mut stdin), Some(credentials)) = (stdin, credentials) {
        // It fits into the pipe. One that ends before it asks needs no answer.
        let _ = stdin.write_all(credentials.as_bytes()).await;
    }
    let (stdout, stderr) = tokio::join!(all(stdout), beginning(stderr));
    let status = child.wait().await.map_err(lost)?;
    Ok(Output { status, stdout: stdout?, stderr })
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, GitError> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was cut off by an error shows in how git ended.
        let _ = stream.take(LIST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await;
    }
    match bytes.len() > LIST_BYTES_MAX {
        true => Err(GitError("the remote has too many references".to_owned())),
        false => Ok(bytes),
    }
}

/// The first of it; the rest is read and dropped, so that nobody waits for a reader.
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Some(mut stream) = stream else { return bytes };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = STDERR_BYTES_MAX.saturating_sub(bytes.len());
        bytes.extend_from_slice(&buffer[..count.min(room)]);
    }
    bytes
}

fn verdict(
    run: &Run<'_>,
    output: Output,
    given: Given,
    pack_bytes_max: u64,
) -> Result<Vec<u8>, GitError> {
    let said = String::from_utf8_lossy(&output.stderr);
    match run {
        // It says something although it goes on: a reference that leads nowhere.
        Run::Local(_) if output.status.success() && said.trim().is_empty() => Ok(output.stdout),
        Run::Local(_) => Err(GitError("the copy is not whole".to_owned())),
        Run::Remote(_) if output.status.success() => Ok(output.stdout),
        Run::Remote(_) => Err(GitError(reason(&said, output.status, given, pack_bytes_max))),
    }
}
