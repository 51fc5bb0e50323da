//! Whom to ask next, and not before when. It knows no socket and no clock of its own.
//!
//! One server is followed for as long as it answers. When it fails the next one is asked at once; when all have failed
//! there is a pause with full jitter, whose bound doubles until it is long; an outage that lasts is asked about at most once
//! in half a minute. Whatever servers do, the attempts of a minute are bounded.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::retry::{RETRY_AFTER_MAX, bound};

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The shortest pause once the longest has been reached: in a long outage no server is asked more often than that.
const OUTAGE_PAUSE_MIN: Duration = Duration::from_secs(30);
/// How many rounds count once a server has been heard again: it may go once more, but this is no long outage (6.4 s).
const HEARD_ROUND_MAX: u32 = 5;
/// The most requests in any minute, whatever servers answer.
pub(super) const ATTEMPT_COUNT_MAX: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct Pace {
    servers: Vec<Turn>,
    /// The server that is followed, or whose turn it is.
    current: usize,
    /// How many rounds have failed in a row.
    round: u32,
    /// Of the last attempts, the oldest first.
    attempts: VecDeque<Instant>,
    not_before: Instant,
}

#[derive(Clone)]
struct Turn {
    not_before: Instant,
    is_tried: bool,
}

impl Pace {
    pub(super) fn new(server_count: usize, now: Instant) -> Pace {
        Pace {
            servers: vec![Turn { not_before: now, is_tried: false }; server_count],
            current: 0,
            round: 0,
            attempts: VecDeque::new(),
            not_before: now,
        }
    }

    /// The server to ask, and when; the attempt is counted.
    pub(super) fn next(&mut self, now: Instant) -> (usize, Instant) {
        let server = self.candidate(now).unwrap_or_else(|| self.begin_round(now));
        self.current = server;
        let at = now.max(self.not_before).max(self.servers[server].not_before);
        let at = match self.attempts.len() < ATTEMPT_COUNT_MAX {
            true => at,
            false => at.max(self.attempts.pop_front().map_or(at, |oldest| oldest + MINUTE)),
        };
        self.attempts.push_back(at);
        (server, at)
    }

    /// The server answered and is to be asked again after a pause of its own.
    pub(super) fn answered(&mut self, server: usize, pause: Duration, now: Instant) {
        self.servers[server].not_before = now + pause;
    }

    /// It works: the next failure is the first one.
    pub(super) fn proved(&mut self, now: Instant) {
        self.round = 0;
        self.not_before = now;
        self.servers.iter_mut().for_each(|turn| turn.is_tried = false);
    }

    /// A server has confirmed what there is, for however short a time.
    pub(super) fn heard(&mut self) {
        self.round = self.round.min(HEARD_ROUND_MAX);
    }

    /// The server failed and wants to be left alone for a while.
    pub(super) fn failed(&mut self, server: usize, retry_after: Option<Duration>, now: Instant) {
        let wait = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.servers[server] = Turn { not_before: now + wait, is_tried: true };
    }

    /// The one that is followed, or the next that was not tried in this round and may be asked.
    fn candidate(&self, now: Instant) -> Option<usize> {
        if !self.servers[self.current].is_tried {
            return Some(self.current);
        }
        let may_be_asked = |turn: &Turn| !turn.is_tried && turn.not_before <= now;
        self.ring().find(|server| may_be_asked(&self.servers[*server]))
    }

    /// All have failed: a pause, and then the first one that wants to be asked.
    fn begin_round(&mut self, now: Instant) -> usize {
        self.not_before = now + pause(self.round);
        self.round = self.round.saturating_add(1);
        self.servers.iter_mut().for_each(|turn| turn.is_tried = false);
        let first = self.servers.iter().map(|turn| turn.not_before).min();
        let ready = self.not_before.max(first.unwrap_or(now));
        let ready = |server: &usize| self.servers[*server].not_before <= ready;
        self.ring().find(ready).unwrap_or(self.current)
    }

    /// All servers, the one after the current one first.
    fn ring(&self) -> impl Iterator<Item = usize> + use<> {
        let (count, current) = (self.servers.len(), self.current);
        (1..=count).map(move |step| (current + step) % count)
    }
}

/// Anything up to a bound that doubles, so that a fleet does not come back all at once.
fn pause(round: u32) -> Duration {
    let longest = bound(round, PAUSE_MAX);
    let shortest = if longest < PAUSE_MAX { Duration::ZERO } else { OUTAGE_PAUSE_MIN };
    shortest + (longest - shortest).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
