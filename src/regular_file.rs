//! Opens and reads regular files. A pipe, a socket or a device is an error, and opening it does not block.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file. Symbolic links are followed.
///
/// # Errors
/// When the system reports one, or the path leads to no regular file.
pub(crate) fn open(path: &Path) -> Result<File> {
    open_with(path, OFlags::empty())
}

/// Opens a file. A symbolic link as the last component is an error.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_without_link(path: &Path) -> Result<File> {
    open_with(path, OFlags::NOFOLLOW)
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// As for [`open`], and when the file is larger.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Reads a UTF-8 file of at most `bytes_max` bytes.
///
/// # Errors
/// As for [`read`], and when the file is not UTF-8.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String> {
    let text = String::from_utf8(read(path, bytes_max)?);
    text.map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8"))
}

fn open_with(path: &Path, flags: OFlags) -> Result<File> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        mkfifoat(CWD, at("pipe"), Mode::RUSR).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for path in [&at("pipe"), &at("socket"), place.path(), Path::new("/dev/zero")] {
            assert!(open(path).is_err(), "{}", path.display());
        }
        std::fs::write(at("file"), "1234").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read_text(&at("link"), 4).unwrap(), "1234");
        assert_eq!(read(&at("file"), 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(open_without_link(&at("file")).is_ok() && open_without_link(&at("link")).is_err());
    }
}
