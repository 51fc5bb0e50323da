//! Runs of the `git` program: a fixed command line, a restricted environment, and limits on time and output.
//!
//! A failure has a summary, which clients may read, and the last lines of git's own message, which the operator reads
//! in the log, in health and at `/-/problems`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::access::Access;
use super::error::GitError;
use super::excerpt::{Hidden, excerpt};
use super::group::{ProcessGroup, RunningGroup};
use super::reason::{ConfiguredCredentials, reason};
use crate::source::git::{RECORD_REFERENCE, git_directory_of};
use crate::source::remote::{Remote, Transport};

/// The longest part of git's error output that is kept, in bytes.
const STDERR_BYTES_MAX: usize = 16 * 1024;
/// The largest list of references that is accepted, in bytes.
const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The unit of the shell's `ulimit -f`, in bytes.
const BLOCK_BYTES: u64 = 512;

/// Starts git with a limit on the size of written files. Moves the pipe with the credentials from standard input, which
/// is empty then, to descriptor 3. All variable parts are arguments.
const START: &str = r#"ulimit -f "$1" && shift && exec 3<&0 </dev/null && exec git "$@""#;
/// Answers git's question for credentials from descriptor 3 of [`START`], once.
const HELPER: &str = r#"credential.helper=!f() { test "$1" = get && cat <&3; }; f"#;

/// The environment variables that git inherits: the search path, the proxies and the temporary directory.
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
    // These faults are harmless, and common in the history of old repositories.
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
    /// The home directory for git and ssh, without the configuration of any user.
    pub(super) home: PathBuf,
    /// The longest time of one run.
    pub(super) time_max: Duration,
    /// The most bytes that one run writes into one file.
    pub(super) pack_bytes_max: u64,
    pub(super) running: Arc<RunningGroup>,
}

/// The permissions of a run, with its arguments.
enum Run<'a> {
    /// The run may connect to the remote.
    Remote(&'a [&'a OsStr]),
    /// The run works on the copy only.
    Local(&'a [&'a OsStr]),
}

impl Git {
    /// The references of the remote, as `git ls-remote --symref` lists them.
    pub(super) async fn list(&self) -> Result<String, GitError> {
        let address = OsStr::new(&self.remote.address);
        let arguments = ["ls-remote", "--symref", "--quiet", "--"].map(OsStr::new);
        let patterns = ["HEAD", "refs/heads/*", "refs/tags/*", RECORD_REFERENCE].map(OsStr::new);
        let arguments = [&arguments[..], &[address], &patterns].concat();
        let listed = self.run(Run::Remote(&arguments), self.time_max).await?;
        String::from_utf8(listed)
            .map_err(|_| GitError::new("the remote has a reference whose name is no UTF-8"))
    }

