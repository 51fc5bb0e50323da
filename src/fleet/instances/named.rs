//! The runs of one instance. Pure: the caller passes the time.

use std::collections::VecDeque;
use std::sync::Arc;

use headwater_wire::{InstanceHealth, Outcome};
use jiff::{SignedDuration, Timestamp};

use super::shares::Turn;
use super::{Acknowledgement, Attributes, Entered, Instance, InstanceReport, Reason};
use crate::model::Query;

/// The most clients with one name.
const RUN_COUNT_MAX: usize = 64;
/// The number of former incarnations that are remembered, to recognise clients that share a name and only poll.
const FORMER_COUNT_MAX: usize = 4;
/// The time after which a disconnected run counts as replaced, if another run of the same name is connected.
const REPLACED_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// The shortest time between two reports of `down` that count. A reconnection and a report can carry the same one.
const DOWN_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// An instance with its present runs. There is one, unless several clients have the same name.
#[derive(Default)]
pub(super) struct NamedInstance {
    runs: Vec<Run>,
    /// The incarnations that later ones replaced, the oldest first.
    former: VecDeque<Box<str>>,
    restart_count: u32,
    pub(super) is_witness: bool,
    next_id: u64,
    /// Its place among the entries that can make room.
    pub(super) idle: Option<Turn>,
}

struct Run {
    id: u64,
    incarnation: Option<Box<str>>,
    attributes: Attributes,
    applied: Option<Acknowledgement>,
    since: Timestamp,
    reason: Option<Reason>,
    contract: Option<Arc<str>>,
    health: Option<InstanceHealth>,
    down_count: u32,
    down_at: Timestamp,
    first_seen: Timestamp,
    last_seen: Timestamp,
    /// The number of its requests in progress, event streams and long polls included.
    request_count: usize,
}

/// The run that a report belongs to.
enum Place {
    /// A known run.
    Known(usize),
    /// A new incarnation in place of a run that is no longer connected.
    Restart(usize),
    /// A further client with the same name.
    Further,
}

impl NamedInstance {
    pub(super) fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Returns true if nothing is lost with the instance: it is disconnected and has never acknowledged a configuration.
    pub(super) fn can_make_room(&self) -> bool {
        !self.is_witness && self.runs.iter().all(|run| run.request_count == 0)
    }

    /// Returns true if a report would need room for a further run.
    pub(super) fn adds_run(&self, report: &InstanceReport) -> bool {
        matches!(self.place(report.incarnation.as_deref()), Place::Further)
    }

    /// Records a request. Returns `None` if too many clients have the same name.
    pub(super) fn enter(&mut self, report: InstanceReport, now: Timestamp) -> Option<Entered> {
        let place = self.place(report.incarnation.as_deref());
        let mut has_changed = true;
        let at = match place {
            Place::Known(at) => {
                has_changed = self.runs[at].request_count == 0;
                at
            }
            Place::Restart(at) => {
                self.replace(at, now);
                at
            }
            Place::Further if self.runs.len() >= RUN_COUNT_MAX => return None,
            Place::Further => {
                if let Some(incarnation) = &report.incarnation
                    && let Some(at) = self.former.iter().position(|it| it == incarnation)
                {
                    // It was not replaced: two clients that only poll have the same name.
                    self.former.remove(at);
                    self.restart_count = self.restart_count.saturating_sub(1);
                }
                let run = Run::new(self.take_id(), now);
                self.runs.push(run);
                self.runs.len() - 1
            }
        };
        let is_witness = report.applied.as_ref().is_some_and(|it| it.outcome == Outcome::Applied);
        self.is_witness |= is_witness;
        let run = &mut self.runs[at];
        has_changed |= run.record(report, now);
        run.last_seen = now;
        run.request_count += 1;
        Some(Entered { run: run.id, has_changed })
    }

    /// Records the end of a request. Returns true if its run is no longer connected.
    pub(super) fn leave(&mut self, id: u64, now: Timestamp) -> bool {
        let Some(run) = self.runs.iter_mut().find(|run| run.id == id) else {
            return false;
        };
        run.request_count -= 1;
        run.last_seen = now;
        run.request_count == 0
    }

    /// Removes the runs that have expired or were replaced. Returns false if none remains.
    pub(super) fn retain_current(&mut self, now: Timestamp, expires_after: SignedDuration) -> bool {
        let age = |run: &Run| now.duration_since(run.last_seen);
        self.runs.retain(|run| run.request_count > 0 || age(run) < expires_after);
        if self.runs.len() > 1 && self.runs.iter().any(|run| run.request_count > 0) {
            let is_replaced = |run: &Run| run.request_count == 0 && age(run) >= REPLACED_AFTER;
            while let Some(at) = self.runs.iter().position(is_replaced) {
                let run = self.runs.remove(at);
                self.record_former(run.incarnation);
            }
        }
        !self.runs.is_empty()
    }

