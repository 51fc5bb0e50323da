//! What git is asked to do for a shared repository: to make packs, to take them in, and to move references.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::ShareError;
use crate::push::command::{Git, Running};
use crate::push::exchange;

/// The longest that one program of git takes.
const PROGRAM_MAX: Duration = Duration::from_secs(15 * 60);
/// The most that is read of what one says, in bytes.
const SAID_BYTES_MAX: u64 = 4096;

/// A program of git with what it is for.
pub(super) struct Program {
    what: &'static str,
    command: Command,
}

impl Program {
    /// Makes a pack of what is asked for, and of nothing that another one is needed for. What was pushed and not taken in
    /// yet is in quarantine.
    pub(super) fn pack_objects(git: &Git, repository: &Path, quarantine: Option<&Path>) -> Self {
        let arguments = ["pack-objects", "--revs", "--stdout", "-q"];
        let mut program = Self::new(git, repository, "pack-objects", &arguments);
        if let Some(quarantine) = quarantine {
            program.command.env("GIT_OBJECT_DIRECTORY", quarantine);
            program.command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", repository.join("objects"));
        }
        program.command.stdout(Stdio::piped());
        program
    }

    /// Takes in a small pack, object by object.
    pub(super) fn unpack_objects(git: &Git, repository: &Path) -> Self {
        let arguments = ["unpack-objects", "-q", "--strict"];
        Self::new(git, repository, "unpack-objects", &arguments)
    }

    /// Takes in a pack as it is.
    pub(super) fn index_pack(git: &Git, repository: &Path) -> Self {
        Self::new(git, repository, "index-pack", &["index-pack", "--stdin", "--strict"])
    }

    /// Fails if not all is there that these ids lead to.
    pub(super) fn check_connected(git: &Git, repository: &Path) -> Self {
        let arguments = ["rev-list", "--objects", "--stdin", "--not", "--all", "--quiet"];
        Self::new(git, repository, "rev-list", &arguments)
    }

    /// Fails if anything is wrong with any object: those who have it from elsewhere would not take it.
    pub(super) fn check_all(git: &Git, repository: &Path) -> Self {
        let arguments = ["fsck", "--strict", "--no-dangling", "--no-progress"];
        Self::new(git, repository, "fsck", &arguments)
    }

    /// Names one commit that is asked for, if there is any.
    pub(super) fn name_one(git: &Git, repository: &Path) -> Self {
        let mut program =
            Self::new(git, repository, "rev-list", &["rev-list", "--max-count=1", "--stdin"]);
        program.command.stdout(Stdio::piped());
        program
    }

    /// Moves references in one transaction.
    pub(super) fn update_references(git: &Git, repository: &Path) -> Self {
        let arguments = ["update-ref", "--no-deref", "--stdin"];
        Self::new(git, repository, "update-ref", &arguments)
    }

    fn new(git: &Git, repository: &Path, what: &'static str, arguments: &[&str]) -> Self {
        let mut command = git.git(repository);
        command.args(arguments).env("GIT_DIR", repository);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self { what, command }
    }

    /// Starts it.
    pub(super) fn start(self, git: &Git) -> Result<Started, ShareError> {
        let Self { what, command } = self;
        let running = git.start_own(command).map_err(|_| ShareError::Git(what))?;
        Ok(Started { what, running })
    }

    /// Runs it to its end with an input, and gives the beginning of what it says.
    pub(super) async fn run(self, git: &Git, input: &[u8]) -> Result<Bytes, ShareError> {
        let mut started = self.start(git)?;
        let stdout = started.running.child.stdout.take();
        let saying = async {
            match stdout {
                Some(mut stdout) => exchange::read_all(&mut stdout, SAID_BYTES_MAX).await,
                None => Ok(Bytes::new()),
            }
        };
        let feeding = started.feed(input);
        let (fed, said) = tokio::join!(feeding, saying);
        let what = started.what;
        // One that reads no further says why by how it ends.
        let _ = fed;
        started.end().await?;
        said.map_err(|_| ShareError::Git(what))
    }
}

/// One that runs. It ends with this.
pub(super) struct Started {
    what: &'static str,
    pub(super) running: Running,
}

impl Started {
    /// Gives it all of its input.
    pub(super) async fn feed(&mut self, input: &[u8]) -> Result<(), ShareError> {
        self.feed_part(input).await?;
        drop(self.running.child.stdin.take());
        Ok(())
    }

    /// Gives it some of its input.
    pub(super) async fn feed_part(&mut self, input: &[u8]) -> Result<(), ShareError> {
        let Some(stdin) = &mut self.running.child.stdin else { return Ok(()) };
        let fed = timeout(PROGRAM_MAX, stdin.write_all(input)).await;
        fed.map_err(|_| ())
            .and_then(|fed| fed.map_err(drop))
            .map_err(|()| ShareError::Git(self.what))
    }

    /// The next of what it says; empty at its end.
    pub(super) async fn read(&mut self) -> Result<Bytes, ShareError> {
        let Some(stdout) = &mut self.running.child.stdout else { return Ok(Bytes::new()) };
        match timeout(PROGRAM_MAX, exchange::read(stdout)).await {
            Ok(Ok(piece)) => Ok(piece),
            _ => Err(ShareError::Git(self.what)),
        }
    }

    /// Waits for its end, which has to be a good one.
    pub(super) async fn end(mut self) -> Result<(), ShareError> {
        drop(self.running.child.stdin.take());
        match timeout(PROGRAM_MAX, self.running.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            _ => Err(ShareError::Git(self.what)),
        }
    }
}