    /// Fetches all branches and tags of the remote into a copy, and the record of rewinds if the remote has one. A
    /// single fetch keeps the references and the record consistent.
    ///
    /// The refspec of the record is a pattern, because git rejects an exact name that the remote does not have.
    ///
    /// Deletes no reference, because git takes another answer of a host, such as a page of HTML, for a remote without
    /// references.
    pub(super) async fn fetch(&self, copy: &Path, time_max: Duration) -> Result<(), GitError> {
        let (directory, safe) = (git_directory(copy), safe_directory(copy));
        let record = format!("+{RECORD_REFERENCE}*:{RECORD_REFERENCE}*");
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
            OsStr::new(&record),
        ];
        self.run(Run::Remote(&arguments), time_max).await.map(drop)
    }

    /// Checks that a copy has every commit of its history, and all files of the newest commits.
    pub(super) async fn is_whole(&self, copy: &Path) -> Result<(), GitError> {
        self.inspect(copy, &["rev-list", "--all", "--quiet"]).await?;
        self.inspect(copy, &["rev-list", "--objects", "--no-walk", "--all", "--quiet"]).await
    }

    /// Packs a copy that has many loose objects.
    ///
    /// Locking: no reader may use the copy during the run.
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
                let broken = |_| GitError::new("reading the credentials was interrupted");
                Some(answered.map_err(broken)?.map_err(GitError::new)?)
            }
            _ => None,
        };
        let answer = credentials.clone();
        let command = self.command(&run, credentials.is_some())?;
        let mut group = ProcessGroup::start(command, Arc::clone(&self.running))?;
        let ended = tokio::time::timeout(time_max, converse(&mut group.child, credentials)).await;
        match ended {
            Ok(Ok(output)) => {
                group.mark_ended();
                let hidden = self.hidden(answer.as_deref());
                verdict(
                    &run,
                    output,
                    credentials_are_set(&self.access),
                    self.pack_bytes_max,
                    &hidden,
                )
            }
            Ok(Err(error)) => {
                group.end().await;
                Err(error)
            }
            Err(_) => {
                group.end().await;
                Err(GitError::new(format!("git did not end within {} s", time_max.as_secs())))
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
            .env("GIT_CONFIG_GLOBAL", self.trust()?)
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

    /// The configuration file that permits another owner for a remote at a path, which the operator configured. It is a
    /// file because git does not pass options on to the git of the remote.
    fn trust(&self) -> Result<PathBuf, GitError> {
        if self.remote.transport != Transport::File {
            return Ok(PathBuf::from("/dev/null"));
        }
        let file = self.home.join(format!("{}.gitconfig", self.remote.digest()));
        let text = trusted(Path::new(&self.remote.address));
        let written = std::fs::write(&file, text);
        written.map_err(|error| GitError::new(format!("git cannot be set up: {error}")))?;
        Ok(file)
    }

    /// The texts that are hidden in excerpts of git's output.
    fn hidden(&self, answer: Option<&str>) -> Vec<Hidden> {
        let shown = |path: Option<&PathBuf>, name| path.map(|it| (it.display().to_string(), name));
        let (ssh, access) = (self.access.ssh.as_ref(), &self.access);
        let password = answer
            .and_then(|answer| answer.lines().find_map(|line| line.strip_prefix("password=")));
        let home = self.home.parent().map(Path::to_path_buf);
        [
            password.map(|password| (password.to_owned(), "(password)")),
            shown(ssh.map(|ssh| &ssh.key), "(ssh_key_file)"),
            shown(ssh.map(|ssh| &ssh.known_hosts), "(known_hosts_file)"),
            shown(access.ca_file.as_ref(), "(ca_file)"),
            shown(home.as_ref(), "(mirrors)"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Permits the protocol of the remote and no other one, with the configured credentials and certificates.
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
            let ssh = ssh.command().map_err(GitError::new)?;
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

/// Trusts the copy, whose owner git would check otherwise.
fn safe_directory(copy: &Path) -> OsString {
    let mut argument = OsString::from("safe.directory=");
    argument.push(copy);
    argument
}

fn credentials_are_set(access: &Access) -> ConfiguredCredentials {
    if access.credentials.is_some() || access.ssh.is_some() {
        ConfiguredCredentials::Present
    } else {
        ConfiguredCredentials::Absent
    }
}

/// The configuration that trusts one repository: its path and its git directory.
fn trusted(path: &Path) -> String {
    let mut paths = vec![path.to_owned(), path.join(".git")];
    paths.extend(git_directory_of(path));
    let real: Vec<PathBuf> = paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
    paths.extend(real);
    paths.sort();
    paths.dedup();
    let quoted =
        |path: &PathBuf| path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let lines = paths.iter().map(|path| format!("\tdirectory = \"{}\"\n", quoted(path)));
    format!("[safe]\n{}", lines.collect::<String>())
}

/// The output of a run.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Sends the credentials to git, and reads its output until it ends.
async fn converse(child: &mut Child, credentials: Option<String>) -> Result<Output, GitError> {
    let lost = |error: std::io::Error| GitError::new(format!("git was lost: {}", error.kind()));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let (Some(mut stdin), Some(credentials)) = (stdin, credentials) {
        // The credentials fit into the pipe. A git that ends without reading them does not need them.
        let _ = stdin.write_all(credentials.as_bytes()).await;
    }
    let (stdout, stderr) = tokio::join!(all(stdout), beginning(stderr));
    let status = child.wait().await.map_err(lost)?;
    Ok(Output { status, stdout: stdout?, stderr })
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, GitError> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // The exit status of git shows a truncated output.
        let _ = stream.take(LIST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await;
    }
    if bytes.len() > LIST_BYTES_MAX {
        return Err(GitError::new("the remote has too many references"));
    }
    Ok(bytes)
}

/// Reads the beginning of a stream. Drains the rest, so that git does not block on a full pipe.
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
    given: ConfiguredCredentials,
    pack_bytes_max: u64,
    hidden: &[Hidden],
) -> Result<Vec<u8>, GitError> {
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = |summary: String| Err(GitError { summary, git: excerpt(&said, hidden) });
    match run {
        // Git may succeed with a message, for example about a broken reference. The copy counts as incomplete then.
        Run::Local(_) if output.status.success() && said.trim().is_empty() => Ok(output.stdout),
        Run::Local(_) => failed("the copy is not whole".to_owned()),
        Run::Remote(_) if output.status.success() => Ok(output.stdout),
        Run::Remote(_) => failed(reason(&said, output.status, given, pack_bytes_max)),
    }
}
