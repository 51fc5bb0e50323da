//! Writes a rendered file beside its place, and moves it there in one step.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::regular_file;

/// Permissions and owner of a rendered file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileAccess {
    /// Permission bits.
    pub(super) mode: u32,
    /// User and group by number. `None` keeps those of this process.
    pub(super) owner: Option<Owner>,
}

/// A user, and a group if one was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: Option<u32>,
}

/// A file that is written and not in its place yet. It is deleted when it is dropped.
#[derive(Debug)]
pub(super) struct StagedFile {
    temporary: NamedTempFile,
    target: PathBuf,
}

/// Writes `text` beside `target`, in the same directory and with the same ending, since some programs go by that.
/// `None` where the very same is in its place already.
pub(super) fn stage(
    target: &Path,
    text: &str,
    access: FileAccess,
) -> io::Result<Option<StagedFile>> {
    if is_there(target, text.as_bytes(), access)? {
        return Ok(None);
    }
    let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
    let mut temporary = Builder::new()
        .prefix(".headwater-")
        .suffix(&format!("-{name}"))
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory(target))?;
    temporary.write_all(text.as_bytes())?;
    if let Some(Owner { user, group }) = access.owner {
        std::os::unix::fs::fchown(temporary.as_file(), Some(user), group)?;
    }
    // After the owner: a change of owner takes bits away.
    temporary.as_file().set_permissions(Permissions::from_mode(access.mode))?;
    temporary.as_file().sync_all()?;
    Ok(Some(StagedFile { temporary, target: target.to_owned() }))
}

impl StagedFile {
    /// Where it is now.
    pub(super) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Where it will be.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Moves it to its place. A reader sees the old file or the new one.
    pub(super) fn replace(self) -> io::Result<()> {
        self.temporary.persist(&self.target).map_err(|error| error.error)?;
        let synced = File::open(directory(&self.target)).and_then(|it| it.sync_all());
        if let Err(error) = synced {
            let file = self.target.display();
            tracing::warn!(%file, %error, "the file was replaced, but it may not survive a power failure");
        }
        Ok(())
    }
}

fn directory(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// True if a plain file with these bytes, this mode and this owner is in its place.
fn is_there(target: &Path, bytes: &[u8], access: FileAccess) -> io::Result<bool> {
    let found = match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let owned = access.owner.is_none_or(|owner| {
        found.uid() == owner.user && owner.group.is_none_or(|group| found.gid() == group)
    });
    let same_outside = found.is_file()
        && found.len() == bytes.len() as u64
        && found.mode() & 0o7777 == access.mode
        && owned;
    if !same_outside {
        return Ok(false);
    }
    // An unreadable file is replaced.
    let Ok(file) = regular_file::open(target) else {
        return Ok(false);
    };
    let mut content = Vec::with_capacity(bytes.len());
    file.take(bytes.len() as u64 + 1).read_to_end(&mut content)?;
    Ok(content == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: FileAccess = FileAccess { mode: 0o600, owner: None };

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("app.cfg");
        let staged = stage(&target, "one", PRIVATE).unwrap().unwrap();
        assert!(!target.exists());
        assert!(staged.path().to_str().unwrap().ends_with("-app.cfg"));
        assert_eq!(staged.path().parent(), target.parent());
        staged.replace().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "one");
        drop(stage(&target, "two", PRIVATE).unwrap().unwrap());
        assert_eq!(fs::read_to_string(&target).unwrap(), "one");
        assert_eq!(names(place.path()), ["app.cfg"]);
    }

    #[test]
    fn the_same_again_is_nothing_unless_the_mode_differs() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("app.cfg");
        stage(&target, "one", PRIVATE).unwrap().unwrap().replace().unwrap();
        assert!(stage(&target, "one", PRIVATE).unwrap().is_none());
        let open = FileAccess { mode: 0o644, owner: None };
        stage(&target, "one", open).unwrap().unwrap().replace().unwrap();
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o644);
        assert!(stage(&target, "one", open).unwrap().is_none());
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (target, other) = (place.path().join("app.cfg"), place.path().join("other"));
        fs::write(&other, "one").unwrap();
        std::os::unix::fs::symlink(&other, &target).unwrap();
        stage(&target, "one", PRIVATE).unwrap().unwrap().replace().unwrap();
        assert!(fs::symlink_metadata(&target).unwrap().is_file());
        assert_eq!(fs::read_to_string(&other).unwrap(), "one");
    }

    #[test]
    fn a_path_that_cannot_be_a_file_is_rejected() {
        let place = tempfile::tempdir().unwrap();
        for target in [place.path().to_owned(), place.path().join("none/app.cfg")] {
            assert!(stage(&target, "one", PRIVATE).is_err(), "{}", target.display());
        }
    }
}
