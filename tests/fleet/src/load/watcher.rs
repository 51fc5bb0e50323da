//! One who watches an application at one replica, and goes on at another one whenever the stream ends.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::fleet::{Fleet, path};
use crate::http::{Events, Heard};
use crate::process::Stop;
use crate::record::{Seen, Watched};

/// How long a stream may say nothing: comments come every 10 to 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long one look at a stream waits.
const LOOK: Duration = Duration::from_millis(200);
/// The pause before the next replica is tried.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches until it is over. What it is told others can see at once.
pub(crate) fn watch(
    fleet: &Fleet,
    first: usize,
    mut random: Rng,
    watched: &Mutex<Watched>,
    stop: &Stop,
) {
    let mut replica = first;
    while !stop.is_over_after(PAUSE) {
        follow(fleet, replica, watched, stop);
        replica = random.usize(..fleet.replicas.len());
    }
}

/// Follows one stream to its end.
fn follow(fleet: &Fleet, replica: usize, watched: &Mutex<Watched>, stop: &Stop) {
    let lock = || watched.lock().unwrap_or_else(PoisonError::into_inner);
    let path = path(lock().application);
    let last = lock().seen.last().map(|seen| format!("{}.{}", seen.revision, seen.digest));
    let address = fleet.replicas[replica].address();
    // Who does not take it is left for another one.
    let Ok(mut events) = Events::open(address, &path, last.as_deref(), LOOK) else { return };
    let mut heard = Instant::now();
    while !stop.is_over_after(Duration::ZERO) && heard.elapsed() < SILENCE_MAX {
        match events.next() {
            Heard::Line(line) => {
                heard = Instant::now();
                lock().seen.extend(seen(&line));
            }
            Heard::Nothing => {}
            Heard::End => return,
        }
    }
}

/// What the line with the id of an event tells.
fn seen(line: &str) -> Option<Seen> {
    let (revision, digest) = line.strip_prefix("id: ")?.split_once('.')?;
    Some(Seen { revision: revision.to_owned(), digest: digest.to_owned() })
}
