//! The schedule of a watch: the server of the next attempt and its time. The module uses neither a socket nor a clock.
//!
//! The watch stays with one server as long as it answers. After a failure, the next server follows at once. After all have
//! failed, there is a random pause whose upper bound doubles with every round. In a long outage each server receives at most
//! one attempt in [`OUTAGE_PAUSE_MIN`]. The number of attempts in a minute is limited in every case.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::retry::{RETRY_AFTER_MAX, bound};

/// The largest upper bound of a pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The lower bound of a pause after the upper bound has reached its maximum.
const OUTAGE_PAUSE_MIN: Duration = Duration::from_secs(30);
/// The largest number of failed rounds that counts after a server has answered, for however short a time. It limits the
/// pause to 6.4 s, because the outage is no longer a long one.
const ROUND_MAX_AFTER_CONTACT: u32 = 5;
/// The largest number of attempts in a minute.
pub(super) const ATTEMPT_COUNT_MAX: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct Pace {
    servers: Vec<ServerTurn>,
    /// The server of the last attempt.
    current: usize,
    /// The number of consecutive failed rounds.
    round: u32,
    /// The times of the last attempts, the oldest first.
    attempts: VecDeque<Instant>,
    not_before: Instant,
}

#[derive(Clone)]
struct ServerTurn {
    not_before: Instant,
    is_tried: bool,
}

impl Pace {
    pub(super) fn new(server_count: usize, now: Instant) -> Pace {
        Pace {
            servers: vec![ServerTurn { not_before: now, is_tried: false }; server_count],
            current: 0,
            round: 0,
            attempts: VecDeque::new(),
            not_before: now,
        }
    }

    /// Returns the server and the time of the next attempt, and counts the attempt.
    pub(super) fn next(&mut self, now: Instant) -> (usize, Instant) {
        let server = self.candidate(now).unwrap_or_else(|| self.begin_round(now));
        self.current = server;
        let at = now.max(self.not_before).max(self.servers[server].not_before);
        let at = if self.attempts.len() < ATTEMPT_COUNT_MAX {
            at
        } else {
            at.max(self.attempts.pop_front().map_or(at, |oldest| oldest + MINUTE))
        };
        self.attempts.push_back(at);
        (server, at)
    }

    /// Records an answer after which the server receives its next request after `pause`.
    pub(super) fn record_answer(&mut self, server: usize, pause: Duration, now: Instant) {
        self.servers[server].not_before = now + pause;
    }

    /// Records that the connection is stable. The next failure counts as the first one.
    pub(super) fn record_stable(&mut self, now: Instant) {
        self.round = 0;
        self.not_before = now;
        self.servers.iter_mut().for_each(|turn| turn.is_tried = false);
    }

    /// Records a contact with a server that may not be stable yet.
    pub(super) fn record_contact(&mut self) {
        self.round = self.round.min(ROUND_MAX_AFTER_CONTACT);
    }

    /// Records a failure. The server receives no attempt before `retry_after` has passed.
    pub(super) fn record_failure(
        &mut self,
        server: usize,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let wait = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.servers[server] = ServerTurn { not_before: now + wait, is_tried: true };
    }

    /// Returns the current server, or the next one that has not been tried in this round and whose `Retry-After` has passed.
    fn candidate(&self, now: Instant) -> Option<usize> {
        if !self.servers[self.current].is_tried {
            return Some(self.current);
        }
        self.ring().find(|server| {
            let turn = &self.servers[*server];
            !turn.is_tried && turn.not_before <= now
        })
    }

    /// Begins a round after all servers have failed: sets the pause and returns the first server that is available after it.
    fn begin_round(&mut self, now: Instant) -> usize {
        self.not_before = now + pause(self.round);
        self.round = self.round.saturating_add(1);
        self.servers.iter_mut().for_each(|turn| turn.is_tried = false);
        let first = self.servers.iter().map(|turn| turn.not_before).min();
        let ready = self.not_before.max(first.unwrap_or(now));
        self.ring().find(|server| self.servers[*server].not_before <= ready).unwrap_or(self.current)
    }

    /// Iterates over all servers, beginning after the current one.
    fn ring(&self) -> impl Iterator<Item = usize> + use<> {
        let (count, current) = (self.servers.len(), self.current);
        (1..=count).map(move |step| (current + step) % count)
    }
}

/// Returns a random pause after a number of failed rounds. The randomness spreads the requests of many clients after an
/// outage.
fn pause(round: u32) -> Duration {
    let longest = bound(round, PAUSE_MAX);
    let shortest = if longest < PAUSE_MAX { Duration::ZERO } else { OUTAGE_PAUSE_MIN };
    shortest + (longest - shortest).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
