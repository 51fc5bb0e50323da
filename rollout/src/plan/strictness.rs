//! The order of plans by strictness.
//!
//! Plan *a* is at least as strict as plan *b* if no guarantee of *b* is lost by using *a* instead:
//!
//! 1. At every time after the beginning, *a* reaches at most what *b* reaches, if no stage of either takes longer than
//!    its bake.
//! 2. The last stage of *a* is watched at least as long.
//! 3. *a* has every check of *b*.
//! 4. *a* treats applications without witnesses at least as carefully: `refuse`, then `last`, then `now`.
//! 5. If *b* narrows its canaries or makes stages by an attribute, *a* does the same.
//!
//! The order is partial. A number and a share cannot be compared without the instances, except that one instance is at
//! most any stage.

use std::sync::Arc;
use std::time::Duration;

use super::{Plan, Reach, Size};

impl Reach {
    /// Returns true if this reach is at most the other one for every number of instances.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) | (Self::Size(Size::Count(1)), _) => true,
            (Self::Size(Size::Count(own)), Self::Size(Size::Count(other))) => own <= other,
            (Self::Size(Size::Share(own)), Self::Size(Size::Share(other))) => own <= other,
            _ => self == other,
        }
    }
}

impl Plan {
    /// Returns true if no guarantee of the other plan is lost by using this one instead.
    pub fn is_at_least_as_strict_as(&self, other: &Self) -> bool {
        let last = |plan: &Self| plan.stages.last().map_or(Duration::ZERO, |stage| stage.bake);
        self.is_slower_than(other)
            && last(self) >= last(other)
            && other.checks.iter().all(|check| self.checks.contains(check))
            && self.unwatched >= other.unwatched
            && (other.canaries.is_empty() || self.canaries == other.canaries)
            && (other.by.is_none() || (self.by == other.by && self.by_bake >= other.by_bake))
    }

    /// Returns true if this plan is at least as strict as the other one, and not the other way round.
    pub fn is_stricter_than(&self, other: &Self) -> bool {
        self.is_at_least_as_strict_as(other) && !other.is_at_least_as_strict_as(self)
    }

    /// Compares both schedules. The reach changes only when a stage begins, so that these times are all that matter.
    fn is_slower_than(&self, other: &Self) -> bool {
        // A stage by an attribute has no size before the instances are known.
        if self.by.is_some() {
            return self.by == other.by || other.is_all_at_once();
        }
        let starts = schedule(self).into_iter().chain(schedule(other)).map(|(at, _)| at);
        starts.into_iter().all(|at| match (reach_at(self, at), reach_at(other, at)) {
            (Some(own), Some(other)) => own.is_within(other),
            (own, other) => own.is_none() && other.is_none(),
        })
    }

    fn total_bake(&self) -> Duration {
        self.by_bake + self.stages.iter().map(|stage| stage.bake).sum::<Duration>()
    }
}

/// The stages with the times at which they begin.
fn schedule(plan: &Plan) -> Vec<(Duration, &Reach)> {
    let mut at = Duration::ZERO;
    let begin = plan.stages.iter().map(|stage| {
        let start = at;
        at += stage.bake;
        (start, &stage.reach)
    });
    begin.collect()
}

/// The reach of the last stage that has begun at a time.
fn reach_at(plan: &Plan, at: Duration) -> Option<&Reach> {
    schedule(plan).into_iter().take_while(|(start, _)| *start <= at).last().map(|(_, reach)| reach)
}

/// The strictest of several plans. Among those that cannot be compared, the one with the longest bakes, then the first
/// by name.
pub(super) fn strictest<'p>(plans: impl Iterator<Item = &'p Arc<Plan>>) -> Option<&'p Arc<Plan>> {
    let plans: Vec<&Arc<Plan>> = plans.collect();
    let is_maximal = |plan: &&&Arc<Plan>| !plans.iter().any(|other| other.is_stricter_than(plan));
    let maximal = plans.iter().filter(is_maximal);
    maximal
        .min_by(|a, b| {
            let by_bake = b.total_bake().cmp(&a.total_bake());
            by_bake.then_with(|| a.name.cmp(&b.name))
        })
        .copied()
}
