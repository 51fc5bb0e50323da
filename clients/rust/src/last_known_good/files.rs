//! Private files: made so that nobody else can read them, read only if nobody else can have written them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, fsync, mkdir, open, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::LastKnownGoodProblem as Problem;

/// Replaces `name` in `directory`, which is made (0700) if its parent exists and it does not.
pub(super) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), Problem> {
    let io = |error: Errno| io_problem(&directory.join(name), error);
    match mkdir(directory, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(io_problem(directory, error)),
    }
    let home = open_directory(directory)?;
    let temporary = format!(".{name}.{:016x}", fastrand::u64(..));
    let written = write_new(&home, &temporary, bytes)
        .and_then(|()| renameat(&home, &temporary, &home, name).map_err(std::io::Error::from));
    if let Err(error) = written {
        // It may not even exist; the first error is the one to tell.
        let _ = unlinkat(&home, &temporary, AtFlags::empty());
        return Err(Problem::Io { path: directory.join(name), problem: error.to_string() });
    }
    fsync(&home).map_err(io)
}

fn write_new(home: &OwnedFd, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(home, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads `name` in `directory` if both are ours alone and it is no longer than `length_max`.
pub(super) fn read(directory: &Path, name: &str, length_max: usize) -> Result<Vec<u8>, Problem> {
    let path = directory.join(name);
    let home = open_directory(directory)?;
    // Without NONBLOCK a named pipe would hold us here.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        openat(&home, name, flags, Mode::empty()).map_err(|error| open_problem(&path, error))?;
    let stat = fstat(&file).map_err(|error| io_problem(&path, error))?;
    trust(&path, &stat, FileType::RegularFile)?;
    if stat.st_nlink != 1 {
        return Err(untrusted(&path, format!("it has {} names", stat.st_nlink)));
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(length_max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Problem::Io { path: path.clone(), problem: error.to_string() })?;
    match bytes.len() > length_max {
        true => Err(untrusted(&path, format!("it is longer than {length_max} bytes"))),
        false => Ok(bytes),
    }
}

fn open_directory(directory: &Path) -> Result<OwnedFd, Problem> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let home =
        open(directory, flags, Mode::empty()).map_err(|error| open_problem(directory, error))?;
    let stat = fstat(&home).map_err(|error| io_problem(directory, error))?;
    trust(directory, &stat, FileType::Directory)?;
    Ok(home)
}

/// Ours, of the right kind, and closed to everybody else.
fn trust(path: &Path, stat: &Stat, kind: FileType) -> Result<(), Problem> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(untrusted(
            path,
            format!(
                "it is no {}",
                if kind == FileType::Directory { "directory" } else { "plain file" }
            ),
        ));
    }
    if stat.st_uid != geteuid().as_raw() {
        return Err(untrusted(path, format!("it belongs to user {}", stat.st_uid)));
    }
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        let right = if kind == FileType::Directory { "0700" } else { "0600" };
        return Err(untrusted(
            path,
            format!("its mode is {:04o}, not {right}", mode.bits() & 0o7777),
        ));
    }
    Ok(())
}

fn open_problem(path: &Path, error: Errno) -> Problem {
    match error {
        Errno::NOENT => Problem::Absent(path.to_owned()),
        Errno::LOOP => untrusted(path, "it is a symbolic link".to_owned()),
        Errno::NOTDIR => untrusted(path, "it is no directory, or a symbolic link".to_owned()),
        other => io_problem(path, other),
    }
}

fn io_problem(path: &Path, error: Errno) -> Problem {
    Problem::Io { path: path.to_owned(), problem: std::io::Error::from(error).to_string() }
}

fn untrusted(path: &Path, problem: String) -> Problem {
    Problem::Untrusted { path: path.to_owned(), problem }
}
