//! What this server remembers about one instance of a rollout.

mod connection;

use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::evidence::{Given, Outcome, Standing};

use super::Situated;
use super::observation::{Acknowledged, Observation};
use connection::Connection;

/// The consecutive reports of `down` that count.
const DOWN_COUNT_MIN: u32 = 2;

/// One look at the instances of one rollout.
pub(super) struct Moment<'l> {
    pub(super) look: u64,
    pub(super) now: Duration,
    /// Set before the first stage, when no instance has been given the candidate.
    pub(super) is_before: bool,
    /// Set while instances come back after a restart of the server.
    pub(super) is_returning: bool,
    pub(super) ack_within: Duration,
    pub(super) instances: &'l [Situated<'l>],
}

/// The earliest time at which something that is remembered changes its meaning.
#[derive(Debug, Default)]
pub(super) struct NextChange(pub(super) Option<Duration>);

/// The memory about one instance.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) name: Name,
    pub(super) standing: Standing,
    /// What the last look showed that had the instance.
    pub(super) seen: Observation,
    seen_in: u64,
    /// False while the rollout does not change what the instance receives.
    is_affected: bool,
    connection: Connection,
    /// The number of restarts when the stage began, or when the instance was first seen after that.
    stage_restarts: u32,
    /// Since when the present run has not acknowledged anything, although the instance can.
    unacknowledged_since: Option<Duration>,
    is_unacknowledged: bool,
    /// Set if the look before found a canary.
    was_canary: bool,
    health: HealthMemory,
    /// The time of a rejection before the first stage. An earlier rollout can have had the same candidate.
    stale_rejection: Option<i64>,
    gift: Option<Gift>,
}

/// What matters of earlier reports of health.
#[derive(Debug)]
struct HealthMemory {
    was_up: bool,
    /// The reports of `down` that do not count, because they came before the candidate.
    down_before: u32,
}

/// What happened to an instance since it was given the candidate.
#[derive(Debug)]
struct Gift {
    restarts_before: u32,
    restarts: u32,
    outcome: Option<Outcome>,
    reason: Option<Name>,
    /// When the instance was asked for a report: given the candidate, restarted, or given a candidate with other content
    /// of other sources.
    asked: Duration,
    /// The time of its last request then.
    asked_at: i64,
    is_silent: bool,
}

impl NextChange {
    pub(super) fn add(&mut self, at: Duration) {
        self.0 = Some(self.0.map_or(at, |known| known.min(at)));
    }
}

impl Memory {
    /// The memory of an instance that was not known before. `requested` is the present time, and the time since its last
    /// request.
    pub(super) fn new(
        name: Name,
        seen: &Observation,
        look: u64,
        requested: (Duration, Duration),
    ) -> Self {
        Self {
            name,
            standing: Standing::Unknown,
            seen: *seen,
            seen_in: look,
            is_affected: true,
            connection: Connection::new(seen.last_seen, requested),
            stage_restarts: seen.restart_count,
            unacknowledged_since: None,
            is_unacknowledged: false,
            was_canary: false,
            health: HealthMemory { was_up: !seen.is_down, down_before: seen.down_count },
            stale_rejection: None,
            gift: None,
        }
    }

    /// Records what a look shows. `None` for an entry that the rollout does not change.
    pub(super) fn observe(&mut self, seen: Option<&Observation>, look: u64) {
        if self.seen_in != look {
            (self.seen_in, self.is_affected) = (look, false);
        }
        if let Some(seen) = seen {
            self.seen = if self.is_affected { self.seen.merged(*seen) } else { *seen };
            self.is_affected = true;
        }
    }

    /// Forgets the incidents of the stage before, which were compared with those of the other instances.
    pub(super) fn begin_stage(&mut self) {
        self.stage_restarts = self.seen.restart_count;
        if let Some(gift) = &mut self.gift {
            (gift.restarts_before, gift.restarts) = (self.seen.restart_count, 0);
        }
        self.connection.begin_stage();
        (self.unacknowledged_since, self.is_unacknowledged) = (None, false);
    }

