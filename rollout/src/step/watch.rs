//! The memory of one replica about the rollouts that it watches: since when the evidence is sufficient, and what the
//! checks have found. It is lost in a restart, so that a bake is measured by one replica without a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Situation;
use crate::Name;
use crate::check::{CheckRule, ERROR_COUNT_REPORTED, Tally};
use crate::event::{Event, EventKind};
use crate::state::{Branch, Phase, Rollout};
use crate::verdict::{Assessment, Fault, Lack, Verdict};

/// What a replica remembers about one phase of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Watch {
    number: u64,
    phase: Phase,
    is_paused: bool,
    /// When this replica began to watch the phase.
    pub(super) began: Duration,
    /// Since when every live replica reports.
    pub(super) complete_since: Option<Duration>,
    /// Since when the evidence is sufficient.
    steady_since: Option<Duration>,
    /// Set after the first suspect, which makes the bake begin again once.
    has_begun_again: bool,
    tallies: BTreeMap<Name, Tally>,
}

/// The watches of all rollouts of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Watches(BTreeMap<Name, Watch>);

impl Watches {
    /// Drops the watches of rollouts that have ended.
    pub(super) fn retain(&mut self, branch: &Branch) {
        self.0.retain(|id, _| branch.running(id).is_some());
    }

    /// The watch of a rollout. It is new if the rollout has moved on.
    pub(super) fn of(&mut self, rollout: &Rollout, now: Duration) -> &mut Watch {
        let new = || Watch {
            number: rollout.number,
            phase: rollout.phase,
            is_paused: rollout.paused.is_some(),
            began: now,
            complete_since: None,
            steady_since: None,
            has_begun_again: false,
            tallies: BTreeMap::new(),
        };
        let watch = self.0.entry(rollout.id.clone()).or_insert_with(new);
        let is_same = (watch.number, watch.phase) == (rollout.number, rollout.phase)
            && watch.is_paused == rollout.paused.is_some();
        if !is_same {
            *watch = new();
        }
        watch
    }
}

impl Watch {
    /// Records the results of checks. Returns the checks that fail repeatedly, each once.
    pub(super) fn record(&mut self, rollout: &Rollout, situation: &Situation<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        let Phase::Stage(index) = rollout.phase else {
            return events;
        };
        let bake = rollout.plan.stages.get(index).map_or(Duration::ZERO, |stage| stage.bake);
        let is_own = |check: &Name| rollout.plan.checks.contains(check);
        let results = situation.measured.iter().filter(|own| own.rollout == rollout.id);
        for result in results.filter(|own| is_own(&own.check)) {
            let rule = situation.rules.get(&result.check).copied().unwrap_or_default();
            let tally = self.tallies.entry(result.check.clone()).or_default();
            tally.record(result.measurement.judge(&rule, rule.looks(bake)));
            let count = tally.errors_in_sequence;
            if count == ERROR_COUNT_REPORTED {
                let kind = EventKind::CheckFails { check: result.check.clone(), count };
                events.push(Event { rollout: rollout.id.clone(), kind });
            }
        }
        events
    }

    /// Ends the times that have to pass without a gap.
    pub(super) fn interrupt(&mut self) {
        (self.complete_since, self.steady_since) = (None, None);
    }

    pub(super) fn bad_check(
        &self,
        rollout: &Rollout,
        rules: &BTreeMap<Name, CheckRule>,
    ) -> Option<Fault> {
        let is_bad = |check: &&Name| {
            let rule = rules.get(*check).copied().unwrap_or_default();
            self.tallies.get(*check).is_some_and(|tally| tally.is_bad(&rule))
        };
        let check = rollout.plan.checks.iter().find(is_bad)?;
        Some(Fault::Check { check: check.clone() })
    }

    /// Adds time and checks to an assessment without a fault.
    pub(super) fn judge(
        &mut self,
        rollout: &Rollout,
        assessment: &Assessment,
        bake: Duration,
        now: Duration,
        rules: &BTreeMap<Name, CheckRule>,
    ) -> Verdict {
        if assessment.incident_count > 0 && !self.has_begun_again {
            self.has_begun_again = true;
            self.steady_since = None;
            return Verdict::Suspect;
        }
        if let Some(lack) = &assessment.lack {
            self.steady_since = None;
            let is_reported = !matches!(lack, Lack::Replicas(_));
            if !(assessment.is_fix && is_reported) {
                return Verdict::Inconclusive(lack.clone());
            }
        }
        let since = *self.steady_since.get_or_insert(now);
        let rest = bake.saturating_sub(now.saturating_sub(since));
        if !rest.is_zero() && !assessment.is_fix {
            return Verdict::Inconclusive(Lack::Time {
                seconds: rest.as_millis().div_ceil(1000) as u64,
            });
        }
        for check in &rollout.plan.checks {
            let rule = rules.get(check).copied().unwrap_or_default();
            if rule.is_comparison && rollout.is_in_last_stage() {
                continue;
            }
            let tally = self.tallies.get(check).copied().unwrap_or_default();
            if !tally.is_good(&rule) {
                return Verdict::Inconclusive(Lack::Check {
                    check: check.clone(),
                    good: tally.good,
                    samples: rule.samples,
                    errors: tally.errors_in_sequence,
                });
            }
        }
        Verdict::Good { since }
    }
}
