//! The connection of an instance over several looks.

use std::time::Duration;

use super::NextChange;
use crate::conduct::evidence::observation::Observation;

/// How long an instance may be disconnected before it counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// The connection of one instance.
#[derive(Debug)]
pub(super) struct Connection {
    /// The time of the last request. Only compared for equality.
    last_seen: i64,
    /// Set once the instance was connected, or made a request, not long ago.
    is_known: bool,
    is_connected: bool,
    /// Set once two looks in sequence found it connected.
    is_lasting: bool,
    disconnected_since: Option<Duration>,
    /// Disconnected for [`GONE_AFTER`].
    is_out: bool,
    /// Set if that was already so when the stage began.
    was_out: bool,
}

impl Connection {
    /// The connection of an instance that was not known before.
    pub(super) fn new(last_seen: i64, (now, age): (Duration, Duration)) -> Self {
        Self {
            last_seen,
            is_known: age < GONE_AFTER,
            is_connected: false,
            is_lasting: false,
            disconnected_since: Some(now.saturating_sub(age)),
            is_out: false,
            was_out: false,
        }
    }

    pub(super) fn begin_stage(&mut self) {
        self.was_out = self.is_out;
    }

    /// Records a look. `None` if the instance has left the table. Returns true if it was connected since the look before.
    pub(super) fn settle(
        &mut self,
        seen: Option<&Observation>,
        now: Duration,
        next: &mut NextChange,
    ) -> bool {
        let is_connected = seen.is_some_and(|seen| seen.is_connected);
        let has_requested =
            is_connected || seen.is_some_and(|seen| seen.last_seen != self.last_seen);
        self.last_seen = seen.map_or(self.last_seen, |seen| seen.last_seen);
        self.is_known |= has_requested;
        self.is_lasting |= is_connected && self.is_connected;
        self.is_connected = is_connected;
        if has_requested {
            (self.disconnected_since, self.is_out, self.was_out) = (None, false, false);
        }
        if !is_connected {
            let due = self.disconnected_since.get_or_insert(now).saturating_add(GONE_AFTER);
            self.is_out = now >= due;
            if self.is_known && !self.is_out {
                next.add(due);
            }
        }
        has_requested
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Returns true for a client that keeps a connection, such as a stream. One that only polls is disconnected most of
    /// the time.
    pub(super) fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// Returns true if the instance is connected, or was not long ago.
    pub(super) fn is_present(&self) -> bool {
        self.is_known && !self.is_out
    }

    /// Returns true if a lasting connection has ended.
    pub(super) fn is_away(&self) -> bool {
        self.is_lasting && !self.is_connected
    }

    /// Returns true if a lasting connection has ended long ago.
    pub(super) fn is_gone(&self) -> bool {
        self.is_lasting && self.is_out
    }

    /// Returns true if a lasting connection has ended in this stage.
    pub(super) fn is_lost(&self, has_left: bool) -> bool {
        self.is_lasting && !self.was_out && (self.is_out || has_left)
    }
}
