//! Private files. They are created so that no other user can read them, and are read only when no other user can have
//! written them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, fsync, mkdir, open, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::LastKnownGoodError;

/// Replaces the file `name` in `directory`. Creates the directory with mode 0700 when only its parent exists.
pub(super) fn replace(
    directory: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), LastKnownGoodError> {
    let io = |error: Errno| io_error(&directory.join(name), error);
    match mkdir(directory, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(io_error(directory, error)),
    }
    let home = open_directory(directory)?;
    let temporary = format!(".{name}.{:016x}", fastrand::u64(..));
    let written = write_new(&home, &temporary, bytes)
        .and_then(|()| renameat(&home, &temporary, &home, name).map_err(std::io::Error::from));
    if let Err(error) = written {
        // The temporary file may not exist. The first error is the one to return.
        let _ = unlinkat(&home, &temporary, AtFlags::empty());
        return Err(LastKnownGoodError::Io {
            path: directory.join(name),
            problem: error.to_string(),
        });
    }
    fsync(&home).map_err(io)
}

fn write_new(home: &OwnedFd, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(home, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads the file `name` in `directory`, when only the user of the process has access to both and the file is not longer
/// than `length_max`.
pub(super) fn read(
    directory: &Path,
    name: &str,
    length_max: usize,
) -> Result<Vec<u8>, LastKnownGoodError> {
    let path = directory.join(name);
    let home = open_directory(directory)?;
    // Without NONBLOCK, opening a named pipe would block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        openat(&home, name, flags, Mode::empty()).map_err(|error| open_error(&path, error))?;
    let stat = fstat(&file).map_err(|error| io_error(&path, error))?;
    check_trusted(&path, &stat, FileType::RegularFile)?;
    if stat.st_nlink != 1 {
        return Err(untrusted(&path, format!("it has {} hard links", stat.st_nlink)));
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(length_max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| LastKnownGoodError::Io {
        path: path.clone(),
        problem: error.to_string(),
    })?;
    if bytes.len() > length_max {
        return Err(untrusted(&path, format!("it is longer than {length_max} bytes")));
    }
    Ok(bytes)
}

fn open_directory(directory: &Path) -> Result<OwnedFd, LastKnownGoodError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let home =
        open(directory, flags, Mode::empty()).map_err(|error| open_error(directory, error))?;
    let stat = fstat(&home).map_err(|error| io_error(directory, error))?;
    check_trusted(directory, &stat, FileType::Directory)?;
    Ok(home)
}

/// Checks that a file or directory is of this type, belongs to the user of the process, and is accessible to no other
/// user.
fn check_trusted(path: &Path, stat: &Stat, kind: FileType) -> Result<(), LastKnownGoodError> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(untrusted(
            path,
            format!(
                "it is not a {}",
                if kind == FileType::Directory { "directory" } else { "regular file" }
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

fn open_error(path: &Path, error: Errno) -> LastKnownGoodError {
    match error {
        Errno::NOENT => LastKnownGoodError::Absent(path.to_owned()),
        Errno::LOOP => untrusted(path, "it is a symbolic link".to_owned()),
        Errno::NOTDIR => untrusted(path, "it is not a directory, or is a symbolic link".to_owned()),
        other => io_error(path, other),
    }
}

fn io_error(path: &Path, error: Errno) -> LastKnownGoodError {
    LastKnownGoodError::Io {
        path: path.to_owned(),
        problem: std::io::Error::from(error).to_string(),
    }
}

fn untrusted(path: &Path, problem: String) -> LastKnownGoodError {
    LastKnownGoodError::Untrusted { path: path.to_owned(), problem }
}
