//! What the pages tell people to type, typed into a shell that finds the binary.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::page::{Page, root};
use crate::fixture::command;

/// The address that pages give to a server.
pub(super) const ADDRESS: &str = "127.0.0.1:8888";

/// The blocks of one language below a heading, up to the next one.
#[track_caller]
pub(crate) fn blocks(page: &str, heading: &str, language: &str) -> Vec<String> {
    let page = Page::read(page);
    let blocks = page.blocks.into_iter().filter(|block| block.heading == heading);
    let blocks: Vec<_> =
        blocks.filter(|block| block.language == language).map(|block| block.text).collect();
    assert!(!blocks.is_empty(), "{heading} has no {language}");
    blocks
}

/// A shell that stops at the first command that fails, in a directory, with nothing of this process's own settings.
pub(super) fn shell(place: &Path, server: Option<&str>, typed: &str) -> Command {
    let binary = command(place);
    let mut shell = Command::new("sh");
    for (name, _) in binary.get_envs() {
        shell.env_remove(name);
    }
    let binaries = Path::new(binary.get_program()).parent().expect("a directory").display();
    let path = std::env::var("PATH").unwrap();
    let typed = server.map_or(typed.to_owned(), |here| typed.replace(ADDRESS, here));
    shell
        .args(["-c", &format!("set -e\n{typed}")])
        .current_dir(place)
        .stdin(Stdio::null())
        .env("PATH", format!("{}:{binaries}:{path}", place.join("bin").display()))
        .env("HOME", place)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.org")])
        .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.org")])
        .env("GIT_TERMINAL_PROMPT", "0");
    if let Some(server) = server {
        shell.env("HEADWATER_URL", format!("http://{server}"));
    }
    shell
}

/// Types something that ends; gives what it said to both of its outputs.
#[track_caller]
pub(super) fn say(mut shell: Command) -> Result<String, String> {
    let output = shell.output().expect("sh");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// An empty directory with the example configuration in it.
pub(super) fn shop() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("config-repo");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(root().join("config-repo")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    place
}