    /// Takes the observation of a look into the memory.
    pub(super) fn settle(&mut self, moment: &Moment<'_>, next: &mut NextChange) {
        let is_seen = self.seen_in == moment.look;
        let has_requested = self.connection.settle(is_seen.then_some(&self.seen), moment.now, next);
        if !is_seen || !self.is_affected {
            return;
        }
        if moment.is_before {
            self.note_standing();
        } else if moment.is_returning {
            self.note_return();
        }
        if !moment.is_before && self.gift.is_none() && self.receives(has_requested) {
            self.gift = Some(Gift::new(&self.seen, moment.now));
        }
        self.was_canary = self.seen.is_canary;
        match &mut self.gift {
            Some(_) => self.note_report(moment, next),
            None => self.note_other(moment, next),
        }
    }

    /// The standing before the first stage follows what the instance reports. It does not change later.
    fn note_standing(&mut self) {
        let Acknowledged { accepts_other, rejects_other, .. } = self.seen.acknowledged;
        if self.seen.is_down || rejects_other {
            self.standing = Standing::Broken;
        } else if accepts_other {
            self.standing = Standing::Accepted;
        }
        self.stale_rejection = self.seen.rejected_at;
    }

    /// The standing of an instance that comes back after a restart of the server. It was there before if it uses either
    /// side, or if it is a canary that acknowledged before the restart. Otherwise its first report about the candidate is
    /// no reason to trust it, unless it accepts.
    fn note_return(&mut self) {
        let Acknowledged { accepts_candidate, rejects_candidate, accepts_other, rejects_other } =
            self.seen.acknowledged;
        let is_known_canary = self.seen.is_canary && self.seen.is_witness;
        if self.standing == Standing::Unknown && rejects_candidate && is_known_canary {
            self.standing = Standing::Accepted;
        }
        let is_settled = self.standing != Standing::Unknown || self.is_bad() || rejects_candidate;
        let is_faulty = self.seen.is_down || rejects_other;
        if is_settled {
            return;
        }
        if !is_faulty && (accepts_other || accepts_candidate) {
            self.standing = Standing::Accepted;
        } else if is_faulty && !self.seen.is_canary && !accepts_candidate {
            self.standing = Standing::Broken;
        }
    }

    /// Returns true if the instance has the candidate, or is on its way to it. Only a canary receives it, whatever another
    /// instance reports.
    fn receives(&self, has_requested: bool) -> bool {
        let Observation { acknowledged, is_canary, is_connected, .. } = self.seen;
        let has_reported = acknowledged.accepts_candidate || self.rejects();
        let is_given = has_reported || is_connected || self.was_canary && has_requested;
        is_canary && self.connection.is_known() && is_given
    }

    /// Returns true if the instance rejected the candidate in this rollout.
    fn rejects(&self) -> bool {
        self.seen.acknowledged.rejects_candidate && self.seen.rejected_at != self.stale_rejection
    }

    /// Takes the report of an instance that was given the candidate. A bad one is final, unless the instance was bad on
    /// stable, too: its acceptance shows that the candidate is the fix.
    fn note_report(&mut self, moment: &Moment<'_>, next: &mut NextChange) {
        let (rejects, is_final) = (self.rejects(), self.is_bad());
        let is_final = is_final && self.standing != Standing::Broken;
        let goes_down = self.health.goes_down(&self.seen);
        let Some(gift) = &mut self.gift else { return };
        gift.count_restarts(&self.seen, moment.now);
        let accepts = self.seen.acknowledged.accepts_candidate;
        let outcome = match gift.outcome {
            known if is_final => known,
            _ if rejects => Some(Outcome::Rejected),
            _ if goes_down => Some(Outcome::Down),
            known if !self.seen.has_sides => known,
            _ => (accepts && !self.seen.is_down).then_some(Outcome::Accepted),
        };
        if gift.outcome == Some(Outcome::Accepted) && outcome.is_none() {
            gift.ask(&self.seen, moment.now);
        }
        if gift.outcome != outcome {
            let reporter = moment.instances.get(self.seen.bad_index);
            let reason = reporter.and_then(|own| own.instance.reason.as_ref());
            let is_bad = matches!(outcome, Some(Outcome::Rejected | Outcome::Down));
            gift.reason = reason.filter(|_| is_bad).map(|reason| reason.as_str().into());
            gift.outcome = outcome;
        }
        if !self.seen.has_sides {
            return;
        }
        let is_waiting = outcome.is_none() && !accepts && self.seen.is_witness;
        let due = gift.asked.saturating_add(moment.ack_within);
        // A client that only polls has up to its own interval.
        let is_there = self.seen.is_connected
            || !self.connection.is_lasting() && self.seen.last_seen != gift.asked_at;
        gift.is_silent = is_waiting && is_there && moment.now >= due;
        if is_waiting && moment.now < due {
            next.add(due);
        }
    }

