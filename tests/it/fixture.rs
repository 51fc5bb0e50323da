//! What the tests of the whole server stand on: a repository written as text, a server in this process or as a child,
//! and a client on a bare socket, which sends what it is given without making it nicer.

mod repository;
mod server;
mod socket;

use std::time::{Duration, Instant};

pub(crate) use self::repository::Repository;
pub(crate) use self::server::{Child, Server, settings};
pub(crate) use self::socket::{Address, Reply, Session, read};

/// How long something may take that should take milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait before a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(3);

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// A fixture: `//- path` begins a file, what follows is its text.
pub(crate) fn files(fixture: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in fixture.split_inclusive('\n') {
        match line.strip_prefix("//- ") {
            Some(path) => files.push((path.trim().to_owned(), Vec::new())),
            None => match files.last_mut() {
                Some((_, text)) => text.extend_from_slice(line.as_bytes()),
                None => assert!(line.trim().is_empty(), "text before the first file: {line}"),
            },
        }
    }
    files
}
