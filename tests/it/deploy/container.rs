//! What one container runs: program, variables and files, of whichever file it is.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::wiring::Wiring;
use super::{confined, read};
use crate::recipes::Program;

/// Of the image: a number, and no name on this machine.
pub(super) const USER: u32 = 65532;

/// What a Dockerfile says of its last stage.
pub(super) struct Image {
    entry: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl Image {
    /// The one that a file means by a name.
    #[track_caller]
    pub(super) fn of(name: &str) -> Self {
        match name.split(':').next().unwrap() {
            "headwater" => Self::read("Dockerfile"),
            "headwater-etcd" => Self::read("deploy/etcd/Dockerfile"),
            _ => panic!("{name} is not one of ours"),
        }
    }

    fn read(path: &str) -> Self {
        let text = read(path).replace("\\\n", " ");
        let last = text.split("\nFROM ").last().unwrap();
        let said = |what: &str| last.lines().find_map(|line| line.strip_prefix(what));
        assert_eq!(said("USER "), Some(format!("{USER}:{USER}").as_str()));
        let words = said("ENV ").unwrap_or_default().split_whitespace();
        let pair = |word: &str| {
            let (name, value) = word.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        let entry = serde_json::from_str(said("ENTRYPOINT ").expect("an entry point")).unwrap();
        Self { entry, variables: words.map(pair).collect() }
    }
}

/// A file or directory in a container.
pub(super) struct Mount {
    pub(super) from: PathBuf,
    pub(super) to: String,
    pub(super) access: Access,
}

/// What a container may do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// One container.
pub(super) struct Container {
    /// As the others call it.
    pub(super) host: String,
    pub(super) image: Image,
    pub(super) arguments: Vec<String>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) mounts: Vec<Mount>,
}

impl Container {
    /// As a process that is like any other of this machine, with its files where they are here.
    pub(super) fn start(&self, wiring: &Wiring) -> Program {
        let words = self.words();
        let mut command = program(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", std::env::var("PATH").unwrap());
        for (name, value) in self.all_variables() {
            command.env(name, self.path_here(&wiring.here_at(&self.host, &value)));
        }
        Program::spawn(command)
    }

    /// As an engine runs it: with its own user, without privileges, on a root where nothing can be written but what is
    /// mounted for that.
    pub(super) fn start_confined(&self, wiring: &Wiring, place: &Path) -> Program {
        let mut command = confined::command(place, USER, &self.mounts);
        for (name, value) in self.all_variables() {
            command.env(name, wiring.here_at(&self.host, &value));
        }
        command.args(self.words());
        Program::spawn(command)
    }

    fn words(&self) -> Vec<String> {
        self.image.entry.iter().chain(&self.arguments).cloned().collect()
    }

    fn all_variables(&self) -> BTreeMap<String, String> {
        let mut all = self.image.variables.clone();
        all.extend(self.variables.clone());
        all
    }

    /// Where something of the container is on this machine.
    fn path_here(&self, value: &str) -> String {
        let found = self.mounts.iter().find_map(|mount| {
            let below = value.strip_prefix(&mount.to)?;
            let is_it = below.is_empty() || below.starts_with('/');
            is_it.then(|| format!("{}{below}", mount.from.display()))
        });
        found.unwrap_or_else(|| value.to_owned())
    }
}

/// A program of an image as it is here.
fn program(name: &str) -> Command {
    match name {
        "headwater" => Command::new(env!("CARGO_BIN_EXE_headwater")),
        name => Command::new(name),
    }
}

/// Writes a file of the fixture, with somebody who may read it.
pub(super) fn write(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Makes a directory that belongs to a user and a group.
pub(super) fn directory_of(path: &Path, user: u32, group: u32, mode: u32) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(user), Some(group)).unwrap();
    // A change of the owner may take bits of the mode away.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
