//! Small file systems that can be cut off from power or filled up: an image mounted through a loop device, and memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::fixture::eventually;

/// How large an image is. Small, so that a copy of it takes a few milliseconds.
const IMAGE_SIZE: &str = "48M";

/// A mounted file system in a directory of its own; taken down when it is dropped.
#[derive(Debug)]
pub(super) struct Disk {
    place: TempDir,
}

impl Disk {
    /// An empty ext4 on an image in memory; `None` where that cannot be had, which is said loudly.
    #[track_caller]
    pub(super) fn image() -> Option<Self> {
        let disk = Self::unmounted();
        run("truncate", &["-s", IMAGE_SIZE, &text(&disk.image_path())]).expect("truncate");
        run("mkfs.ext4", &["-q", "-F", &text(&disk.image_path())])
            .expect("mkfs.ext4 makes a file system");
        disk.mount_image()
    }

    /// What a power cut at this moment would leave behind: the image as it is, without what is still in memory.
    pub(super) fn cut(&self) -> Self {
        let copy = Self::unmounted();
        let take = || std::fs::copy(self.image_path(), copy.image_path()).expect("a copy");
        take();
        // A copy takes its time, and what is written meanwhile would be in it in part. Where the image still is what was
        // copied, the copy is the image as it was at the moment when the copy was done.
        eventually("an instant at which nothing is written", || {
            let is_same = have_same_bytes(&self.image_path(), &copy.image_path());
            if !is_same {
                take();
            }
            is_same
        });
        copy.mount_image().expect("what could be mounted once can be mounted again")
    }

    /// A file system in memory of so many bytes; `None` where that cannot be had, which is said loudly.
    #[track_caller]
    pub(super) fn memory(bytes: u64) -> Option<Self> {
        let disk = Self::unmounted();
        let options = format!("size={bytes}");
        let path = text(&disk.path());
        disk.mounted(&["-t", "tmpfs", "-o", &options, "tmpfs", &path])
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> PathBuf {
        self.place.path().join("mounted")
    }

    fn image_path(&self) -> PathBuf {
        self.place.path().join("image")
    }

    /// In memory where there is such a place: what is written to an image is copied again and again.
    fn unmounted() -> Self {
        let memory = Path::new("/dev/shm");
        let place =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let disk = Self { place: place.expect("a temporary directory") };
        std::fs::create_dir(disk.path()).expect("a place to mount at");
        disk
    }

    #[track_caller]
    fn mount_image(self) -> Option<Self> {
        let (image, path) = (text(&self.image_path()), text(&self.path()));
        self.mounted(&["-o", "loop", &image, &path])
    }

    #[track_caller]
    fn mounted(self, arguments: &[&str]) -> Option<Self> {
        match run("mount", arguments) {
            Ok(()) => Some(self),
            Err(why) => {
                crate::fixture::skipped(&format!("nothing can be mounted here: {why}"));
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // One that was never mounted need not be taken down. Lazily, because a process that is being killed may still hold it.
        let _ = run("umount", &["--lazy", &text(&self.path())]);
    }
}

fn have_same_bytes(one: &Path, other: &Path) -> bool {
    let read = |path| std::fs::read(path).expect("an image");
    read(one) == read(other)
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path of letters").to_owned()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
