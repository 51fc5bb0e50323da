//! Git programs for a shared repository, which make packs, take them in and move references.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::error::ReplicationError;
use crate::push::command::{GitProgram, Running};
use crate::push::exchange;

/// The maximum wait for one read, one write or the exit of a git program.
const PROGRAM_MAX: Duration = Duration::from_secs(15 * 60);
/// The maximum number of bytes read from a program's output.
const OUTPUT_BYTES_MAX: u64 = 4096;

/// A git program that is ready to start.
pub(super) struct Program {
    what: &'static str,
    command: Command,
}

impl Program {
    /// Makes a pack of the requested objects that needs no other pack. Pushed objects that are not accepted yet are in
    /// quarantine.
    pub(super) fn pack_objects(
        git: &GitProgram,
        repository: &Path,
        quarantine: Option<&Path>,
    ) -> Self {
        let arguments = ["pack-objects", "--revs", "--stdout", "-q"];
        let mut program = Self::new(git, repository, "pack-objects", &arguments);
        if let Some(quarantine) = quarantine {
            program.command.env("GIT_OBJECT_DIRECTORY", quarantine);
            program.command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", repository.join("objects"));
        }
        program.command.stdout(Stdio::piped());
        program
    }

    /// Stores the objects of a small pack one by one.
    pub(super) fn unpack_objects(git: &GitProgram, repository: &Path) -> Self {
        let arguments = ["unpack-objects", "-q", "--strict"];
        Self::new(git, repository, "unpack-objects", &arguments)
    }

    /// Stores a pack as it is.
    pub(super) fn index_pack(git: &GitProgram, repository: &Path) -> Self {
        Self::new(git, repository, "index-pack", &["index-pack", "--stdin", "--strict"])
    }

    /// Fails if an object is missing that these ids lead to.
    pub(super) fn check_connected(git: &GitProgram, repository: &Path) -> Self {
        let arguments = ["rev-list", "--objects", "--stdin", "--not", "--all", "--quiet"];
        Self::new(git, repository, "rev-list", &arguments)
    }

    /// Fails if any object is malformed, because other replicas would reject it.
    pub(super) fn check_all(git: &GitProgram, repository: &Path) -> Self {
        let arguments = ["fsck", "--strict", "--no-dangling", "--no-progress"];
        Self::new(git, repository, "fsck", &arguments)
    }

    /// Prints one of the requested commits, if there is any.
    pub(super) fn first_commit_of(git: &GitProgram, repository: &Path) -> Self {
        let mut program =
            Self::new(git, repository, "rev-list", &["rev-list", "--max-count=1", "--stdin"]);
        program.command.stdout(Stdio::piped());
        program
    }

    /// Moves references in one transaction.
    pub(super) fn update_references(git: &GitProgram, repository: &Path) -> Self {
        let arguments = ["update-ref", "--no-deref", "--stdin"];
        Self::new(git, repository, "update-ref", &arguments)
    }

    fn new(git: &GitProgram, repository: &Path, what: &'static str, arguments: &[&str]) -> Self {
        let mut command = git.git(repository);
        command.args(arguments).env("GIT_DIR", repository);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self { what, command }
    }

    pub(super) fn start(self, git: &GitProgram) -> Result<RunningProgram, ReplicationError> {
        let Self { what, command } = self;
        let running = git.start_own(command).map_err(|_| ReplicationError::Git(what))?;
        Ok(RunningProgram { what, running })
    }

    /// Runs the program to its end with an input. Returns the beginning of its output.
    pub(super) async fn run(
        self,
        git: &GitProgram,
        input: &[u8],
    ) -> Result<Bytes, ReplicationError> {
        let mut started = self.start(git)?;
        let stdout = started.running.child.stdout.take();
        let reading = async {
            match stdout {
                Some(mut stdout) => exchange::read_all(&mut stdout, OUTPUT_BYTES_MAX).await,
                None => Ok(Bytes::new()),
            }
        };
        let feeding = started.feed(input);
        let (fed, output) = tokio::join!(feeding, reading);
        let what = started.what;
        // A program that stops reading reports the reason with its exit status.
        let _ = fed;
        started.end().await?;
        output.map_err(|_| ReplicationError::Git(what))
    }
}

/// A running program, which is killed when this is dropped.
pub(super) struct RunningProgram {
    what: &'static str,
    pub(super) running: Running,
}

impl RunningProgram {
    /// Writes the whole input and closes it.
    pub(super) async fn feed(&mut self, input: &[u8]) -> Result<(), ReplicationError> {
        self.feed_part(input).await?;
        drop(self.running.child.stdin.take());
        Ok(())
    }

    /// Writes part of the input.
    pub(super) async fn feed_part(&mut self, input: &[u8]) -> Result<(), ReplicationError> {
        let Some(stdin) = &mut self.running.child.stdin else { return Ok(()) };
        let fed = timeout(PROGRAM_MAX, stdin.write_all(input)).await;
        fed.map_err(|_| ())
            .and_then(|fed| fed.map_err(drop))
            .map_err(|()| ReplicationError::Git(self.what))
    }

    /// Reads the next piece of output. The piece is empty at the end.
    pub(super) async fn read(&mut self) -> Result<Bytes, ReplicationError> {
        let Some(stdout) = &mut self.running.child.stdout else { return Ok(Bytes::new()) };
        match timeout(PROGRAM_MAX, exchange::read(stdout)).await {
            Ok(Ok(piece)) => Ok(piece),
            _ => Err(ReplicationError::Git(self.what)),
        }
    }

    /// Waits for the program to exit with success.
    pub(super) async fn end(mut self) -> Result<(), ReplicationError> {
        drop(self.running.child.stdin.take());
        match timeout(PROGRAM_MAX, self.running.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            _ => Err(ReplicationError::Git(self.what)),
        }
    }
}
