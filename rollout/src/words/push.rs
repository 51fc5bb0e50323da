//! What a pusher reads.

use std::fmt;

use super::{count, list, short};
use crate::Name;
use crate::open::{AtOnce, Fate, Rejection};
use crate::state::Branch;

impl fmt::Display for AtOnce {
    /// Writes the reason, to follow `served at once: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stable => f.write_str("the content was stable before"),
            Self::Now => f.write_str("the push has the option now"),
            Self::Plan(plan) => write!(f, "plan {plan} has no stages"),
            Self::NoInstance => f.write_str(
                "no canary: it takes two connected instances, one of which reports what it applies",
            ),
            Self::Unwatched => f.write_str("no instance of it acknowledges"),
            Self::Unsupported(replica) => {
                write!(f, "replica {replica} has a version without rollouts")
            }
        }
    }
}

impl fmt::Display for Fate {
    /// Writes what becomes of an application, to follow its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce(why) => write!(f, "served at once: {why}"),
            Self::Joins => f.write_str("held"),
            Self::Supersedes(rollout) => write!(f, "held, and {rollout} is superseded for it"),
            Self::Stays(rollout) => write!(f, "held by {rollout}"),
        }
    }
}

/// The lines about content that a push leaves withheld.
pub fn still_held(branch: &Branch) -> Vec<String> {
    let lines = branch.withheld.iter().map(|own| {
        let applications: Vec<&Name> = own.rollout.applications().collect();
        let what = if applications.is_empty() {
            "every application".to_owned()
        } else {
            list(applications)
        };
        let (id, tip) = (&own.rollout.id, short(&own.rollout.to));
        format!("still held: {what}, without {tip}, because {} ({id})", own.because)
    });
    lines.collect()
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NowDenied => {
                f.write_str("the operator does not permit the option now. Push without it")
            }
            Self::NowNeedsReason => {
                f.write_str("the option now needs a reason. Push again with -o now -o reason=\"…\"")
            }
            Self::UnknownPlan { plan, known } => {
                write!(f, "no plan is named {plan:?}. The plans are {}", list(known))
            }
            Self::WeakerPlan { plan, required } => write!(
                f,
                "plan {plan} is not at least as strict as {required}, which this change needs. \
                 Push without plan, or with a stricter one"
            ),
            Self::Forced { rollouts } => write!(
                f,
                "the branch would lose the stable content of {}. Promote or abort {} first",
                list(rollouts),
                if rollouts.len() == 1 { "it" } else { "them" }
            ),
            Self::Deleted { rollouts } => write!(
                f,
                "the branch has running rollouts: {}. Promote or abort them first",
                list(rollouts)
            ),
            Self::Unwatched { applications, plan } => write!(
                f,
                "no instance of {} acknowledges, and plan {plan} requires it. Start an instance \
                 that identifies itself, or push with -o now",
                list(applications)
            ),
            Self::TooManyApplications { count: number, most } => write!(
                f,
                "the change would reach {} without stages, and [limits] permits {most}. Split it, \
                 or push with -o blast",
                count(*number, "application")
            ),
            Self::TooManyInstances { count: number, most } => write!(
                f,
                "the change would reach {} without stages, and [limits] permits {most}. Split it, \
                 or push with -o blast",
                count(*number, "instance")
            ),
            Self::TooManyRollouts { running } => write!(
                f,
                "{} are running on the branch, which is the most. Promote or abort one of {}",
                count(running.len() as u64, "rollout"),
                list(running)
            ),
            Self::TooManyWithheld { withheld } => write!(
                f,
                "too many rollouts are withheld on the branch. Promote, retry or revert one of {}",
                list(withheld)
            ),
            Self::TooLarge => f.write_str(
                "the state of all rollouts would be too large. Promote or abort some of them",
            ),
        }
    }
}

impl std::error::Error for Rejection {}