    /// Shows the runs.
    pub(super) fn show(
        &self,
        name: &str,
        query: &Query,
        now: Timestamp,
    ) -> impl Iterator<Item = Instance> {
        self.runs.iter().map(move |run| Instance {
            name: name.into(),
            query: query.clone(),
            incarnation: run.incarnation.clone(),
            attributes: run.attributes.clone(),
            applied: run.applied.clone(),
            since: run.since,
            reason: run.reason.clone(),
            contract: run.contract.clone(),
            health: run.health,
            down_count: run.down_count,
            is_witness: self.is_witness,
            tries: false,
            restart_count: self.restart_count,
            namesake_count: self.runs.len(),
            first_seen: run.first_seen,
            last_seen: if run.request_count > 0 { now } else { run.last_seen },
            disconnected_at: (run.request_count == 0).then_some(run.last_seen),
        })
    }

    /// Finds the run of an incarnation. A request without one belongs to the newest run, because a separate program may
    /// report for a service that reports an incarnation itself.
    fn place(&self, incarnation: Option<&str>) -> Place {
        let known = self.runs.iter().rposition(|run| match incarnation {
            Some(_) => run.incarnation.as_deref() == incarnation,
            None => true,
        });
        let unnamed = || self.runs.iter().position(|run| run.incarnation.is_none());
        if let Some(at) = known.or_else(unnamed) {
            return Place::Known(at);
        }
        let is_former =
            incarnation.is_some_and(|it| self.former.iter().any(|known| **known == *it));
        let idle = self.runs.iter().enumerate().filter(|(_, run)| run.request_count == 0);
        match idle.min_by_key(|(_, run)| run.last_seen) {
            Some((at, _)) if !is_former => Place::Restart(at),
            _ => Place::Further,
        }
    }

    /// Begins a new run in place of another one. Nothing that the former run reported is true of the new one, except that
    /// the instance can acknowledge.
    fn replace(&mut self, at: usize, now: Timestamp) {
        let first_seen = self.runs[at].first_seen;
        let run = Run { first_seen, ..Run::new(self.take_id(), now) };
        let former = std::mem::replace(&mut self.runs[at], run);
        self.record_former(former.incarnation);
    }

    fn record_former(&mut self, incarnation: Option<Box<str>>) {
        self.restart_count = self.restart_count.saturating_add(1);
        self.former.extend(incarnation);
        if self.former.len() > FORMER_COUNT_MAX {
            self.former.pop_front();
        }
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Run {
    fn new(id: u64, now: Timestamp) -> Self {
        Self {
            id,
            incarnation: None,
            attributes: Attributes::default(),
            applied: None,
            since: now,
            reason: None,
            contract: None,
            health: None,
            down_count: 0,
            down_at: Timestamp::MIN,
            first_seen: now,
            last_seen: now,
            request_count: 0,
        }
    }

    /// Records what a request reports. Returns true if it differs from what was known.
    fn record(&mut self, report: InstanceReport, now: Timestamp) -> bool {
        let InstanceReport { name: _, incarnation, attributes, applied, health, reason, contract } =
            report;
        let mut has_changed = replace_known(&mut self.incarnation, incarnation);
        if let Some(attributes) = attributes.filter(|it| *it != self.attributes) {
            self.attributes = attributes;
            has_changed = true;
        }
        has_changed |= replace_known(&mut self.contract, contract);
        let reports_state = applied.is_some() || health.is_some();
        if replace_known(&mut self.applied, applied) {
            self.since = now;
            has_changed = true;
        }
        match health {
            // A clock that was set back counts as an interval.
            Some(InstanceHealth::Down)
                if now.duration_since(self.down_at).abs() >= DOWN_INTERVAL =>
            {
                self.down_count = self.down_count.saturating_add(1);
                self.down_at = now;
                has_changed = true;
            }
            Some(InstanceHealth::Up) => self.down_count = 0,
            _ => {}
        }
        has_changed |= replace_known(&mut self.health, health);
        if reports_state && self.reason != reason {
            self.reason = reason;
            has_changed = true;
        }
        has_changed
    }
}

/// Replaces a value by a reported one. Returns true if it differs. An absent report changes nothing.
fn replace_known<T: PartialEq>(known: &mut Option<T>, reported: Option<T>) -> bool {
    let differs = reported.is_some() && *known != reported;
    if differs {
        *known = reported;
    }
    differs
}
