//! Which pushes are accepted: options, forced moves, limits, and the room of the state.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Joiner, Push};
use crate::Name;
use crate::plan::{Plan, Touched, Unwatched};
use crate::state::{
    Branch, OPENED_BYTES_MAX, OTHERS, RUNNING_COUNT_MAX, State, WITHHELD_COUNT_MAX,
};

/// The options of a push, as far as they concern rollouts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `now`: no stages.
    pub is_now: bool,
    /// `plan=`: another plan.
    pub plan: Option<Name>,
    /// `blast`: exceed the limits of the plan file.
    pub is_blast: bool,
    /// `reason=`
    pub reason: Option<Name>,
}

/// The operator's setting for `-o now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NowPolicy {
    #[default]
    Allowed,
    /// Only with a reason.
    Reason,
    Denied,
}

/// Why a push is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    NowDenied,
    NowNeedsReason,
    UnknownPlan {
        plan: Name,
        known: Vec<Name>,
    },
    /// The plan of `plan=` is not at least as strict as the one that the rules choose.
    WeakerPlan {
        plan: Name,
        required: Name,
    },
    /// The branch would lose the stable commits of these rollouts.
    Forced {
        rollouts: BTreeSet<Name>,
    },
    /// The branch cannot be deleted.
    Deleted {
        rollouts: BTreeSet<Name>,
    },
    /// Applications have no instance that acknowledges, and the plan says `unwatched = "refuse"`.
    Unwatched {
        applications: Vec<Name>,
        plan: Name,
    },
    TooManyApplications {
        count: u64,
        most: u64,
    },
    TooManyInstances {
        count: u64,
        most: u64,
    },
    TooManyRollouts {
        running: Vec<Name>,
    },
    TooManyWithheld {
        withheld: Vec<Name>,
    },
    /// The state would be too large.
    TooLarge,
}

pub(super) fn check_options(push: &Push<'_>) -> Result<(), Rejection> {
    match push.now_policy {
        NowPolicy::Denied if push.options.is_now => Err(Rejection::NowDenied),
        NowPolicy::Reason if push.options.is_now && push.options.reason.is_none() => {
            Err(Rejection::NowNeedsReason)
        }
        _ => Ok(()),
    }
}

/// A forced move keeps the stable commit of every entry.
pub(super) fn check_force(branch: &Branch, push: &Push<'_>) -> Result<(), Rejection> {
    let is_lost = |commit: &Name| **commit != *push.to && !(push.contains)(commit);
    let lost = branch.stable_commits().filter(|(_, commit)| is_lost(commit));
    let rollouts: BTreeSet<Name> = lost.map(|(rollout, _)| rollout.id.clone()).collect();
    if rollouts.is_empty() { Ok(()) } else { Err(Rejection::Forced { rollouts }) }
}

/// The plan that the rules choose, or a stricter one that the pusher asks for.
pub(super) fn plan<'j>(
    push: &Push<'_>,
    joiners: impl Iterator<Item = &'j Joiner>,
) -> Result<Arc<Plan>, Rejection> {
    let profiles = |own: &'j Joiner| own.profiles.iter().map(|name| &**name).collect();
    let named: Vec<(&str, Vec<&str>)> =
        joiners.map(|own| (&*own.application, profiles(own))).collect();
    let touched = named.iter().map(|(application, profiles)| Touched { application, profiles });
    let required = push.plans.choose(touched);
    let Some(name) = &push.options.plan else {
        return Ok(required);
    };
    let Some(plan) = push.plans.plan(name) else {
        let known = push.plans.names().map(Name::from).collect();
        return Err(Rejection::UnknownPlan { plan: name.clone(), known });
    };
    if !plan.is_at_least_as_strict_as(&required) {
        let required = required.name.clone();
        return Err(Rejection::WeakerPlan { plan: name.clone(), required });
    }
    Ok(Arc::clone(plan))
}

/// Returns true if applications without witnesses are served at once.
pub(super) fn unwatched<'j>(
    plan: &Plan,
    joiners: impl Iterator<Item = &'j Joiner>,
) -> Result<bool, Rejection> {
    let applications: Vec<Name> = joiners.map(|own| own.application.clone()).collect();
    match plan.unwatched {
        Unwatched::Refuse if !applications.is_empty() => {
            Err(Rejection::Unwatched { applications, plan: plan.name.clone() })
        }
        Unwatched::Now => Ok(true),
        Unwatched::Last | Unwatched::Refuse => Ok(false),
    }
}

/// Limits what a push reaches without stages.
pub(super) fn check_limits<'j>(
    push: &Push<'_>,
    served: impl Iterator<Item = &'j Name>,
) -> Result<(), Rejection> {
    if push.options.is_blast {
        return Ok(());
    }
    let served: Vec<&Name> = served.filter(|name| &***name != OTHERS).collect();
    let limits = push.plans.limits();
    let count = served.len() as u64;
    if let Some(most) = limits.applications.map(u64::from).filter(|most| count > *most) {
        return Err(Rejection::TooManyApplications { count, most });
    }
    let count = served.iter().map(|name| (push.headcount)(name).instances).sum();
    let most = limits.instances.map(|size| size.of(push.fleet));
    if let Some(most) = most.filter(|most| count > *most) {
        return Err(Rejection::TooManyInstances { count, most });
    }
    Ok(())
}

/// One more rollout needs room for itself, and for its entry after a rollback.
pub(super) fn check_room(branch: &Branch) -> Result<(), Rejection> {
    if branch.running.len() >= RUNNING_COUNT_MAX {
        let running = branch.running.iter().map(|own| own.id.clone()).collect();
        return Err(Rejection::TooManyRollouts { running });
    }
    if branch.running.len() + branch.withheld.len() >= WITHHELD_COUNT_MAX {
        let withheld = branch.withheld.iter().map(|own| own.rollout.id.clone()).collect();
        return Err(Rejection::TooManyWithheld { withheld });
    }
    Ok(())
}

pub(super) fn next_state(
    state: &State,
    push: &Push<'_>,
    branch: Branch,
) -> Result<State, Rejection> {
    let has_rollout = branch.running.len() + branch.withheld.len() > 0;
    let mut next = state.replaced(push.branch, branch, push.now);
    if !next.fit(OPENED_BYTES_MAX) && has_rollout {
        return Err(Rejection::TooLarge);
    }
    Ok(next)
}
