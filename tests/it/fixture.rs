//! What the tests of the whole server stand on: a repository written as text, a server in this process or as a child,
//! and a client on a bare socket, which sends what it is given without making it nicer.

mod etcd;
pub(crate) mod held;
mod hosted;
mod instance;
mod original;
mod proxy;
mod pushing;
mod repository;
mod server;
mod signal;
mod socket;
mod working_copy;

use std::io::Write;
use std::panic::Location;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use self::etcd::Cluster;
pub(crate) use self::hosted::{Hosted, Said, Tree, clone, hosted_settings, repository_url};
pub(crate) use self::instance::{acknowledgement, acknowledgement_of, apply, speak};
pub(crate) use self::original::{ORIGINAL, Original};
pub(crate) use self::proxy::Proxy;
pub(crate) use self::pushing::Pushing;
pub(crate) use self::repository::{Repository, directory};
pub(crate) use self::server::{Child, Server, command, settings};
pub(crate) use self::signal::{group_exists, signal, signal_group};
pub(crate) use self::socket::{Address, Reply, Session, read};
pub(crate) use self::working_copy::WorkingCopy;

/// How long something may take that should take milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(3);

/// Set to `1` where what `scripts/install-test-deps.sh` installs cannot be installed.
const WITHOUT: &str = "HEADWATER_WITHOUT_CLIENTS";

/// Whether parts that `scripts/install-test-deps.sh` installs are there. Without them a test fails, unless it was told to
/// do without.
#[track_caller]
pub(crate) fn installed(parts: &[&str]) -> bool {
    if std::env::var(WITHOUT).is_ok_and(|value| value == "1") {
        skipped(&format!("{WITHOUT}=1"));
        return false;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing: Vec<_> = parts.iter().filter(|part| !root.join(part).exists()).collect();
    assert!(
        missing.is_empty(),
        "the original and the real clients are not installed: run scripts/install-test-deps.sh once, or set {WITHOUT}=1 \
         to do without them; missing: {missing:?}"
    );
    true
}

/// Says that a test was left out, past the capture of the test harness, so that everybody sees it.
#[track_caller]
pub(crate) fn skipped(why: &str) {
    let place = Location::caller();
    // Nobody is left to be told that nobody can be told.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {}:{}: {why}", place.file(), place.line());
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// The number behind a key in an answer, found without reading all of it: there are many to look at.
#[track_caller]
pub(crate) fn number(text: &str, key: &str) -> u64 {
    let (_, rest) = text.split_once(&format!("\"{key}\":")).expect("the key");
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).expect("a number")
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

/// Says that it is over when it is dropped, so that those who go on until then end after a failure too.
pub(crate) struct Until<'a>(pub(crate) &'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
