//! The measurements of one repository, as its keeper uses them.

use std::collections::BTreeMap;

use headwater_rollout::Name;
use headwater_rollout::check::{CheckRule, Measured};
use headwater_rollout::state::Branch;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{CheckDefinition, CheckRunner, CheckTarget};

/// A runner with its results.
pub(in crate::conduct) struct Measurements {
    runner: CheckRunner,
    results: mpsc::Receiver<Measured>,
    pub(in crate::conduct) rules: BTreeMap<Name, CheckRule>,
    /// The results that no step has judged yet.
    pub(in crate::conduct) pending: Vec<Measured>,
}

impl Measurements {
    pub(in crate::conduct) fn new(checks: &[CheckDefinition], runtime: Handle) -> Self {
        let (runner, results) = CheckRunner::new(checks, runtime);
        let rules = runner.rules();
        Self { runner, results, rules, pending: Vec::new() }
    }

    /// Takes the results since the last call.
    pub(in crate::conduct) fn receive(&mut self) {
        while let Ok(measured) = self.results.try_recv() {
            self.pending.push(measured);
        }
    }

    /// Drops the results that a step of a branch has judged. A step that changes a rollout does not reach those behind it.
    /// The measurements of the changed one begin again, because a stage needs results of its own.
    pub(in crate::conduct) fn mark_judged(&mut self, before: &Branch, after: Option<&Branch>) {
        for rollout in &before.running {
            self.pending.retain(|own| own.rollout != rollout.id);
            let is_changed = after.is_some_and(|after| after.running(&rollout.id) != Some(rollout));
            if is_changed {
                self.runner.stop(&rollout.id);
                self.receive();
                self.pending.retain(|own| own.rollout != rollout.id);
                return;
            }
        }
    }

    /// Measures these rollouts from now on, and no others.
    pub(in crate::conduct) fn follow(&mut self, running: Vec<CheckTarget>) {
        self.pending.retain(|own| running.iter().any(|target| target.rollout == own.rollout));
        self.runner.follow(running);
    }
}

#[cfg(test)]
mod tests {
    use headwater_rollout::check::Measurement;
    use headwater_rollout::state::Phase;

    use super::*;
    use crate::conduct::checks::tests::{rollout, target};

    #[tokio::test]
    async fn a_result_waits_until_a_step_has_judged_it() {
        let mut measurements = Measurements::new(&[], Handle::current());
        let result = |rollout: &str| Measured {
            rollout: rollout.into(),
            check: "smoke".into(),
            measurement: Measurement::Good,
        };
        let pending = |own: &Measurements| {
            own.pending.iter().map(|own| own.rollout.to_string()).collect::<Vec<_>>()
        };
        measurements.pending = ["r", "s", "t", "r"].map(result).into();
        let before = Branch { running: vec![rollout("r"), rollout("s")], ..Branch::default() };
        let mut after = before.clone();
        after.running[0].phase = Phase::Stage(1);
        measurements.mark_judged(&before, Some(&after));
        assert_eq!(pending(&measurements), ["s", "t"], "the step ended with the first rollout");
        measurements.mark_judged(&before, None);
        assert_eq!(pending(&measurements), ["t"]);
        measurements.follow(vec![target()]);
        assert!(pending(&measurements).is_empty());
    }
}
