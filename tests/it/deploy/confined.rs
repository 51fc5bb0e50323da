//! Programs on a root of their own where next to nothing can be written, as a user without privileges.

use std::path::Path;
use std::process::{Command, Stdio};

use super::container::{Access, Mount};
use crate::fixture::skipped;

/// What stands before the program.
const SCRIPT: &str = include_str!("confined.sh");

/// Whether this machine lets us make mount name spaces. Says it where it does not.
#[track_caller]
pub(super) fn can_be() -> bool {
    let made = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    let can = rustix::process::geteuid().is_root() && made.is_ok_and(|made| made.success());
    if !can {
        skipped("name spaces cannot be made here");
    }
    can
}

/// A command that lacks its program and its variables. The binary is where an image has it.
pub(super) fn command(place: &Path, user: u32, mounts: &[Mount]) -> Command {
    let root = place.join("root");
    std::fs::create_dir_all(&root).unwrap();
    let binary = Mount {
        from: env!("CARGO_BIN_EXE_headwater").into(),
        to: "/usr/local/bin/headwater".to_owned(),
        access: Access::Read,
    };
    let line = |mount: &Mount| {
        let access = match mount.access {
            Access::Read => "ro",
            Access::Write => "rw",
        };
        format!("{} {} {access}", mount.from.display(), mount.to)
    };
    let mounts: Vec<String> = std::iter::once(&binary).chain(mounts).map(line).collect();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("ROOT", root).env("RUN_AS", format!("{user}:{user}"));
    command.env("MOUNTS", mounts.join("\n")).env("LINKS", "");
    command
}
