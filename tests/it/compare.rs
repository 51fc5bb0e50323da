//! `headwater compare`: what it finds, what it calls it, and how it ends.

mod accepted;
mod differing;
mod fake;
mod original;
mod unanswered;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::fixture::command;
use crate::oracle::repository;

/// How a command ended and what it printed.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// The last line for people.
    fn summary(&self) -> &str {
        self.err.lines().last().unwrap_or_default()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the command in a directory.
fn compare(place: &Path, arguments: &[&str]) -> Said {
    let mut command = command(place);
    let output = command.arg("compare").args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let said =
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    assert!(!said.err.contains("panicked"), "{said:?}");
    said
}

/// The text of one of the public-style repositories.
fn text(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(format!("tests/repositories/{name}.repo"))).unwrap()
}

/// Makes the bare repository `<name>.git` and its clone `<name>` in a directory.
fn build(name: &str, place: &Path) {
    let bare = place.join(format!("{name}.git"));
    repository::build(&text(name), &bare);
    let clone = place.join(name);
    repository::git(&["clone", "-q", bare.to_str().unwrap(), clone.to_str().unwrap()]);
}