    /// Takes the report of an instance without the candidate.
    fn note_other(&mut self, moment: &Moment<'_>, next: &mut NextChange) {
        let Observation { is_witness, has_acknowledged, is_connected, .. } = self.seen;
        self.health =
            HealthMemory { was_up: !self.seen.is_down, down_before: self.seen.down_count };
        let is_waiting = is_witness && is_connected && !has_acknowledged && !moment.is_before;
        let since = is_waiting.then(|| self.unacknowledged_since.unwrap_or(moment.now));
        let due = since.map(|since| since.saturating_add(moment.ack_within));
        self.unacknowledged_since = since;
        self.is_unacknowledged = due.is_some_and(|due| moment.now >= due);
        if let Some(due) = due.filter(|due| moment.now < *due) {
            next.add(due);
        }
    }

    /// Returns false if the memory can be dropped, because the instance has left the table. What happened to an instance
    /// with the candidate stays.
    pub(super) fn is_kept(&self, look: u64) -> bool {
        self.seen_in == look || self.gift.is_some() && self.connection.is_lasting()
    }

    /// Returns true if the instance has left the table.
    pub(super) fn has_left(&self, look: u64) -> bool {
        self.seen_in != look
    }

    /// Returns true if the instance counts as connected.
    pub(super) fn is_present(&self) -> bool {
        let is_there =
            if self.gift.is_some() { !self.is_gone() } else { self.connection.is_present() };
        self.is_affected && is_there
    }

    /// Returns true if the instance was given the candidate and is disconnected for a long time.
    pub(super) fn is_gone(&self) -> bool {
        self.gift.is_some() && self.connection.is_gone()
    }

    pub(super) fn is_bad(&self) -> bool {
        let outcome = self.gift.as_ref().and_then(|gift| gift.outcome);
        matches!(outcome, Some(Outcome::Rejected | Outcome::Down))
    }

    /// Returns true for a bad report and for an incident of an instance with the candidate.
    pub(super) fn is_suspect(&self) -> bool {
        let is_incident = |gift: &Gift| gift.restarts > 0 || gift.is_silent;
        self.is_bad() || self.is_gone() || self.gift.as_ref().is_some_and(is_incident)
    }

    /// What happened since the instance was given the candidate.
    pub(super) fn given(&self) -> Option<Given> {
        let gift = self.gift.as_ref()?;
        Some(Given {
            outcome: gift.outcome,
            restarts: gift.restarts,
            is_gone: self.is_gone(),
            is_away: self.connection.is_away(),
            is_silent: gift.is_silent,
            reason: gift.reason.clone(),
        })
    }

    /// The incidents of this stage of an instance without the candidate.
    pub(super) fn incidents(&self, look: u64) -> u64 {
        if self.gift.is_some() {
            return 0;
        }
        let restarts = self.seen.restart_count.saturating_sub(self.stage_restarts);
        let is_lost = self.connection.is_lost(self.has_left(look));
        u64::from(restarts) + u64::from(is_lost) + u64::from(self.is_unacknowledged)
    }
}

impl Gift {
    fn new(seen: &Observation, now: Duration) -> Self {
        Self {
            restarts_before: seen.restart_count,
            restarts: 0,
            outcome: None,
            reason: None,
            asked: now,
            asked_at: seen.last_seen,
            is_silent: false,
        }
    }

    fn ask(&mut self, seen: &Observation, now: Duration) {
        (self.asked, self.asked_at) = (now, seen.last_seen);
    }

    /// A new run is asked for its own report.
    fn count_restarts(&mut self, seen: &Observation, now: Duration) {
        let restarts = seen.restart_count.saturating_sub(self.restarts_before);
        if restarts > self.restarts {
            self.ask(seen, now);
        }
        self.restarts = restarts;
    }
}

impl HealthMemory {
    /// Returns true if the instance was up, and has since reported `down` twice in sequence, or once before its connection
    /// ended, as a program that ends does.
    fn goes_down(&mut self, seen: &Observation) -> bool {
        self.was_up |= seen.is_up;
        if seen.down_count < self.down_before {
            self.down_before = 0;
        }
        let least = if seen.is_connected { DOWN_COUNT_MIN } else { 1 };
        self.was_up && seen.is_down && seen.down_count - self.down_before >= least
    }
}
